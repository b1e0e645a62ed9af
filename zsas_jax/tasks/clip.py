"""CLIP, trained from nothing or further, with a UMCI along where the config has one."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from zsas_jax.checkpoints import Bundle
from zsas_jax.config import check_fields
from zsas_jax.errors import ConfigError
from zsas_jax.networks import clip as clip_network
from zsas_jax.networks import umci as umci_network
from zsas_jax.networks.clip import NETWORK, Clip, ClipConfig, Tokenizer, train_tokenizer
from zsas_jax.networks.umci import Umci, UmciConfig
from zsas_jax.ops import losses
from zsas_jax.ops.layers import accumulation_dtype, cast_parameters
from zsas_jax.parts.views import normalize_levels, patch_grid
from zsas_jax.tasks import captions, starting
from zsas_jax.tasks.initialization import initialize_clip
from zsas_jax.training.config import Generated, OptimizerConfig, TaskConfig, TrainConfig
from zsas_jax.training.generated import generated_batches, some_images, steps_per_epoch
from zsas_jax.training.loop import Batch, Scalars, Task
from zsas_jax.training.optimizers import make_optimizer
from zsas_jax.training.provenance import describe


@dataclasses.dataclass(frozen=True)
class ClipTask(TaskConfig):
    """Contrastive training of CLIP with captions that name class and state."""

    sizes: ClipConfig | None = None
    """Of a fresh CLIP; None takes that of `init`."""
    umci: UmciConfig | None = None
    """Sizes of a UMCI that is trained along, so that the patch tokens carry what it needs."""
    data: Generated = Generated()

    state_weight: float = 1.0
    """Weight of the image against its own category's normal and abnormal sentences."""
    region_weight: float = 1.0
    """Weight of the same for every patch, against the mask (region-text contrast)."""
    auxiliary_weight: float = 1.0
    """Weight of the anomaly loss of a UMCI that is trained along, where the config has one."""
    balance: float = 1.0
    """How much more anomalous patches weigh in both losses of patches
    (`losses.balanced_cross_entropy`)."""
    focus: float = 0.0
    """How much less plainly right patches count there; 0 or at least 1."""
    unknown_word: float = 0.3
    """Share of sentences whose category is replaced by a generic or made-up word."""
    text_steps: int = 300
    """Steps in which the text tower first learns, alone, to tell classes and states apart: while
    both states have the same text feature, no picture can be told which one it shows."""
    view_size: int = 0
    """Side of the training views in pixels; 0 is the CLIP's own `image_size`. A second, short run
    at the size the pipeline uses teaches the image tower its longer reach."""
    vocab_captions: int = 4000
    """Captions on which the tokenizer is trained."""

    def __post_init__(self):
        check_fields(self, "task")
        # Between, the gradient of a patch of probability 1 is infinite.
        if self.focus != 0 and self.focus < 1:
            raise ConfigError(f"task.focus is {self.focus}: expected 0 or at least 1")


