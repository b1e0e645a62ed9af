"""What each network is trained on: datasets, losses and what a run saves."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, UInt8

from zsas_jax import clip as clip_network
from zsas_jax.clip import Clip
from zsas_jax.clip.tokenizer import Tokenizer, train_tokenizer
from zsas_jax.config import Config
from zsas_jax.data.pool import Pool, open_pool
from zsas_jax.errors import ConfigError
from zsas_jax.model import Model
from zsas_jax.prompting.text import encode_text
from zsas_jax.sam import Sam
from zsas_jax.training import captions, losses
from zsas_jax.training.augment import augment
from zsas_jax.training.calibration import calibrate, tune
from zsas_jax.training.config import DataConfig, OptimizerConfig, TrainConfig
from zsas_jax.training.initialization import initialize_clip, initialize_sam
from zsas_jax.training.loop import Batch, Scalars, Task, make_optimizer
from zsas_jax.training.sam import sam_loss, sam_sample
from zsas_jax.umci import Umci
from zsas_jax.weights.checkpoint import Bundle, load


def make_task(config: TrainConfig) -> Task:
    """Builds the task that `config.task` names."""
    return {"clip": _clip_task, "sam": _sam_task, "umci": _umci_task}[config.task](config)


def normalize(
    images: UInt8[Array, "b h w 3"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Array, "b h w 3"]:
    """Levels 0..255 to normalised pixels; `mean` and `std` are in the same levels."""
    return (images.astype(jnp.float32) - jnp.asarray(mean)) / jnp.asarray(std)


def _clip_task(config: TrainConfig) -> Task:
    start, tokenizer, parts = _start(config)
    sizes, umci_sizes, weights = parts.clip, parts.umci, config.clip_task
    if sizes is None:
        raise ConfigError("task 'clip' has no clip sizes: expected `clip` or an `init` with a CLIP")
    size = weights.view_size or sizes.image_size
    grid = size // sizes.patch_size
    start.sam = None
    tokenizer = tokenizer or train_tokenizer(
        captions.corpus(weights.vocab_captions, config.seed),
        sizes.vocab_size,
        sizes.context_length,
    )
    if start.clip is None:
        clip = Clip(sizes, rngs=nnx.Rngs(config.seed))
        initialize_clip(clip, _some_images(config.data), config.seed)
        start.clip = separate_states(clip, tokenizer, config)
    # Trained along, so that the patch tokens carry what UMCI needs; UMCI's own training starts
    # from it.
    if start.umci is None and umci_sizes is not None:
        start.umci = Umci(umci_sizes, rngs=nnx.Rngs(config.seed))
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
        model = nnx.merge(graphdef, params, frozen)
        clip = model.clip
        assert clip is not None
        pixels = normalize(batch["image"], *_clip_statistics(clip.config))
        image = clip_network.encode_image(clip, pixels, layers)
        count = batch["tokens"].shape[1]
        text = clip_network.encode_text(clip, batch["tokens"].reshape(-1, batch["tokens"].shape[2]))
        text = _unit(text).reshape(-1, count, text.shape[-1])
        features = _unit(image.class_embedding)
        scale = jnp.exp(jnp.minimum(clip.logit_scale[...], jnp.log(100.0)))
        contrast = losses.contrastive_loss(features, text[:, 0], batch["group"], scale)
        states = jax.nn.log_softmax(scale * jnp.einsum("bd,bsd->bs", features, text[:, 1:]))
        state = -jnp.mean(jnp.take_along_axis(states, batch["label"][:, None], axis=1))

        shares = _mean_pool(batch["mask"], clip.config.patch_size)

        def region_loss(logits: Array) -> Array:
            return losses.balanced_cross_entropy(logits.reshape(-1, grid, grid, 2), shares)

        patches = _unit(clip_network.project_patches(clip, image.patch_tokens[-1]))
        region = region_loss(scale * jnp.einsum("bpd,bsd->bps", patches, text[:, 1:]))
        auxiliary = jnp.zeros(())
        if model.umci is not None:
            logits = model.umci(image.patch_tokens[:-1], (grid, grid), text[:, 1:])
            stages = jnp.moveaxis(logits, 1, 0)
            auxiliary = jax.vmap(losses.balanced_cross_entropy, (0, None))(stages, shares).mean()
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
        return _bundle(nnx.merge(graphdef, params, frozen), tokenizer, parts)

    return Task(params, frozen, loss, _dataset(config, size, sample), export)


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
    start, tokenizer, parts = _start(config)
    if parts.sam is None:
        raise ConfigError("task 'sam' has no sam sizes: expected `sam` or an `init` with a SAM")
    size = parts.sam.image_size
    sam = start.sam
    if sam is None:
        sam = Sam(parts.sam, rngs=nnx.Rngs(config.seed))
        initialize_sam(sam, _some_images(config.data), config.seed)
    graphdef, params, frozen = nnx.split(sam, nnx.Param, ...)

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        return sam_sample(view, rng, config.sam_task)

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        sam = nnx.merge(graphdef, params, frozen)
        pixels = normalize(batch["image"], sam.config.pixel_mean, sam.config.pixel_std)
        return sam_loss(sam, pixels, batch, key, config.sam_task)

    def export(params) -> Bundle:
        start.sam = nnx.merge(graphdef, params, frozen)
        return _bundle(start, tokenizer, parts)

    return Task(params, frozen, loss, _dataset(config, size, sample), export)


def _umci_task(config: TrainConfig) -> Task:
    start, tokenizer, parts = _start(config)
    if start.clip is None or tokenizer is None:
        raise ConfigError("task 'umci' needs a CLIP: expected `init` to name its checkpoint")
    if parts.umci is None:
        raise ConfigError("task 'umci' has no umci sizes: expected `umci` or an `init` with a UMCI")
    layers, task = parts.umci.layers, config.umci_task
    if len(task.stage_weights) != len(layers):
        raise ConfigError(
            f"umci_task has {len(task.stage_weights)} stage weights for a UMCI of {len(layers)} "
            "stages: expected one for each"
        )
    size = config.pipeline.clip_size[0]
    umci = start.umci or Umci(parts.umci, rngs=nnx.Rngs(config.seed))
    graphdef, params, buffers = nnx.split(umci, nnx.Param, ...)
    classes = captions.class_words()
    # The last row is the prompt of a part whose category nobody told us.
    names = [*classes.values(), "object"]
    text = encode_text(start.clip, tokenizer, names)
    frozen = {"clip": start.clip, "buffers": buffers, "text": text}
    index = {name: number for number, name in enumerate(classes)}

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        known = rng.random() >= task.unknown_word
        category = index[view["class_name"]] if known else len(index)
        return {"image": view["image"], "mask": view["mask"], "category": np.int32(category)}

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        clip = frozen["clip"]
        pixels = normalize(batch["image"], *_clip_statistics(clip.config))
        encoding = clip_network.encode_image(clip, pixels, layers=layers)
        tokens = [jax.lax.stop_gradient(tokens) for tokens in encoding.patch_tokens]
        grid = size // clip.config.patch_size
        umci = nnx.merge(graphdef, params, frozen["buffers"])
        logits = umci(tokens, (grid, grid), frozen["text"][batch["category"]])
        masks = batch["mask"]
        if task.loss_resolution == "grid":
            masks = _mean_pool(masks, clip.config.patch_size)
        masks = (masks > 0.5).astype(jnp.float32)
        value = losses.umci_loss(
            logits, masks, task.stage_weights, task.focal_gamma, task.dice_smooth, task.dice_over
        )
        return value, {}

    def export(params) -> Bundle:
        start.umci = nnx.merge(graphdef, params, buffers)
        bundle = _bundle(start, tokenizer, parts)
        if task.tuning_per_class:
            bundle = tune(bundle, per_class=task.tuning_per_class)
        if task.calibration_per_class:
            bundle = calibrate(bundle, per_class=task.calibration_per_class)
        return bundle

    return Task(params, frozen, loss, _dataset(config, size, sample), export)


def _start(config: TrainConfig) -> Bundle:
    """The networks of all checkpoints of `init`, and the sizes of these and of the fresh ones."""
    model, tokenizer, parts = Model(Config(), rngs=nnx.Rngs(0)), None, {}
    for directory in config.init:
        bundle = load(pathlib.Path(directory))
        tokenizer = bundle.tokenizer or tokenizer
        for name in ("clip", "sam", "umci"):
            if getattr(bundle.model, name) is not None:
                setattr(model, name, getattr(bundle.model, name))
                parts[name] = getattr(bundle.config, name)
    for name in ("clip", "sam", "umci"):
        asked = getattr(config, name)
        if asked is not None and parts.setdefault(name, asked) != asked:
            raise ConfigError(
                f"{name} in the config has other sizes than in init ({', '.join(config.init)}): "
                "expected the same, or none in the config"
            )
    return Bundle(model, tokenizer, Config(**parts, pipeline=config.pipeline))


def _bundle(model: Model, tokenizer: Tokenizer | None, parts: Config) -> Bundle:
    """What is saved: the sizes of networks that are not there go."""
    absent = {name: None for name in ("clip", "sam", "umci") if getattr(model, name) is None}
    return Bundle(model, tokenizer, dataclasses.replace(parts, **absent))


def _dataset(
    config: TrainConfig, size: int, sample: Callable[[dict[str, Any], np.random.Generator], Batch]
) -> grain.IterDataset:
    """Endless batches of random views of the pool at `size` x `size`, through `sample`."""
    data, pool = config.data, _pool(config.data)

    def view(item: dict[str, Any], rng: np.random.Generator) -> Batch:
        other = pool[int(rng.integers(len(pool)))]["image"]
        return sample(augment(item, rng, size, data, other), rng)

    batches = (
        grain.MapDataset.source(pool)
        .seed(config.seed)
        .shuffle()
        .repeat()
        .random_map(view)
        .batch(config.batch_size, drop_remainder=True)
    )
    return batches.to_iter_dataset(grain.ReadOptions(data.workers, 4))


def _pool(data: DataConfig) -> Pool:
    return open_pool(
        data.cache_dir,
        pictures=data.pictures,
        size=data.size,
        seed=data.seed,
        workers=data.workers,
    )


def _some_images(data: DataConfig, count: int = 512) -> UInt8[np.ndarray, "n h w 3"]:
    pool = _pool(data)
    return np.stack([pool[i]["image"] for i in range(0, len(pool), -(-len(pool) // count))])


def _clip_statistics(config: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """CLIP's mean and standard deviation, stated for [0, 1], in levels of 0..255."""
    return (
        tuple(255 * value for value in config.pixel_mean),
        tuple(255 * value for value in config.pixel_std),
    )


def _unit(x: Array) -> Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _mean_pool(x: Float[Array, "b h w"], factor: int) -> Float[Array, "b i j"]:
    b, h, w = x.shape
    return x.reshape(b, h // factor, factor, w // factor, factor).mean((2, 4))
