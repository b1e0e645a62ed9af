"""What a run starts from."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from small_world import save_clip

from zsas_jax.checkpoints.checkpoint import load, save
from zsas_jax.tasks.starting import start
from zsas_jax.training.config import TrainConfig


def test_a_checkpoint_stored_as_bfloat16_is_trained_in_float32(tmp_path):
    half = load(save_clip(tmp_path / "whole"), dtype=jnp.bfloat16)
    directory = save(tmp_path / "half", half)
    begun = start(TrainConfig("clip", steps=1, init=(str(directory),)))
    found, stored = (jax.tree.leaves(nnx.state(b.model, nnx.Param)) for b in (begun, half))
    assert jnp.dtype("bfloat16") in {leaf.dtype for leaf in stored}
    assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}
    for a, b in zip(found, stored, strict=True):
        np.testing.assert_array_equal(a, b.astype("float32"))
