"""What each network is trained on: datasets, losses and what a run saves."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from zsas_jax.checkpoints.checkpoint import Bundle
from zsas_jax.checkpoints.provenance import describe
from zsas_jax.errors import ConfigError
from zsas_jax.networks import clip as clip_network
from zsas_jax.networks.clip import Clip
from zsas_jax.networks.clip.tokenizer import Tokenizer, train_tokenizer
from zsas_jax.networks.sam import Sam, resized
from zsas_jax.networks.umci import Umci
from zsas_jax.ops.layers import accumulation_dtype, cast_parameters
from zsas_jax.parts.rough import patch_grid
from zsas_jax.tasks import captions, starting
from zsas_jax.tasks.initialization import (
    align_positions,
    initialize_clip,
    initialize_image_encoder,
    transfer_image_tower,
)
from zsas_jax.tasks.sam import sam_loss, sam_sample
from zsas_jax.tasks.umci import umci_task
from zsas_jax.training import losses
from zsas_jax.training.config import OptimizerConfig, TrainConfig
from zsas_jax.training.generated import generated_batches, some_images
from zsas_jax.training.loop import Batch, Scalars, Task
from zsas_jax.training.optimizers import make_optimizer


def make_task(config: TrainConfig) -> Task:
    """Builds the task that `config.task` names."""
    return {"clip": _clip_task, "sam": _sam_task, "umci": umci_task}[config.task](config)


def _clip_task(config: TrainConfig) -> Task:
    start, tokenizer, parts = starting.start(config)
    sizes, umci_sizes, weights = parts.clip, parts.umci, config.clip_task
    if sizes is None:
        raise ConfigError("task 'clip' has no clip sizes: expected `clip` or an `init` with a CLIP")
    size = weights.view_size or sizes.image_size
    grid, _ = patch_grid(sizes, (size, size), "clip_task.view_size")
    start.sam = None
    if start.clip is not None:
        tokenizer = starting.require_tokenizer(tokenizer)
    else:
        tokenizer = train_tokenizer(
            captions.corpus(weights.vocab_captions, config.seed),
            sizes.vocab_size,
            sizes.context_length,
        )
        clip = starting.fresh(lambda: Clip(sizes, rngs=nnx.Rngs(config.seed)))
        initialize_clip(clip, some_images(config.data), config.seed)
        start.clip = separate_states(clip, tokenizer, config)
    # Trained along, so that the patch tokens carry what UMCI needs; UMCI's own training starts
    # from it.
    if start.umci is None and umci_sizes is not None:
        start.umci = starting.fresh(lambda: Umci(umci_sizes, rngs=nnx.Rngs(config.seed)))
    layers = (*(umci_sizes.layers if umci_sizes else ()), sizes.vision_layers)
    graphdef, params, frozen = nnx.split(start, nnx.Param, ...)

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        texts = captions.for_training(rng, view["class_name"], view["defect"], weights.unknown_word)
        return {
            "image": view["image"],
            "mask": view["mask"],
            "tokens": tokenizer(texts),
            "group": np.int32(captions.group(view["class_name"], view["defect"])),
            "label": np.int32(view["defect"] != "good"),
        }

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        model = cast_parameters(nnx.merge(graphdef, params, frozen), config.precision)
        clip = model.clip
        assert clip is not None
        pixels = starting.normalize(batch["image"], *starting.clip_statistics(clip.config))
        image = clip_network.encode_image(clip, pixels, layers)
        count = batch["tokens"].shape[1]
        text = clip_network.encode_text(clip, batch["tokens"].reshape(-1, batch["tokens"].shape[2]))
        text = _unit(text).reshape(-1, count, text.shape[-1])
        features = _unit(image.class_embedding)
        scale = jnp.exp(jnp.minimum(clip.logit_scale[...], jnp.log(100.0)))
        contrast = losses.contrastive_loss(features, text[:, 0], batch["group"], scale)
        states = jax.nn.log_softmax(scale * jnp.einsum("bd,bsd->bs", features, text[:, 1:]))
        state = -jnp.mean(jnp.take_along_axis(states, batch["label"][:, None], axis=1))

        shares = starting.mean_pool(batch["mask"], clip.config.patch_size)

        def region_loss(logits: Array) -> Array:
            logits = logits.reshape(-1, grid, grid, 2)
            return losses.balanced_cross_entropy(logits, shares, weights.balance, weights.focus)

        patches = _unit(clip_network.project_patches(clip, image.patch_tokens[-1]))
        region = region_loss(scale * jnp.einsum("bpd,bsd->bps", patches, text[:, 1:]))
        auxiliary = jnp.zeros(())
        if model.umci is not None:
            logits = model.umci(image.patch_tokens[:-1], (grid, grid), text[:, 1:])
            auxiliary = losses.stage_cross_entropy(logits, shares, weights.balance, weights.focus)
        total = contrast + weights.state_weight * state + weights.region_weight * region
        total += weights.auxiliary_weight * auxiliary
        return total, {
            "contrast": contrast,
            "state": state,
            "region": region,
            "auxiliary": auxiliary,
            "accuracy": jnp.mean((states[:, 1] > states[:, 0]) == (batch["label"] > 0)),
            "scale": scale,
        }

    def export(params) -> Bundle:
        return starting.bundle(nnx.merge(graphdef, params, frozen), tokenizer, parts)

    return _on_the_generator(
        config, params, frozen, loss, generated_batches(config, size, sample), export
    )


def separate_states(clip: Clip, tokenizer: Tokenizer, config: TrainConfig) -> Clip:
    """Trains the text tower alone on sentences: same class and state together, others apart."""
    graphdef, params, frozen = nnx.split(clip, nnx.Param, ...)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-3, weight_decay=0.0), 1)
    moments = optimizer.init(params)
    rng = np.random.default_rng(config.seed)

    @jax.jit
    def step(params, moments, tokens, groups):
        def loss(params):
            features = _unit(clip_network.encode_text(nnx.merge(graphdef, params, frozen), tokens))
            half = len(features) // 2
            scale = jnp.asarray(20.0)
            return losses.contrastive_loss(features[:half], features[half:], groups, scale)

        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    for _ in range(config.clip_task.text_steps):
        pairs, groups = captions.sentence_pairs(rng, 64, config.clip_task.unknown_word)
        tokens = tokenizer([first for first, _ in pairs] + [second for _, second in pairs])
        params, moments = step(params, moments, jnp.asarray(tokens), jnp.asarray(groups))
    return nnx.merge(graphdef, params, frozen)


def _sam_task(config: TrainConfig) -> Task:
    start, tokenizer, parts = starting.start(config)
    if parts.sam is None:
        raise ConfigError("task 'sam' has no sam sizes: expected `sam` or an `init` with a SAM")
    sizes = parts.sam
    size = config.sam_task.view_size or sizes.image_size
    sam = start.sam
    if sam is None:
        sam = starting.fresh(lambda: Sam(sizes, rngs=nnx.Rngs(config.seed)))
        align_positions(sam, config.seed)
        if not config.sam_task.from_clip:
            initialize_image_encoder(sam, some_images(config.data), config.seed)
        elif start.clip is None:
            raise ConfigError("sam_task.from_clip is set, but `init` has no CLIP")
        else:
            transfer_image_tower(sam, start.clip, some_images(config.data))
            start.clip = None  # Not part of what this run saves.
    if size != sizes.image_size:
        sam = resized(sam, size)
        parts = dataclasses.replace(parts, sam=sam.config)
    graphdef, params, frozen = nnx.split(sam, nnx.Param, ...)

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        return sam_sample(view, rng, config.sam_task)

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        sam = cast_parameters(nnx.merge(graphdef, params, frozen), config.precision)
        pixels = starting.normalize(batch["image"], sam.config.pixel_mean, sam.config.pixel_std)
        return sam_loss(sam, pixels, batch, key, config.sam_task)

    def export(params) -> Bundle:
        start.sam = nnx.merge(graphdef, params, frozen)
        return starting.bundle(start, tokenizer, parts)

    return _on_the_generator(
        config, params, frozen, loss, generated_batches(config, size, sample), export
    )


def _on_the_generator(config: TrainConfig, params, frozen, loss, dataset, export) -> Task:
    steps = max(config.data.pictures // config.batch_size, 1)
    provenance = describe(config, "generator")
    return Task(params, frozen, loss, dataset, export, steps, provenance=provenance)


def _unit(x: Array) -> Array:
    x = x.astype(accumulation_dtype(x))
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
