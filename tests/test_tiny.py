"""The committed tiny model, end to end: it loads, it works on what it never saw, it stays small.

python tests/test_tiny.py writes goldens_of_tiny.npz anew, after a change that is meant to show.
"""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

import zsas_jax
from zsas_jax.checkpoints.paths import checkpoint_path
from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.metrics import evaluate_maps

GOLDENS = pathlib.Path(__file__).with_name("goldens_of_tiny.npz")
OTHERS = tuple(name for name in zsas_jax.method_names() if name not in ("cascade", "umci"))


@pytest.fixture(scope="module")
def bundle():
    return zsas_jax.load("tiny")


def _held_out():
    source = SyntheticSource(split="eval", seed=0, per_class=2)
    source = SyntheticSource("eval", seed=0, per_class=2, classes=source.classes[1::4])
    return [source[index] for index in range(len(source))]


@pytest.fixture(scope="module")
def held_out():
    return _held_out()


def _predict(bundle, records, **options):
    return zsas_jax.predict(
        bundle,
        [record["image"] for record in records],
        categories=[record["category"] for record in records],
        **options,
    )


@pytest.fixture(scope="module")
def found(bundle, held_out):
    return _predict(bundle, held_out)


@pytest.fixture(scope="module")
def found_by_umci(bundle, held_out):
    return _predict(bundle, held_out, method="umci")


@pytest.fixture(scope="module")
def found_by_clip(bundle, held_out):
    return _predict(bundle, held_out, method="clip")


# These tests share the programs of eight pictures on the smallest canvas where they can.


def test_it_finds_defects_of_classes_it_never_saw(held_out, found, found_by_umci, found_by_clip):
    """The full measurement stands in the README; here, that nothing broke on the way."""

    def metrics(predictions):
        return evaluate_maps(
            [prediction.anomaly_map for prediction in predictions],
            [record["mask"] for record in held_out],
            [prediction.score for prediction in predictions],
        )

    cascade, umci, clip = map(metrics, (found, found_by_umci, found_by_clip))
    assert umci["pixel_auroc"] > 0.8
    assert cascade["pixel_auroc"] > max(0.85, clip["pixel_auroc"])
    assert cascade["pixel_ap"] > 0.5


def _excerpt(predictions):
    maps = [prediction.anomaly_map[::16, ::16] for prediction in predictions]
    return np.float32([[*grid.ravel(), p.score] for grid, p in zip(maps, predictions, strict=True)])


def test_maps_and_scores_are_those_of_the_goldens(found, found_by_umci, found_by_clip):
    """Another machine's rounding may move a point prompt, but not the maps as a whole."""
    goldens = np.load(GOLDENS)
    for name, theirs in (("cascade", found), ("umci", found_by_umci), ("clip", found_by_clip)):
        assert np.abs(_excerpt(theirs) - goldens[name]).mean() < 1e-3


@pytest.mark.parametrize(
    "method", ["cascade", "umci", *(pytest.param(m, marks=pytest.mark.full) for m in OTHERS)]
)
def test_photos_of_any_shape_and_kind_get_maps_of_their_size(bundle, method, tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(90, 256), (255, 64), (1, 1), (256, 256), (2, 200), (100, 101), (31, 7), (64, 64)]
    images = [Image.fromarray(rng.integers(0, 256, (*s, 3), dtype=np.uint8)) for s in shapes]
    images[0].save(tmp_path / "photo.png")
    photos = [tmp_path / "photo.png", np.asarray(images[1]), *images[2:]]
    predictions = zsas_jax.predict(bundle, photos, categories="part", method=method)
    for prediction, shape in zip(predictions, shapes, strict=True):
        assert prediction.anomaly_map.shape == prediction.mask.shape == shape
        assert 0 <= prediction.anomaly_map.min() <= prediction.anomaly_map.max() <= 1
        assert 0 <= prediction.score <= 1


def test_a_result_does_not_depend_on_the_batch(bundle, held_out, found):
    alone = _predict(bundle, held_out[1:2])
    np.testing.assert_allclose(found[1].anomaly_map, alone[0].anomaly_map, atol=1e-5)
    np.testing.assert_allclose(found[1].score, alone[0].score, atol=1e-5)


def test_bfloat16_gives_nearly_the_same_maps(bundle, held_out, found_by_umci):
    compute = dataclasses.replace(bundle.config.compute, dtype="bfloat16")
    half = _predict(bundle, held_out[:8], method="umci", compute=compute)
    for a, b in zip(found_by_umci[:8], half, strict=True):
        assert np.abs(a.anomaly_map - b.anomaly_map).mean() < 0.02


def test_it_is_small_enough_to_be_committed():
    directory = checkpoint_path("tiny")
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    assert size <= 25e6
    assert (directory / "README.md").is_file()


@pytest.mark.full
def test_real_photos_get_finite_maps(bundle, samples):
    photos = sorted(pathlib.Path(samples, "photos").iterdir())
    for prediction in zsas_jax.predict(bundle, photos, categories="object"):
        assert np.isfinite(prediction.anomaly_map).all()
        assert prediction.anomaly_map.max() > 0


if __name__ == "__main__":
    tiny, records = zsas_jax.load("tiny"), _held_out()
    methods = ("cascade", "umci", "clip")
    np.savez(GOLDENS, **{m: _excerpt(_predict(tiny, records, method=m)) for m in methods})
