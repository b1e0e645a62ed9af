"""Text features on disk: a category's ensemble through a large CLIP is encoded once a machine.

    ~/.cache/zsas_jax/text/0f3c...e1.npy     float32 [2, d]: normal, abnormal

`XDG_CACHE_HOME` moves it with the other caches; an empty `ZSAS_JAX_TEXT_CACHE` turns it off, and a
path in it names another directory. A file's name is the hash of all that its numbers depend on:
the text tower's weights and sizes, the token ids of every sentence (and so tokenizer, prompts and
category), the versions of the library and of JAX, and the kind of device.
"""

import contextlib
import hashlib
import os
import pathlib

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float32, Int

from zsas_jax.clip.model import Clip
from zsas_jax.files import atomic_path
from zsas_jax.weights.hub import cache_root

# Towers with fewer parameters are faster than the disk is worth.
SMALLEST_TOWER = 10_000_000
VERSION = "1"  # of what this library makes of the same weights and token ids
TEXT_PARTS = (
    "transformer",
    "token_embedding",
    "positional_embedding",
    "ln_final",
    "text_projection",
)

Features = Float32[np.ndarray, "2 d"]


def directory() -> pathlib.Path | None:
    """Where features are kept; None: nowhere."""
    chosen = os.environ.get("ZSAS_JAX_TEXT_CACHE")
    if chosen == "":
        return None
    return pathlib.Path(chosen) if chosen else cache_root() / "text"


def tower_hash(clip: Clip) -> str | None:
    """SHA-256 of the text tower; None where features of this tower are not kept.

    That is so for small towers, under a trace, and for weights spread over several hosts.
    """
    if directory() is None:
        return None
    state = nnx.to_flat_state(nnx.state(clip))
    leaves = [variable.get_value() for path, variable in state if path[0] in TEXT_PARTS]
    if sum(leaf.size for leaf in leaves) < SMALLEST_TOWER:
        return None
    if not all(isinstance(leaf, jax.Array) and leaf.is_fully_addressable for leaf in leaves):
        return None
    config = clip.config
    sizes = (config.text_heads, config.activation, config.eps, config.text_pooling)
    precision = str(jax.config.jax_default_matmul_precision)  # pyright: ignore
    where = (jax.__version__, jax.devices()[0].device_kind, precision)
    digest = hashlib.sha256(repr((VERSION, sizes, config.end_token_id, where)).encode())
    for leaf in leaves:
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def key(
    tower: str, normal: Int[np.ndarray, "n length"], abnormal: Int[np.ndarray, "m length"]
) -> str:
    """Name of a category's file: the tower and the token ids of both ensembles."""
    digest = hashlib.sha256(tower.encode())
    for token_ids in (normal, abnormal):
        digest.update(repr(token_ids.shape).encode())
        digest.update(np.ascontiguousarray(token_ids, np.int32).data)
    return digest.hexdigest()


def read(name: str, width: int) -> Features | None:
    """The features of that name; None where there are none, or a damaged file."""
    place = directory()
    if place is None:
        return None
    try:
        features = np.load(place / f"{name}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if features.shape != (2, width) or features.dtype != np.float32:
        return None
    return features if np.isfinite(features).all() else None


def write(name: str, features: Features) -> None:
    """Keeps features, whole or not at all; a disk that refuses only costs time."""
    place = directory()
    if place is None:
        return
    with (
        contextlib.suppress(OSError),
        atomic_path(place / f"{name}.npy") as part,
        part.open("wb") as file,
    ):
        np.save(file, features)
