"""Losses as pure functions; probabilities and sums in at least float32."""

from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from zsas_jax.ops.resize import bilinear_matrix


def focal_loss(
    log_probabilities: Float[Array, "*b h w 2"], targets: Float[Array, "*b h w"], gamma: float = 2.0
) -> Float[Array, "*b"]:
    """Focal loss over the two-channel softmax, mean over pixels (ClipSAM Eq. 10, gamma 2).

    The printed formula reads -(1/HW) sum (1-p)^gamma log p with "p the probability of being
    abnormal"; as in Lin et al., p is the probability of the true channel here.
    """
    log_p = jnp.where(targets > 0.5, log_probabilities[..., 1], log_probabilities[..., 0])
    return -jnp.mean(_focused(log_p, gamma), axis=(-2, -1))


def _focused(log_p: Float[Array, "*b"], gamma: float) -> Float[Array, "*b"]:
    """(1 - p)^gamma log p."""
    # Where p is 1, the gradient of (1 - p) ** 0.0 is no number.
    return (1 - jnp.exp(log_p)) ** gamma * log_p if gamma else log_p


def dice_loss(
    probabilities: Float[Array, "*b h w"], targets: Float[Array, "*b h w"], smooth: float = 1.0
) -> Float[Array, "*b"]:
    """One minus the Dice coefficient of each map, with smoothing in both terms.

    ClipSAM prints Eq. 11 with squared denominators and an extra 1/N, which is not a Dice
    coefficient; the usual form (APRIL-GAN) is used.
    """
    overlap = jnp.sum(probabilities * targets, axis=(-2, -1))
    total = jnp.sum(probabilities, axis=(-2, -1)) + jnp.sum(targets, axis=(-2, -1))
    return 1 - (2 * overlap + smooth) / (total + smooth)


def upsample(logits: Float[Array, "*b h w c"], size: tuple[int, int]) -> Float[Array, "*b H W c"]:
    """Bilinear (align_corners False) to a static size."""
    height, width = logits.shape[-3:-1]
    rows = bilinear_matrix(height, size[0], height, size[0])
    columns = bilinear_matrix(width, size[1], width, size[1])
    return jnp.einsum("Yh,...hwc,Xw->...YXc", rows, logits, columns)


def umci_loss(
    logits: Float[Array, "b n h w 2"],
    masks: Float[Array, "b H W"],
    stage_weights: tuple[float, ...],
    gamma: float = 2.0,
    smooth: float = 1.0,
    dice_over: str = "image",
) -> Float[Array, ""]:
    """Sum over stages of weight x (focal + dice) (ClipSAM Eq. 12), mean over the batch.

    The logits are upsampled to the masks' resolution, so that small defects count. `dice_over`
    "batch" takes the whole batch as one picture in the Dice loss.
    """
    logits = upsample(logits.astype(jnp.float32), (masks.shape[-2], masks.shape[-1]))
    log_p = jax.nn.log_softmax(logits, axis=-1)
    targets = jnp.broadcast_to(masks[:, None], log_p.shape[:-1])
    loss = focal_loss(log_p, targets, gamma)
    p = jnp.exp(log_p[..., 1])
    if dice_over == "batch":
        # [B, n, h, w] -> [n, B h, w]: one tall picture for each stage.
        p, targets = (
            jnp.swapaxes(x, 0, 1).reshape(x.shape[1], -1, x.shape[-1]) for x in (p, targets)
        )
    loss += dice_loss(p, targets, smooth)
    return jnp.mean(loss @ jnp.asarray(stage_weights, jnp.float32))


def mean_pool(x: Float[Array, "b h w"], factor: int) -> Float[Array, "b i j"]:
    """Means of square blocks: the anomalous share of each patch of a mask."""
    b, h, w = x.shape
    return x.reshape(b, h // factor, factor, w // factor, factor).mean((2, 4))


def balanced_cross_entropy(
    logits: Float[Array, "b h w 2"],
    shares: Float[Array, "b h w"],
    balance: float = 1.0,
    focus: float = 0.0,
    clear: float = 0.15,
) -> Float[Array, ""]:
    """Cross-entropy in which anomalous patches weigh more, because few patches are anomalous.

    With equal weights for patches (or with a Dice loss, which punishes any false alarm in a good
    picture) a fresh network learns to call everything normal.

    Args:
        logits: channel 0 normal, 1 abnormal.
        shares: anomalous share of each patch; between 0 and `clear` a patch does not count.
        balance: an anomalous patch weighs (number of normal / number of anomalous) ** balance: at
            1 the batch's anomalous and normal patches weigh the same, at 0 every patch does.
        focus: the focal loss's gamma; above 0, patches that are plainly right count less. Most
            normal patches are the easy ground beside an object.
        clear: share from which a patch is anomalous.
    """
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    anomalous = (shares >= clear).astype(jnp.float32)
    normal = (shares == 0).astype(jnp.float32)
    weight = (jnp.maximum(normal.sum(), 1) / jnp.maximum(anomalous.sum(), 1)) ** balance
    weights = jnp.stack([normal, anomalous * weight], axis=-1)
    return -(weights * _focused(log_p, focus)).sum() / jnp.maximum(weights.sum(), 1)


def stage_cross_entropy(
    logits: Float[Array, "b n h w 2"],
    shares: Float[Array, "b h w"],
    balance: float = 1.0,
    focus: float = 0.0,
) -> Float[Array, ""]:
    """Mean of `balanced_cross_entropy` over a UMCI's stages."""
    each = partial(balanced_cross_entropy, shares=shares, balance=balance, focus=focus)
    return jax.vmap(each, 1)(logits).mean()


def contrastive_loss(
    image_features: Float[Array, "b d"],
    text_features: Float[Array, "b d"],
    groups: Int[Array, " b"],
    scale: Float[Array, ""],
) -> Float[Array, ""]:
    """CLIP's symmetric cross-entropy; captions that say the same share the target.

    A batch holds several pictures of one class in one state, whose captions are interchangeable:
    they count as positives of one another (UniCL, Yang et al. 2022).

    Args:
        image_features: L2-normalised.
        text_features: L2-normalised.
        groups: equal numbers mark captions of equal meaning.
        scale: the factor on the cosine.
    """
    logits = scale * image_features @ text_features.T
    same = (groups[:, None] == groups[None, :]).astype(jnp.float32)
    targets = same / same.sum(1, keepdims=True)
    by_image = optax.softmax_cross_entropy(logits, targets)
    by_text = optax.softmax_cross_entropy(logits.T, targets)
    return (by_image.mean() + by_text.mean()) / 2


def mask_losses(
    logits: Float[Array, "*b h w"], targets: Float[Array, "*b h w"]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"], Float[Array, "*b"]]:
    """SAM's focal loss (gamma 2), Dice loss, and the true IoU of each mask.

    SAM does not state its focal loss's alpha; none is used: the common 0.25 favours background,
    and small masks then stay empty for long.
    """
    focal = optax.sigmoid_focal_loss(logits, targets, gamma=2.0).mean((-2, -1))
    dice = dice_loss(jax.nn.sigmoid(logits), targets)
    inside, truth = logits > 0, targets > 0.5
    union = jnp.sum(inside | truth, axis=(-2, -1))
    iou = jnp.sum(inside & truth, axis=(-2, -1)) / jnp.maximum(union, 1)
    return focal, dice, iou
