"""Measurements behind BENCHMARKS.md: `python -m zsas_jax.benchmarks NAME [--flags]`.

Modules that compare with PyTorch import it, and say what to install where it is missing; nothing
else in the package does.
"""
