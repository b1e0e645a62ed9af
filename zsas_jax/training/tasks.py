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
from zsas_jax.training.calibration import calibrate
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
    assert config.clip is not None
    size = config.clip_task.view_size or config.clip.image_size
    grid = size // config.clip.patch_size
    weights = config.clip_task
    start, tokenizer, _ = _load_all(config.init)
    start.sam = None
    tokenizer = tokenizer or train_tokenizer(
        captions.corpus(weights.vocab_captions, config.seed),
        config.clip.vocab_size,
        config.clip.context_length,
    )
    if start.clip is None:
        clip = Clip(config.clip, rngs=nnx.Rngs(config.seed))
        initialize_clip(clip, _some_images(config.data), config.seed)
        start.clip = separate_states(clip, tokenizer, config)
    # Trained along, so that the patch tokens carry what UMCI needs; UMCI's own training starts
    # from it.
    if start.umci is None and config.umci is not None:
        start.umci = Umci(config.umci, rngs=nnx.Rngs(config.seed))
    layers = (*(config.umci.layers if config.umci else ()), config.clip.vision_layers)
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
        parts = Config(clip=config.clip, umci=config.umci, pipeline=config.pipeline)
        return Bundle(nnx.merge(graphdef, params, frozen), tokenizer, parts)

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
    assert config.sam is not None
    size = config.sam.image_size
    start = _load_all(config.init).model
    sam = start.sam
    if sam is None:
        sam = Sam(config.sam, rngs=nnx.Rngs(config.seed))
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
        return Bundle(start, None, Config(sam=config.sam, pipeline=config.pipeline))

    return Task(params, frozen, loss, _dataset(config, size, sample), export)


def _umci_task(config: TrainConfig) -> Task:
    start = _load_all(config.init)
    if start.model.clip is None:
        raise ConfigError("training UMCI needs a CLIP: expected `init` to name its checkpoint")
    umci_config = config.umci
    assert umci_config is not None
    assert start.tokenizer is not None
    parts = dataclasses.replace(start.config, umci=umci_config, pipeline=config.pipeline)
    size = config.pipeline.clip_size[0]
    umci = start.model.umci or Umci(umci_config, rngs=nnx.Rngs(config.seed))
    graphdef, params, buffers = nnx.split(umci, nnx.Param, ...)
    classes = captions.class_words()
    # The last row is the prompt of a part whose category nobody told us.
    names = [*classes.values(), "object"]
    text = encode_text(start.model.clip, start.tokenizer, names)
    frozen = {"clip": start.model.clip, "buffers": buffers, "text": text}
    index = {name: number for number, name in enumerate(classes)}

    def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
        known = rng.random() >= config.umci_task.unknown_word
        category = index[view["class_name"]] if known else len(index)
        return {"image": view["image"], "mask": view["mask"], "category": np.int32(category)}

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        clip = frozen["clip"]
        pixels = normalize(batch["image"], *_clip_statistics(clip.config))
        encoding = clip_network.encode_image(clip, pixels, layers=umci_config.layers)
        tokens = [jax.lax.stop_gradient(tokens) for tokens in encoding.patch_tokens]
        grid = size // clip.config.patch_size
        umci = nnx.merge(graphdef, params, frozen["buffers"])
        logits = umci(tokens, (grid, grid), frozen["text"][batch["category"]])
        masks = batch["mask"]
        if config.umci_task.loss_resolution == "grid":
            masks = _mean_pool(masks, clip.config.patch_size)
        masks = (masks > 0.5).astype(jnp.float32)
        task = config.umci_task
        value = losses.umci_loss(
            logits, masks, task.stage_weights, task.focal_gamma, task.dice_smooth, task.dice_over
        )
        return value, {}

    def export(params) -> Bundle:
        start.model.umci = nnx.merge(graphdef, params, buffers)
        bundle = Bundle(start.model, start.tokenizer, parts)
        per_class = config.umci_task.calibration_per_class
        return calibrate(bundle, per_class=per_class) if per_class else bundle

    return Task(params, frozen, loss, _dataset(config, size, sample), export)


def _load_all(directories: tuple[str, ...]) -> Bundle:
    """One bundle of the networks of several checkpoints."""
    model, tokenizer, parts = Model(Config(), rngs=nnx.Rngs(0)), None, Config()
    for directory in directories:
        bundle = load(pathlib.Path(directory))
        tokenizer = bundle.tokenizer or tokenizer
        for name in ("clip", "sam", "umci"):
            if getattr(bundle.model, name) is not None:
                setattr(model, name, getattr(bundle.model, name))
                parts = dataclasses.replace(parts, **{name: getattr(bundle.config, name)})
    return Bundle(model, tokenizer, parts)


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
