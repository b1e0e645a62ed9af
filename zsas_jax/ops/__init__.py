"""Primitives with PyTorch semantics, each with its own parity test."""
