"""The strict conversion engine: layouts by module type, and everything that must be refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from one_of_each import IGNORED, RULES, Network, source, target

from zsas_jax.convert.rules import Rule, Source, check_manifest, convert, native_names
from zsas_jax.errors import WeightConversionError


def refused(weights, **options):
    with pytest.raises(WeightConversionError) as caught:
        convert(target(**options), weights, RULES, IGNORED)
    return str(caught.value)


def test_native_names_are_those_of_a_torch_model():
    names = set(native_names(target()).values())
    assert {"stem.weight", "blocks.1.weight", "blocks.1.bias", "words.weight", "proj"} <= names
    assert len(names) == 15


def test_a_renaming_function_does_what_rules_do():
    def rename(native):
        if native.startswith("fused."):
            return Source(tuple(native.replace("fused", part) for part in "qkv"))
        if native == "proj":
            return Source(("projection.weight",), transpose=True)
        return native.replace("blocks", "layers")

    by_rules, by_function = (convert(target(), source(), way) for way in (RULES, rename))
    jax.tree.map(np.testing.assert_array_equal, by_rules, by_function)


def test_result_has_the_targets_dtype_and_shares_no_memory():
    weights = source()
    kept = weights["fixed"].copy()
    network = convert(target(), weights, RULES)
    weights["fixed"][:] = 7
    np.testing.assert_array_equal(network.fixed[...], kept)
    narrow = convert(target(param_dtype=jnp.bfloat16), source(), RULES)
    assert {leaf.dtype for leaf in jax.tree.leaves(narrow)} == {jnp.dtype(jnp.bfloat16)}
    half = {name: array.astype(np.float16) for name, array in source().items()}
    assert convert(target(), half, RULES).proj.dtype == jnp.float32


def test_a_real_module_is_left_as_it_was():
    real = Network(rngs=nnx.Rngs(0))
    before = np.asarray(real.stem.kernel[...])
    converted = convert(real, source(), RULES)
    np.testing.assert_array_equal(real.stem.kernel[...], before)
    assert np.abs(np.asarray(converted.stem.kernel[...]) - before).max() > 0.1


def test_all_problems_are_named_in_one_error():
    weights = source()
    del weights["q.weight"]  # dropped
    weights["extra.weight"] = np.zeros(3, np.float32)  # added
    weights["stem.wieght"] = weights.pop("stem.weight")  # renamed
    weights["layers.0.bias"] = np.zeros(5, np.float32)  # another shape
    weights["layers.0.weight"] = np.zeros((4, 4, 1), np.float32)  # another rank
    weights["fixed"][2, 3] = np.nan
    weights["words.weight"] = np.zeros((4, 4), np.int32)
    message = refused(weights)
    first = message.splitlines()[0]
    assert "2 missing" in first
    assert "2 unexpected" in first
    assert "2 mis-shaped" in first
    assert "1 not finite" in first
    assert "1 of a wrong dtype" in first
    assert "q.weight" in message
    assert "extra.weight" in message
    assert "stem.weight (found instead: stem.wieght?)" in message
    assert "layers.0.bias (for blocks.0.bias): found (5,), expected (4,)" in message
    assert "layers.0.weight (for blocks.0.weight): found (4, 4, 1)" in message
    assert "fixed (as float32)" in message
    assert "words.weight: found int32" in message


def test_a_matrix_of_swapped_sizes_is_refused_not_transposed():
    class Rectangle(nnx.Module):
        def __init__(self, *, rngs):
            self.linear = nnx.Linear(3, 5, use_bias=False, rngs=rngs)

    rectangle = nnx.eval_shape(lambda: Rectangle(rngs=nnx.Rngs(0)))
    stored_as_torch_does = {"linear.weight": np.ones((5, 3), np.float32)}
    assert convert(rectangle, stored_as_torch_does).linear.kernel.shape == (3, 5)
    with pytest.raises(WeightConversionError, match=r"found \(3, 5\) -> \(5, 3\)"):
        convert(rectangle, {"linear.weight": np.ones((3, 5), np.float32)})


def test_one_source_for_two_targets_is_refused():
    rules = (*RULES, Rule(r"^up_flipping\.", "up."))
    with pytest.raises(WeightConversionError, match="2 used for more than one target"):
        convert(target(), source(), rules)


def test_values_beyond_the_targets_range_are_refused():
    weights = source()
    weights["proj_"] = weights.pop("projection.weight") * 1e30
    weights["projection.weight"] = weights.pop("proj_")
    convert(target(), weights, RULES)
    assert "(as float16)" in refused(weights, param_dtype=jnp.float16)


def test_only_listed_keys_are_ignored():
    assert "num_batches" not in refused(source() | {"num_batches": np.ones(1), "x": np.ones(1)})
    assert "my_num_batches" in refused(source() | {"my_num_batches": np.ones(1)})


def test_long_lists_are_cut_but_counted():
    message = refused(source() | {f"head.{n}": np.ones(1) for n in range(100)})
    assert "100 unexpected" in message
    assert "and 60 more" in message


def test_flax_layers_of_unknown_layout_are_refused():
    class Strange(nnx.Module):
        def __init__(self, *, rngs):
            self.norm = nnx.BatchNorm(3, rngs=rngs)

    with pytest.raises(TypeError, match="BatchNorm"):
        convert(nnx.eval_shape(lambda: Strange(rngs=nnx.Rngs(0))), {})


def test_manifests_are_checked_without_numbers():
    shapes = {name: list(array.shape) for name, array in source().items()}
    check_manifest(target(), shapes, RULES)
    shapes["up.bias"] = [6]
    with pytest.raises(WeightConversionError, match=r"up\.bias"):
        check_manifest(target(), shapes, RULES)
