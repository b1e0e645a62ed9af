"""Checkpoint directories: networks, tokenizers and settings, saved, loaded, converted, averaged.

config.json        format version, sizes of the networks, settings of the methods
model.safetensors  one tensor per parameter, named by its path ("clip.visual.proj")
tokenizer.json     of the first network that reads text; those of others in a folder each
provenance.json    where the weights come from: files or data, sha256, converter
manifest.json      size and sha256 of every other file
"""

from zsas_jax.checkpoints.bundle import Bundle, Compute, Config, Verdict
from zsas_jax.checkpoints.load import load, read_config
from zsas_jax.checkpoints.paths import checkpoint_path
from zsas_jax.checkpoints.save import save

__all__ = [
    "Bundle",
    "Compute",
    "Config",
    "Verdict",
    "checkpoint_path",
    "load",
    "read_config",
    "save",
]
