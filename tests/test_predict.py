"""`predict` around a stand-in for the jitted pipeline."""

import sys
import types

import numpy as np
import PIL.Image
import pytest

import zsas_jax.predict  # noqa: F401
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError, ImageError

# The package may offer the function under the module's name.
module = sys.modules["zsas_jax.predict"]
predict = module.predict


@pytest.fixture
def calls(monkeypatch):
    """Replaces the networks: the map is the red channel, the score its mean and the text."""
    seen = []

    def encode_text(clip, tokenizer, categories):
        seen.append(list(categories))
        return np.stack([np.full((2, 1), len(name), np.float32) for name in categories])

    def segment(model, images, sizes, text, keys, config):
        seen.append((images.shape, config))
        assert text.shape == (len(images), 2, 1)
        return types.SimpleNamespace(
            anomaly_map=images[..., 0].astype(np.float32) / 255, image_score=text[:, 0, 0] / 10
        )

    monkeypatch.setattr(module, "encode_text", encode_text)
    monkeypatch.setattr(module, "segment", segment)
    return seen


@pytest.fixture
def bundle():
    config = types.SimpleNamespace(pipeline=PipelineConfig(mask_threshold=0.5, image_threshold=0.5))
    return types.SimpleNamespace(
        model=types.SimpleNamespace(clip=None), tokenizer=None, config=config
    )


def photo(height, width, level):
    return np.full((height, width, 3), level, np.uint8)


def test_photos_of_all_kinds_keep_their_order_and_size(calls, bundle, tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.fromarray(photo(6, 500, 255)).save(path)
    images = [
        photo(20, 30, 51),
        path,
        str(path),
        path.read_bytes(),
        PIL.Image.fromarray(photo(1, 1, 102)),
    ]
    results = predict(bundle, images, ["nut", "bottle", "nut", "bottle", "screws"], batch_size=2)
    shapes = [(20, 30), (6, 500), (6, 500), (6, 500), (1, 1)]
    assert [result.anomaly_map.shape for result in results] == shapes
    assert [result.mask.shape for result in results] == shapes
    means = [result.anomaly_map.mean() for result in results]
    np.testing.assert_allclose(means, [0.2, 1, 1, 1, 0.4], rtol=1e-6)
    assert [bool(result.mask.all()) for result in results] == [False, True, True, True, False]
    scores = [result.score for result in results]
    np.testing.assert_allclose(scores, [0.3, 0.6, 0.3, 0.6, 0.6], rtol=1e-6)
    assert [result.is_anomalous for result in results] == [False, True, False, True, True]
    assert results[0].anomaly_map.dtype == np.float32
    assert results[0].mask.dtype == bool
    assert calls[0] == ["nut", "bottle", "screws"]  # Each category is encoded once.


def test_options_reach_the_pipeline(calls, bundle):
    result = predict(bundle, [photo(3, 3, 60)], "nut", method="umci", threshold=0.1)[0]
    assert calls[-1][1].method == "umci"
    assert result.mask.all()
    assert not result.is_anomalous
    assert predict(bundle, [photo(3, 3, 60)], "nut", image_threshold=0.2)[0].is_anomalous
    assert predict(bundle, [photo(3, 3, 60)] * 2, categories=["nut"])
    assert calls[-1][1].method == "cascade"
    assert predict(bundle, [], ["nut"]) == []
    # Thresholds are applied to what the program gives: others compile nothing.
    predict(bundle, [photo(3, 3, 60)], "nut", threshold=0.3, image_threshold=0.7)
    programs = {call[1] for call in calls if isinstance(call, tuple) and call[1].method != "umci"}
    assert len(programs) == 1


def test_faulty_input(calls, bundle, tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        predict(bundle, [photo(3, 3, 0), tmp_path / "gone.jpg"])
    with pytest.raises(ImageError, match="image 1 is an array of float32"):
        predict(bundle, [photo(3, 3, 0), np.zeros((2, 2), np.float32)])
    with pytest.raises(ImageError, match="expected a list of photos"):
        predict(bundle, str(tmp_path / "photo.jpg"))
    with pytest.raises(ConfigError, match="2 names for 3 photos"):
        predict(bundle, [photo(3, 3, 0)] * 3, ["a", "b"])
