"""Zero-shot anomaly segmentation as one jitted program: raw photos in, anomaly maps out."""

from collections import OrderedDict
from typing import Any

import chex
import jax
import jax.numpy as jnp

from zsas_jax.checkpoints import Compute
from zsas_jax.errors import ImageError
from zsas_jax.methods import find_method
from zsas_jax.methods.base import ALL_STAGES, Maps, Photos
from zsas_jax.networks import Networks
from zsas_jax.ops.layers import cast_parameters


def _segment(
    networks: Networks,
    photos: Photos,
    context: Any,
    *,
    method: str,
    config: Any,
    compute: Compute = Compute(),
    keep: tuple[str, ...] = (),
) -> Maps:
    """Anomaly maps and scores of a batch of photos; jitted.

    Args:
        networks: a pytree; those that the method does not use may be missing.
        photos: images uint8 [b, h, w, 3], true sizes, one seed per photo.
        context: the rows of `prepare`'s result for each photo's category, [b, ...].
        method: its name; static, as all that follow: others are another program.
        config: the method's settings.
        compute: dtype, and how many photos are refined at a time.
        keep: names of intermediates to return; ("*",) returns all that the method has.

    Raises:
        ConfigError: an unknown method, or one that needs a network that is missing.
        ImageError: images of another dtype than uint8.
    """
    found = find_method(method)
    if photos.images.dtype != jnp.uint8:
        raise ImageError(f"images are {photos.images.dtype}: expected uint8, levels from 0 to 255")
    chex.assert_equal_shape_prefix([*photos, *jax.tree.leaves(context)], 1)
    for name in found.networks(config):
        networks.require(name, f"method {found.name!r}")
    photos = photos._replace(sizes=jnp.maximum(photos.sizes, 1))
    networks = cast_parameters(networks, compute.dtype)
    maps = found.segment(networks, photos, context, config, compute)
    # JAX sorts the keys of a plain dict.
    stages = OrderedDict(
        (name, stage) for name, stage in maps.stages.items() if keep == ALL_STAGES or name in keep
    )
    return maps._replace(stages=stages)


segment = jax.jit(_segment, static_argnames=("method", "config", "compute", "keep"))


def lower(
    networks: Networks,
    shape: tuple[int, int],
    batch_size: int,
    context: Any,
    **static: Any,
) -> jax.stages.Lowered:
    """`segment` traced for one shape of batch; the networks' arrays may be abstract.

    Args:
        networks: as for `segment`.
        shape: (height, width) of the canvas, pixels.
        batch_size: photos.
        context: of any categories, [c, ...]: their number does not count.
        **static: `method`, `config`, `compute` and `keep`.
    """
    photos = jax.eval_shape(
        lambda: Photos(
            jnp.zeros((batch_size, *shape, 3), jnp.uint8),
            jnp.zeros((batch_size, 2), jnp.int32),
            jnp.zeros((batch_size,), jnp.uint32),
        )
    )
    rows = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((batch_size, *leaf.shape[1:]), leaf.dtype), context
    )
    return segment.lower(networks, photos, rows, **static)
