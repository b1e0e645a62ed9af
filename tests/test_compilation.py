"""Ahead-of-time compilation on the tiny checkpoint."""

import numpy as np
import pytest

import zsas_jax


@pytest.fixture(scope="module")
def bundle():
    return zsas_jax.load("tiny")


@pytest.fixture(scope="module")
def compiled(bundle):
    return zsas_jax.compile(bundle, shape=(40, 56), batch_size=2, method="umci")


def arguments(bundle):
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
    text = np.repeat(np.asarray(zsas_jax.encode_text(bundle, ["nut"])), 2, axis=0)
    return images, np.array([[40, 56], [30, 20]], np.int32), text


def test_equals_segment(bundle, compiled):
    given = arguments(bundle)
    keys = np.arange(2, dtype=np.uint32)
    config = compiled.config
    assert (config.method, bundle.config.pipeline.method) == ("umci", "cascade")
    expected = zsas_jax.segment(bundle.model, *given, keys, config=config)
    for output in (compiled(*given), compiled(*given, keys)):
        np.testing.assert_array_equal(output.anomaly_map, expected.anomaly_map)
        np.testing.assert_array_equal(output.image_score, expected.image_score)
    assert compiled.compile_seconds > 0
    assert compiled.temporary_bytes is None or compiled.temporary_bytes > 0


def test_another_shape_is_one_sentence(bundle, compiled):
    images, sizes, text = arguments(bundle)
    with pytest.raises(zsas_jax.ZsasError, match=r"images is uint8\[1, 40, 56, 3\]: expected"):
        compiled(images[:1], sizes[:1], text[:1])
    with pytest.raises(zsas_jax.ZsasError, match="text is float64"):
        compiled(images, sizes, text.astype(np.float64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (0, 4)}, "at least 1"),
        ({"shape": (4, 4), "batch_size": 0}, "batch_size 0"),
        ({"shape": (4, 4), "methd": "umci"}, "no field 'methd'"),
    ],
)
def test_bad_options_are_one_sentence(bundle, options, message):
    with pytest.raises(zsas_jax.ZsasError, match=message):
        zsas_jax.compile(bundle, **options)
