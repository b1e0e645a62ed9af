"""Prompts for CLIP and SAM: text ensembles, points, regions, cascades."""
