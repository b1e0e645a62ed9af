"""Weights of any registered network as PyTorch would publish them, written without PyTorch.

The transforms are the opposite of the converter's; `tests/parity` shows with the originals that
they are PyTorch's.
"""

import json

import jax
import numpy as np
import safetensors.numpy
from flax import nnx

from zsas_jax.convert.rules import apply_rename, native_names


def state_dict(module, rules=()):
    """Name -> array of a module's leaves, in the layout that `rules` lead to."""
    names = native_names(module)
    stored = {}
    for path, variable in nnx.to_flat_state(nnx.state(module)):
        array = np.asarray(variable.get_value())
        if path[-1] == "kernel":
            array = _as_torch(_owner(module, path), array)
        where = apply_rename(names[path], rules)
        array = array.T if where.transpose else array
        parts = np.split(array, len(where.names)) if len(where.names) > 1 else [array]
        stored |= {name: part.copy() for name, part in zip(where.names, parts, strict=True)}
    return stored


def write(state, file):
    """A safetensors file, in a directory that is made for it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(state, file)
    return file


def write_json(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def write_shards(state, directory, count=3):
    """An index and `count` files."""
    names, places = list(state), {}
    for number in range(count):
        file = f"model-{number + 1:05}-of-{count:05}.safetensors"
        part = {name: state[name] for name in names[number::count]}
        places |= dict.fromkeys(part, file)
        write(part, directory / file)
    write_json(directory / "model.safetensors.index.json", {"weight_map": places})
    return directory


def arrays(module):
    """Every leaf of a network as bytes, for bit-exact comparison."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(module)]


def _owner(module, path):
    for part in path[:-1]:
        module = module[part] if isinstance(part, int) else getattr(module, part)
    return module


def _as_torch(owner, kernel):
    """[*window, in, out] as [out, in, *window] or, transposed and flipped, [in, out, *window]."""
    window = tuple(range(kernel.ndim - 2))
    if isinstance(owner, nnx.ConvTranspose):
        return np.flip(kernel, window).transpose(-2, -1, *window)
    return kernel.transpose(-1, -2, *window)
