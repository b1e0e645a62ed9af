"""What a run starts from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from small_world import MeanTask, save_clip

from zsas_jax.checkpoints import load, save
from zsas_jax.errors import ConfigError
from zsas_jax.tasks.starting import start
from zsas_jax.testing import dummy_bundle
from zsas_jax.training.config import TrainConfig


def _start(*init, sizes=None, method=""):
    config = TrainConfig(MeanTask(), steps=1, init=tuple(map(str, init)), method=method)
    return start(config, sizes or {})


def test_a_checkpoint_stored_as_bfloat16_is_trained_in_float32(tmp_path):
    half = load(save_clip(tmp_path / "whole"), dtype=jnp.bfloat16)
    begun = _start(save(tmp_path / "half", half))
    found, stored = (jax.tree.leaves(nnx.state(b.model, nnx.Param)) for b in (begun, half))
    assert jnp.dtype("bfloat16") in {leaf.dtype for leaf in stored}
    assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}
    for a, b in zip(found, stored, strict=True):
        np.testing.assert_array_equal(a, b.astype("float32"))


def test_later_checkpoints_take_precedence_and_a_vocabulary_stays_with_its_network(tmp_path):
    first = save(tmp_path / "first", dummy_bundle(["clip", "sam"]))
    other = dummy_bundle(["clip", "umci"], seed=1)
    second = save(tmp_path / "second", other._replace(tokenizers={}))
    begun = _start(first, second, method="umci+cascade")
    assert set(begun.model.names) == set(begun.config.networks) == {"clip", "sam", "umci"}
    expected, found = (jax.tree.leaves(b.model.clip)[0] for b in (other, begun))
    np.testing.assert_array_equal(found, expected)
    assert not begun.tokenizers
    assert begun.config.method == "cascade"


def test_what_does_not_fit_is_one_sentence(tmp_path):
    directory = save_clip(tmp_path / "clip")
    sizes = dummy_bundle(["clip"]).config.networks["clip"]
    _start(directory, sizes={"clip": sizes})
    with pytest.raises(ConfigError, match=r"clip in the config has other sizes than in init"):
        _start(directory, sizes={"clip": type(sizes)()})
    with pytest.raises(ConfigError, match="did you mean 'cascade'"):
        _start(directory, method="cascad")
