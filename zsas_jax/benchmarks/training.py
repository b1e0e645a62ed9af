# pyright: reportCallIssue=false
"""Training of UMCI: a step against PyTorch, reading cached tokens against computing them."""

import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from flax import nnx

from zsas_jax.benchmarks import timing
from zsas_jax.benchmarks.results import Row
from zsas_jax.benchmarks.setups import load_setup
from zsas_jax.config import replace_path
from zsas_jax.methods.heads.umci import HEAD, UmciHead
from zsas_jax.methods.heads.umci_training import UmciTraining, loss
from zsas_jax.networks import Networks
from zsas_jax.tasks import HeadTask
from zsas_jax.training.config import OptimizerConfig, TrainConfig
from zsas_jax.training.devices import Devices
from zsas_jax.training.features import FeatureCache, Features, make_encoder
from zsas_jax.training.loop import first_state, make_step
from zsas_jax.training.optimizers import make_optimizer

STEP = "How long does a photo take in a step (forward, backward, AdamW)?"
CACHE = "How long do a photo's features take?"
HEAD_CONFIG = UmciHead()


def measure(
    model: str, batch_size: int, side: int | None, repeats: int, peer: bool, photos: int = 4
) -> list[Row]:
    """Rows of both questions, in float32.

    Args:
        model: see `load_setup`; its SAM takes no part.
        batch_size: photos of a step.
        side: of CLIP's input, pixels; None: what suits it.
        repeats: alternating rounds.
        peer: whether PyTorch takes its step too.
        photos: whose features are read and computed.
    """
    networks = load_setup(model, HEAD.networks(HEAD_CONFIG)).bundle.model
    side = side or HEAD_CONFIG.views.size(networks.clip.config)[0]
    batch = random_batch(networks, batch_size, side)
    settings = UmciTraining(stage_weights=(1.0,) * len(networks.umci.config.layers))
    runs = {"ours": our_step(networks, batch, settings)}
    if peer:
        from zsas_jax.benchmarks.torch_umci import torch_step

        runs["PyTorch"] = torch_step(networks.umci, batch, settings.stage_weights)
    labels = {"model": model, "side": side}
    given: Row = {"question": STEP, **labels, "batch": batch_size}
    rows = timing.compare(runs, repeats, given, items=batch_size)
    return rows + _cached(networks, side, repeats, photos, {"question": CACHE, **labels})


def random_batch(networks: Networks, count: int, side: int) -> dict[str, np.ndarray]:
    """Tokens as the cache holds them, text, and masks of which every other one is empty."""
    config, patches = networks.umci.config, (side // networks.clip.config.patch_size) ** 2
    generator = np.random.default_rng(0)
    tokens = generator.standard_normal(
        (count, len(config.layers), patches, config.width), np.float32
    )
    text = generator.standard_normal((count, 2, config.text_dim), np.float32)
    masks = np.zeros((count, side, side), np.float32)
    masks[::2, side // 4 : side // 2, side // 4 : side // 2] = 1
    return {
        "tokens": tokens.astype(ml_dtypes.bfloat16),
        "text": text / np.linalg.norm(text, axis=-1, keepdims=True),
        "masks": masks,
    }


def our_step(
    networks: Networks, batch: dict[str, np.ndarray], settings: UmciTraining
) -> timing.Run:
    """A step of `zsas train`, which returns the loss before it."""
    graphdef, params, rest = nnx.split(networks.umci, nnx.Param, ...)
    optimizer, devices = OptimizerConfig(clip_norm=0.0), Devices(1)
    task = HeadTask(head=HEAD.name)
    config = TrainConfig(task, steps=1, batch_size=len(batch["masks"]), optimizer=optimizer)

    def step_loss(params, frozen, batch, key):
        del frozen, key
        tokens = [batch["tokens"][:, stage] for stage in range(batch["tokens"].shape[1])]
        umci = nnx.merge(graphdef, params, rest)
        given = (Networks(), tokens, batch["text"], batch["masks"], HEAD_CONFIG, settings)
        return loss(umci, *given)

    transform = make_optimizer(optimizer, 1)
    state: Any = devices.copy(first_state(config, jax.tree.map(jnp.copy, params), transform))
    health: Any = devices.copy(np.int32(0))
    step = make_step(config, transform, step_loss, devices)
    placed = devices.place_batch(batch)

    def run() -> float:
        nonlocal state, health
        state, health, scalars = step(state, health, {}, placed, np.int32(1))
        jax.block_until_ready(state)
        return float(scalars["loss"])

    return run


def _cached(networks: Networks, side: int, repeats: int, photos: int, labels: Row) -> list[Row]:
    """Features of a batch of photos, read from files and computed."""
    config = replace_path(HEAD_CONFIG, "views.image_size", side)
    features = Features(HEAD, config, networks, side)
    encode = make_encoder(features)
    images = np.random.default_rng(0).integers(0, 256, (photos, side, side, 3), np.uint8)
    names = [f"{number:032x}" for number in range(photos)]
    with tempfile.TemporaryDirectory() as directory:
        cache = FeatureCache(pathlib.Path(directory), features)
        for name, tokens in zip(names, encode(images), strict=True):
            cache.write(name, tokens)

        def read() -> np.ndarray:
            return np.stack([np.asarray(cache.read(name)) for name in names])

        runs = {"read": read, "computed": lambda: encode(images)}
        return timing.compare(runs, repeats, labels, items=photos)
