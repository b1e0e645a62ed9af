"""`predict` and `compile` with a method that needs no network."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

import zsas_jax
from zsas_jax import methods
from zsas_jax.checkpoints import Bundle, Config, Verdict
from zsas_jax.errors import ConfigError, ImageError
from zsas_jax.methods.base import Maps, Method, Photos, rows_of
from zsas_jax.networks import Networks

predict = zsas_jax.predict
traces = []
prepared = []


@dataclasses.dataclass(frozen=True)
class Red:
    gain: float = 1.0


def prepare(bundle, categories, config, request):
    prepared.append(list(categories))
    return np.array([len(name) for name in categories], np.float32)


def segment(networks, photos, lengths, config, compute):
    traces.append(config)
    return Maps(photos.images[..., 0].astype(jnp.float32) / 255 * config.gain, lengths / 10, {})


@pytest.fixture(autouse=True, scope="module")
def red():
    methods.register(Method("red", "none", Red, lambda config: (), prepare, segment))
    yield
    methods.METHODS.pop("red")


BUNDLE = Bundle(Networks(), {}, Config(method="red", verdicts={"red": Verdict(0.5, 0.5)}))


def photo(height, width, level):
    return np.full((height, width, 3), level, np.uint8)


def test_photos_of_all_kinds_keep_their_order_and_size(tmp_path):
    path = tmp_path / "photo.png"
    PIL.Image.fromarray(photo(6, 500, 255)).save(path)
    images = [
        photo(20, 30, 51),
        path,
        str(path),
        path.read_bytes(),
        PIL.Image.fromarray(photo(1, 1, 102)),
    ]
    results = predict(BUNDLE, images, ["nut", "bottle", "nut", "bottle", "screws"], batch_size=2)
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
    assert prepared[-1] == ["nut", "bottle", "screws"]  # Each category once.
    assert predict(BUNDLE, [], ["nut"]) == []


def test_thresholds_are_no_other_program():
    images = [photo(3, 3, 60)]
    predict(BUNDLE, images, "nut")
    before = len(traces)
    result = predict(BUNDLE, images, "nut", threshold=0.1)[0]
    assert result.mask.all()
    assert not result.is_anomalous
    assert predict(BUNDLE, images, "nut", threshold=0.9, image_threshold=0.2)[0].is_anomalous
    assert len(traces) == before
    brighter = predict(BUNDLE, images, "nut", config=Red(gain=2.0))[0]
    np.testing.assert_allclose(brighter.anomaly_map, 2 * result.anomaly_map, rtol=1e-6)
    assert len(traces) == before + 1


def test_compiled_ahead_of_time():
    program = zsas_jax.compile(BUNDLE, (5, 7), 2)
    photos = Photos(
        np.stack([photo(5, 7, 51), photo(5, 7, 102)]),
        np.array([[5, 7], [4, 4]], np.int32),
        np.arange(2, dtype=np.uint32),
    )
    rows = rows_of(zsas_jax.prepare(BUNDLE, ["nut", "screw"]), np.array([1, 0]))
    found = program(photos, rows)
    expected = zsas_jax.segment(BUNDLE.model, photos, rows, method="red", config=Red())
    np.testing.assert_array_equal(found.anomaly_map, expected.anomaly_map)
    np.testing.assert_array_equal(found.image_score, np.float32([0.5, 0.3]))
    for shape, batch_size in (((0, 4), 1), ((4, 4), 0)):
        with pytest.raises(ConfigError, match="at least 1 each"):
            zsas_jax.compile(BUNDLE, shape, batch_size)


def test_faulty_input(tmp_path):
    with pytest.raises(ImageError, match=r"gone\.jpg does not exist"):
        predict(BUNDLE, [photo(3, 3, 0), tmp_path / "gone.jpg"])
    with pytest.raises(ImageError, match="image 1 is an array of float32"):
        predict(BUNDLE, [photo(3, 3, 0), np.zeros((2, 2), np.float32)])
    with pytest.raises(ImageError, match="expected a list of photos"):
        predict(BUNDLE, str(tmp_path / "photo.jpg"))
    with pytest.raises(ConfigError, match="2 names for 3 photos"):
        predict(BUNDLE, [photo(3, 3, 0)] * 3, ["a", "b"])
    with pytest.raises(ConfigError, match="did you mean 'cascade'"):
        predict(BUNDLE, [photo(3, 3, 0)], method="cascad")
    with pytest.raises(ConfigError, match="'umci' needs the network 'clip'"):
        predict(BUNDLE, [photo(3, 3, 0)], method="umci")
    with pytest.raises(ConfigError, match="config is a Verdict: expected the settings of"):
        predict(BUNDLE, [photo(3, 3, 0)], config=Verdict())
    with pytest.raises(ConfigError, match=r"verdict.mask_threshold is 1.5: expected between"):
        predict(BUNDLE, [photo(3, 3, 0)], threshold=1.5)
