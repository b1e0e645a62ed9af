"""How UMCI is trained on a frozen CLIP (ClipSAM, sections 3.4 and 4.1)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from zsas_jax.config import Between, check_fields
from zsas_jax.errors import ConfigError
from zsas_jax.methods.base import Training
from zsas_jax.networks import Networks
from zsas_jax.networks.clip import encode_image
from zsas_jax.networks.umci import Umci
from zsas_jax.ops import losses
from zsas_jax.parts.views import normalize_levels, patch_grid


@dataclasses.dataclass(frozen=True)
class UmciTraining:
    """ClipSAM, Eqs. 10 to 12."""

    loss: Literal["focal_dice", "balanced"] = "focal_dice"
    """The paper's loss, or the cross-entropy with which a UMCI is trained along with its CLIP:
    patches weigh as `balance` says, all stages the same. After 400 steps of focal and Dice
    half of the tiny model's maps stayed below 0.3 everywhere, so that SAM was not asked."""
    balance: float = 1.0
    """How much more anomalous patches weigh with "balanced"; 1: together as much as normal ones."""
    focus: float = 0.0
    """How much less plainly right patches count with "balanced"; 0 or at least 1."""
    stage_weights: Annotated[tuple[float, ...], Between(0)] = (0.1, 0.1, 0.1, 0.7)
    focal_gamma: float = 2.0
    dice_smooth: float = 1.0
    dice_over: Literal["image", "batch"] = "image"
    """Whether each picture or the whole batch is one Dice term. Not specified by the paper; with
    "image" a false alarm in a good picture costs so much that a network trained from nothing
    learns to find nothing."""
    loss_resolution: Literal["input", "grid"] = "input"
    """Where the loss is taken; not specified by the paper (its "N = H x W" suggests the grid)."""

    def __post_init__(self):
        check_fields(self, "training")
        for name in ("focus", "focal_gamma"):
            # Between, the gradient of a patch of probability 1 is infinite.
            if getattr(self, name) != 0 and getattr(self, name) < 1:
                raise ConfigError(
                    f"training.{name} is {getattr(self, name)}: expected 0 or at least 1"
                )

    @property
    def mean_loss(self) -> bool:
        """Whether the loss of a batch is the mean of its parts' losses."""
        return self.loss == "focal_dice" and self.dice_over == "image"


Tokens = Sequence[Float[Array, "b patches width"]]


def features(networks: Networks, images: UInt8[Array, "b s s 3"], config: Any) -> Tokens:
    """CLIP's patch tokens of every layer that UMCI reads."""
    del config
    clip, layers = networks.clip, networks.umci.config.layers
    patch_grid(clip.config, (images.shape[1], images.shape[2]), "task.size")
    return encode_image(clip, normalize_levels(images, clip.config), layers).patch_tokens


def _logits(
    umci: Umci, networks: Networks, tokens: Tokens, text: Float[Array, "b 2 d"], config: Any
) -> Float[Array, "b n gh gw 2"]:
    del networks, config
    side = math.isqrt(tokens[0].shape[1])  # Training pictures are square.
    return umci(list(tokens), (side, side), text)


def loss(
    umci: Umci,
    networks: Networks,
    tokens: Tokens,
    text: Float[Array, "b 2 d"],
    masks: Float[Array, "b s s"],
    config: Any,
    training: UmciTraining,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """Sum over stages of weight x (focal + Dice), or the balanced cross-entropy."""
    logits = _logits(umci, networks, tokens, text, config)
    shares = losses.mean_pool(masks, masks.shape[-1] // logits.shape[2])
    if training.loss == "balanced":
        value = losses.stage_cross_entropy(logits, shares, training.balance, training.focus)
        return value, {}
    if len(training.stage_weights) != len(umci.config.layers):
        raise ConfigError(
            f"training.stage_weights has {len(training.stage_weights)} numbers: expected one for "
            f"each of the {len(umci.config.layers)} stages of this UMCI"
        )
    targets = (shares if training.loss_resolution == "grid" else masks) > 0.5
    value = losses.umci_loss(
        logits,
        targets.astype(jnp.float32),
        training.stage_weights,
        training.focal_gamma,
        training.dice_smooth,
        training.dice_over,
    )
    return value, {}


def maps(
    umci: Umci, networks: Networks, tokens: Tokens, text: Float[Array, "b 2 d"], config: Any
) -> Float[Array, "b gh gw"]:
    """The mean of the stages that the head takes."""
    logits = _logits(umci, networks, tokens, text, config).astype(jnp.float32)
    return jax.nn.softmax(logits[:, -config.stages :], axis=-1)[..., 1].mean(1)


TRAINING = Training("umci", UmciTraining, features, loss, maps)