def clip_task(config: TrainConfig, weights: ClipTask) -> Task:
    """A fresh or further trained CLIP on the generator's pictures and captions.

    Raises:
        ConfigError: no sizes, a CLIP without a tokenizer, views that are not whole patches.
    """
    name, along = NETWORK.name, umci_network.NETWORK.name
    begun = starting.start(config, {name: weights.sizes, along: weights.umci})
    begun = starting.without(begun, *{*begun.model.names} - {name, along})
    sizes: ClipConfig = starting.sizes_of(begun, name, "task.sizes")
    umci_sizes: UmciConfig | None = begun.config.networks.get(along)
    size = weights.view_size or sizes.image_size
    grid, _ = patch_grid(sizes, (size, size), "task.view_size")
    model, tokenizer = begun.model, begun.tokenizers.get(name)
    if model.has(name):
        tokenizer = starting.require_tokenizer(begun, name)
    else:
        tokenizer = train_tokenizer(
            captions.corpus(weights.vocab_captions, config.seed),
            sizes.vocab_size,
            sizes.context_length,
        )
        clip = starting.fresh(lambda: Clip(sizes, rngs=nnx.Rngs(config.seed)))
        initialize_clip(clip, some_images(weights.data), config.seed)
        trained = separate_states(clip, tokenizer, config.seed, weights)
        model = model.replace(**{name: trained})
    if not model.has(along) and umci_sizes is not None:
        umci = starting.fresh(lambda: Umci(umci_sizes, rngs=nnx.Rngs(config.seed)))
        model = model.replace(**{along: umci})
    layers = (*(umci_sizes.layers if umci_sizes else ()), sizes.vision_layers)
    graphdef, params, frozen = nnx.split(model, nnx.Param, ...)

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
        pixels = normalize_levels(batch["image"], clip.config)
        image = clip_network.encode_image(clip, pixels, layers)
        count = batch["tokens"].shape[1]
        text = clip_network.encode_text(clip, batch["tokens"].reshape(-1, batch["tokens"].shape[2]))
        text = _unit(text).reshape(-1, count, text.shape[-1])
        features = _unit(image.class_embedding)
        scale = jnp.exp(jnp.minimum(clip.logit_scale[...], jnp.log(100.0)))
        contrast = losses.contrastive_loss(features, text[:, 0], batch["group"], scale)
        states = jax.nn.log_softmax(scale * jnp.einsum("bd,bsd->bs", features, text[:, 1:]))
        state = -jnp.mean(jnp.take_along_axis(states, batch["label"][:, None], axis=1))

        shares = losses.mean_pool(batch["mask"], clip.config.patch_size)

        def region_loss(logits: Array) -> Array:
            logits = logits.reshape(-1, grid, grid, 2)
            return losses.balanced_cross_entropy(logits, shares, weights.balance, weights.focus)

        patches = _unit(clip_network.project_patches(clip, image.patch_tokens[-1]))
        region = region_loss(scale * jnp.einsum("bpd,bsd->bps", patches, text[:, 1:]))
        auxiliary = jnp.zeros(())
        if umci_sizes is not None:
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
        trained = nnx.merge(graphdef, params, frozen)
        found = {other: getattr(trained, other) for other in trained.names}
        return starting.with_networks(begun._replace(tokenizers={name: tokenizer}), **found)

    return Task(
        params,
        frozen,
        loss,
        generated_batches(config, weights.data, size, sample),
        export,
        steps_per_epoch(config, weights.data),
        provenance=describe(config, weights.data),
    )


def separate_states(clip: Clip, tokenizer: Tokenizer, seed: int, task: ClipTask) -> Clip:
    """Trains the text tower alone on sentences: same class and state together, others apart."""
    graphdef, params, frozen = nnx.split(clip, nnx.Param, ...)
    optimizer = make_optimizer(OptimizerConfig(learning_rate=1e-3, weight_decay=0.0), 1)
    moments = optimizer.init(params)
    rng = np.random.default_rng(seed)

    @jax.jit
    def step(params, moments, tokens, groups):
        def loss(params):
            features = _unit(clip_network.encode_text(nnx.merge(graphdef, params, frozen), tokens))
            half = len(features) // 2
            scale = jnp.asarray(20.0)
            return losses.contrastive_loss(features[:half], features[half:], groups, scale)

        updates, moments = optimizer.update(jax.grad(loss)(params), moments, params)
        return optax.apply_updates(params, updates), moments

    for _ in range(task.text_steps):
        pairs, groups = captions.sentence_pairs(rng, 64, task.unknown_word)
        tokens = tokenizer([first for first, _ in pairs] + [second for _, second in pairs])
        params, moments = step(params, moments, jnp.asarray(tokens), jnp.asarray(groups))
    return nnx.merge(graphdef, params, frozen)


def _unit(x: Array) -> Array:
    x = x.astype(accumulation_dtype(x))
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
