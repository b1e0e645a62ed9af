"""Training of UMCI on a frozen CLIP: ClipSAM 3.4 and 4.1."""

import functools
import logging
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from zsas_jax.checkpoints.checkpoint import Bundle
from zsas_jax.checkpoints.provenance import describe
from zsas_jax.errors import ConfigError
from zsas_jax.networks import clip as clip_network
from zsas_jax.networks.umci import Umci
from zsas_jax.ops.layers import cast_parameters
from zsas_jax.parts.rough import check_stages, patch_grid
from zsas_jax.parts.text import encode_text
from zsas_jax.tasks import captions, starting
from zsas_jax.tasks.calibration import calibrate, tune
from zsas_jax.tasks.validation import make_validation
from zsas_jax.training import features, losses
from zsas_jax.training.config import TrainConfig
from zsas_jax.training.devices import local_batches
from zsas_jax.training.generated import generated_batches
from zsas_jax.training.loop import Batch, Scalars, Task
from zsas_jax.training.photos import (
    Auxiliary,
    open_auxiliary,
    random_view,
    read_mask,
    read_photo,
    sample_record,
    stretch,
    stretch_mask,
)

logger = logging.getLogger(__name__)

# The prompt of a part whose category nobody told us.
UNKNOWN = "object"


def umci_task(config: TrainConfig) -> Task:
    """UMCI on the generator's pictures, or on the photos of `config.auxiliary`.

    Raises:
        ConfigError: no CLIP, or sizes that do not fit. DatasetError: see `open_auxiliary`.
    """
    begun, tokenizer, parts = starting.start(config)
    clip = begun.clip
    if clip is None:
        raise ConfigError("task 'umci' needs a CLIP: expected `init` to name its checkpoint")
    tokenizer = starting.require_tokenizer(tokenizer)
    if parts.umci is None:
        raise ConfigError("task 'umci' has no umci sizes: expected `umci` or an `init` with a UMCI")
    layers, task = parts.umci.layers, config.umci_task
    if len(task.stage_weights) != len(layers):
        raise ConfigError(
            f"umci_task has {len(task.stage_weights)} stage weights for a UMCI of {len(layers)} "
            "stages: expected one for each"
        )
    size = config.pipeline.clip_size[0]
    if config.pipeline.clip_size != (size, size):
        raise ConfigError(
            f"pipeline.clip_image_size is {config.pipeline.clip_size}: expected a square"
        )
    grid = patch_grid(clip.config, (size, size), "pipeline.clip_image_size")
    check_stages(config.pipeline, parts.umci)
    _check_networks(config, has_sam=begun.sam is not None)
    sizes = parts.umci
    umci = begun.umci or starting.fresh(lambda: Umci(sizes, rngs=nnx.Rngs(config.seed)))
    graphdef, params, buffers = nnx.split(umci, nnx.Param, ...)
    auxiliary = open_auxiliary(config.auxiliary, config.seed) if config.auxiliary.name else None
    words = captions.class_words()
    classes = list(auxiliary.categories) if auxiliary else list(words.values())
    text = encode_text(clip, tokenizer, [*classes, UNKNOWN])
    encoder = cast_parameters(clip, config.precision)

    def predict(params, frozen, batch: Batch) -> Float[Array, "b n gh gw 2"]:
        if "tokens" in batch:
            tokens = [batch["tokens"][:, stage] for stage in range(len(layers))]
        else:
            encoder = frozen["clip"]
            pixels = starting.normalize(batch["image"], *starting.clip_statistics(encoder.config))
            tokens = clip_network.encode_image(encoder, pixels, layers).patch_tokens
        tokens = [jax.lax.stop_gradient(tokens) for tokens in tokens]
        umci = cast_parameters(nnx.merge(graphdef, params, frozen["buffers"]), config.precision)
        return umci(tokens, grid, frozen["text"][batch["category"]])

    def loss_of(logits: Float[Array, "b n gh gw 2"], masks: Float[Array, "b s s"]) -> jax.Array:
        if task.loss == "balanced":
            shares = starting.mean_pool(masks, size // grid[0])
            return losses.stage_cross_entropy(logits, shares, task.balance, task.focus)
        if task.loss_resolution == "grid":
            masks = starting.mean_pool(masks, size // grid[0])
        masks = (masks > 0.5).astype(jnp.float32)
        return losses.umci_loss(
            logits, masks, task.stage_weights, task.focal_gamma, task.dice_smooth, task.dice_over
        )

    def loss(params, frozen, batch: Batch, key: jax.Array) -> tuple[jax.Array, Scalars]:
        return loss_of(predict(params, frozen, batch), batch["mask"].astype(jnp.float32)), {}

    def export(params) -> Bundle:
        begun.umci = nnx.merge(graphdef, params, buffers)
        bundle = starting.bundle(begun, tokenizer, parts)
        if task.tuning_per_class:
            bundle = tune(bundle, per_class=task.tuning_per_class)
        if task.calibration_per_class:
            bundle = calibrate(bundle, per_class=task.calibration_per_class)
        return bundle

    frozen = {"buffers": buffers, "text": text}
    if auxiliary is None:
        index = {name: number for number, name in enumerate(words)}

        def sample(view: dict[str, Any], rng: np.random.Generator) -> Batch:
            known = rng.random() >= task.unknown_word
            category = index[view["class_name"]] if known else len(index)
            return {"image": view["image"], "mask": view["mask"], "category": np.int32(category)}

        dataset = generated_batches(config, size, sample)
        steps = max(config.data.pictures // config.batch_size, 1)
        frozen["clip"] = encoder
        return Task(
            params, frozen, loss, dataset, export, steps, provenance=describe(config, "generator")
        )

    photos = _Photos(config, auxiliary, size)
    if config.auxiliary.cache and not config.auxiliary.random:
        photos.cache_features(encoder, layers)
    else:
        frozen["clip"] = encoder
        reason = "--auxiliary.no-cache" if not config.auxiliary.cache else "random augmentation"
        logger.info("the feature cache is off (%s): CLIP runs in every step", reason)
    held_out = [functools.partial(photos.validation, index) for index in auxiliary.validation]
    names = [auxiliary.source[index]["category"] for index in auxiliary.validation]
    return Task(
        params,
        frozen,
        loss,
        photos.batches(),
        export,
        max(len(auxiliary.training) // config.batch_size, 1),
        make_validation(config, predict, loss_of, held_out, names) if held_out else None,
        describe(config, config.auxiliary.name),
    )


def _check_networks(config: TrainConfig, *, has_sam: bool) -> None:
    """Refuses what would fail when the pipeline's settings are chosen, after the last step.

    Raises:
        ConfigError: the pipeline's method needs a SAM that is not there.
    """
    task, pipeline = config.umci_task, config.pipeline
    chosen = [
        name for name in ("tuning_per_class", "calibration_per_class") if getattr(task, name) > 0
    ]
    if chosen and not has_sam and pipeline.method in ("cascade", "clipsam"):
        raise ConfigError(
            f"umci_task.{chosen[0]} is set, but `init` has no SAM for pipeline.method "
            f"{pipeline.method!r}: expected one, 0, or the method 'umci'"
        )


class _Photos:
    """The samples of an auxiliary data set: pixels, or tokens where they are cached."""

    def __init__(self, config: TrainConfig, auxiliary: Auxiliary, size: int):
        self._config, self._auxiliary, self._size = config, auxiliary, size
        self._cache: features.FeatureCache | None = None
        self._digests: dict[int, str] = {}

    def cache_features(self, clip: Any, layers: tuple[int, ...]) -> None:
        """Computes what is not there yet; samples have tokens from then on."""
        settings = self._config.auxiliary
        cache = features.FeatureCache(settings.cache_dir, clip, layers, self._size)
        self._encode = features.make_encoder(clip, layers)
        self._digests = features.fill(
            cache,
            self._auxiliary.source,
            [*self._auxiliary.training, *self._auxiliary.validation],
            self._encode,
            size=self._size,
            batch_size=self._config.batch_size,
            workers=settings.workers,
        )
        self._cache = cache
        logger.info("patch tokens are read from %s", cache.directory)

    def batches(self) -> grain.IterDataset:
        samples = (
            grain.MapDataset.source(self._auxiliary.training)
            .seed(self._config.seed)
            .shuffle()
            .repeat()
            .random_map(self._training)
        )
        batches = local_batches(samples, self._config.batch_size)
        workers = self._config.auxiliary.workers
        return batches.to_iter_dataset(grain.ReadOptions(workers, max(workers, 2)))

    def _training(self, index: int, rng: np.random.Generator) -> Batch:
        record, category = sample_record(self._auxiliary, int(index))
        if rng.random() < self._config.umci_task.unknown_word:
            category = np.int32(len(self._auxiliary.categories))
        if self._cache is None:
            settings = self._config.auxiliary
            photo = random_view(self._auxiliary, record, rng, self._size, settings)
            return {"image": photo.image, "mask": photo.mask, "category": category}
        mask = stretch_mask(read_mask(record), self._size)
        return {"tokens": self._tokens(int(index)), "mask": mask, "category": category}

    def validation(self, index: int) -> Batch:
        """One held-out photo, as `make_validation` takes it."""
        record, category = sample_record(self._auxiliary, index)
        photo = read_photo(record)
        small = stretch(photo, self._config.auxiliary.validation_size)
        image, mask = stretch(photo, self._size)
        sample = {"mask": mask, "category": category, "shown": small.image, "truth": small.mask}
        if self._cache is None:
            return {**sample, "image": image}
        return {**sample, "tokens": self._tokens(index)}

    def _tokens(self, index: int) -> np.ndarray:
        assert self._cache is not None
        tokens = self._cache.read(self._digests[index])
        if tokens is None:  # Removed or damaged since the run began.
            record = self._auxiliary.source[index]
            image = stretch(read_photo(record), self._size).image
            count = self._config.batch_size
            tokens = self._encode(np.repeat(image[None], count, axis=0))[0]
            self._cache.write(self._digests[index], tokens)
        return tokens
