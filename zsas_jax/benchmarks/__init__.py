"""Measurements behind BENCHMARKS.md, run by `zsas benchmarks`.

The modules `torch_*` import PyTorch; nothing else in the package does.
"""
