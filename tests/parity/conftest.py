"""Tests that need torch or transformers: their originals lie beside this file."""
