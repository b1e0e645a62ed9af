"""Auxiliary data sets: what is trained on, what is held out, views, refusals."""

import dataclasses

import numpy as np
import pytest
from small_world import mask, mvtec_tree, picture, visa_tree

from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.training.config import PhotoSet
from zsas_jax.training.photos import (
    Photo,
    mosaic,
    open_auxiliary,
    random_view,
    read_photo,
    stretch,
    stretch_mask,
)


@pytest.fixture(scope="module")
def mvtec(tmp_path_factory):
    return mvtec_tree(tmp_path_factory.mktemp("mvtec"))


def _config(root, name="mvtec", **changes) -> PhotoSet:
    return PhotoSet(name=name, data_dir=str(root), **changes)


def test_every_defect_type_is_held_out_in_part_and_nothing_is_in_both(mvtec):
    auxiliary = open_auxiliary(_config(mvtec, held_out=0.3), seed=0)
    assert auxiliary.categories == ("bottle", "metal nut")
    assert sorted(auxiliary.training + auxiliary.validation) == list(range(18))
    held_out = [auxiliary.source[index] for index in auxiliary.validation]
    kinds = {(record["category"], record["defect"]) for record in held_out}
    assert len(held_out) == len(kinds) == 6
    assert auxiliary == open_auxiliary(_config(mvtec, held_out=0.3), seed=0)._replace(
        source=auxiliary.source
    )
    other = open_auxiliary(_config(mvtec, held_out=0.3), seed=1)
    assert other.validation != auxiliary.validation
    everything = open_auxiliary(_config(mvtec, held_out=0.0), seed=0)
    assert len(everything.training) == 18
    for indices in auxiliary.groups["bottle"].values():
        assert set(indices) <= set(auxiliary.training)


def test_masks_of_visa_with_small_numbers_are_anomalous(tmp_path):
    auxiliary = open_auxiliary(_config(visa_tree(tmp_path), "visa"), seed=0)
    record = auxiliary.source[auxiliary.groups["candle"]["bad"][0]]
    photo = read_photo(record)
    assert photo.image.shape == (32, 40, 3)
    assert photo.mask.sum() == 12 * 14


def test_what_cannot_train_is_one_sentence(tmp_path, mvtec):
    with pytest.raises(ConfigError, match="held out for evaluation"):
        open_auxiliary(_config("", "synthetic"), seed=0)
    with pytest.raises(DatasetError, match="all their masks are empty"):
        open_auxiliary(_config(mvtec_tree(tmp_path / "empty", 1, empty=True)), seed=0)
    rng = np.random.default_rng(0)
    picture(tmp_path / "good/bottle/train/good/000.png", rng)
    picture(tmp_path / "good/bottle/test/good/000.png", rng)
    with pytest.raises(DatasetError, match="no anomalous photo among 1"):
        open_auxiliary(_config(tmp_path / "good"), seed=0)
    with pytest.raises(DatasetError, match="needs a data directory"):
        open_auxiliary(PhotoSet(name="mvtec"), seed=0)
    with pytest.raises(ConfigError, match=r"data.mosaic is 2"):
        PhotoSet(mosaic=2.0)


def test_a_category_with_one_photo_is_trained_on_with_a_word(tmp_path, caplog):
    root = mvtec_tree(tmp_path, 2)
    rng = np.random.default_rng(0)
    picture(root / "tile/train/good/000.png", rng)
    picture(root / "tile/test/crack/000.png", rng, defect=True)
    mask(root / "tile/ground_truth/crack/000_mask.png")
    auxiliary = open_auxiliary(_config(root, held_out=0.5), seed=0)
    (lone,) = auxiliary.groups["tile"]["crack"]
    assert lone in auxiliary.training
    assert "one photo of category 'tile'" in caplog.text


def test_a_mosaic_keeps_sizes_and_masks():
    rng = np.random.default_rng(0)
    photos = [
        Photo(rng.integers(1, 256, (h, w, 3), dtype=np.uint8), rng.random((h, w)) > 0.5)
        for h, w in ((6, 8), (9, 4), (6, 8), (5, 20))
    ]
    image, truth = mosaic(photos)
    assert image.shape == (12, 16, 3)
    np.testing.assert_array_equal(image[:6, :8], photos[0].image)
    np.testing.assert_array_equal(truth[:6, 8:12], photos[1].mask[:6])
    np.testing.assert_array_equal(truth[6:11, 8:], photos[3].mask[:, :8])
    assert not image[:6, 12:].any()  # narrower than its quarter
    assert not truth[11, 12:].any()


def test_views_turn_photo_and_mask_alike(mvtec):
    config = _config(mvtec, flip=0.5, rotate=0.9, colour=0.2, mosaic=0.3)
    auxiliary = open_auxiliary(config, seed=0)
    record = auxiliary.source[auxiliary.groups["bottle"]["bent"][0]]
    seen = set()
    for seed in range(12):
        image, truth = random_view(auxiliary, record, np.random.default_rng(seed), 32, config)
        again = random_view(auxiliary, record, np.random.default_rng(seed), 32, config)
        np.testing.assert_array_equal(image, again.image)
        # The defect is brighter than what surrounds it, wherever it went.
        if truth.any():
            assert image[truth].mean() > image[~truth].mean() + 40
        seen.add(truth.tobytes())
    assert len(seen) > 6
    plain = dataclasses.replace(config, flip=0.0, rotate=0.0, colour=0.0, mosaic=0.0)
    image, truth = random_view(auxiliary, record, np.random.default_rng(0), 32, plain)
    expected = stretch(read_photo(record), 32)
    np.testing.assert_array_equal(image, expected.image)
    np.testing.assert_array_equal(truth, expected.mask)


def test_masks_are_stretched_bilinearly_and_cut_at_one_half():
    small = np.array([[True, False], [False, False]])
    large = stretch_mask(small, 4)
    assert large[0, 0]
    assert large.sum() == 4  # 1, 3/4, 3/4 and 9/16; the next are 1/4
    assert not stretch_mask(None, 4).any()
