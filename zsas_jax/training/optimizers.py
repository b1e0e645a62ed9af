"""The configured optimizer."""

import jax
import optax
import optax.contrib

from zsas_jax.training.config import OptimizerConfig


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The configured optimizer; biases, norms and other vectors are not decayed."""
    peak, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "cosine":
        rate = optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(steps, warmup + 1))
    else:
        rate = optax.linear_schedule(0.0, peak, warmup) if warmup else peak
    if config.algorithm == "muon":
        # Matrices by Muon with updates of AdamW's size, everything else by Adam.
        update = optax.contrib.muon(
            rate,
            weight_decay=config.weight_decay,
            consistent_rms=0.2,
            adam_b1=config.b1,
            adam_b2=config.b2,
        )
    else:
        update = optax.adamw(
            rate,
            b1=config.b1,
            b2=config.b2,
            weight_decay=config.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        )
    parts: list[optax.GradientTransformation] = [update]
    if config.clip_norm > 0:
        parts.insert(0, optax.clip_by_global_norm(config.clip_norm))
    return optax.chain(*parts)
