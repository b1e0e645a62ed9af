"""Disturbed pictures: what changes, and that masks go with their pictures."""

import functools

import numpy as np
import pytest

from zsas_jax.data.synthetic import SyntheticSource
from zsas_jax.data.synthetic.disturbed import DISTURBANCES, NOISE, DisturbedSource


class Drawn(SyntheticSource):
    """Draws each picture once."""

    @functools.cache  # noqa: B019
    def __getitem__(self, index):
        return super().__getitem__(index)


SOURCE = Drawn(split="eval", seed=3, per_class=2, size=96, classes=["marble", "screw"])


@pytest.mark.parametrize("how", DISTURBANCES)
def test_pictures_change_and_their_masks_fit(how):
    changed = DisturbedSource(SOURCE, how)
    assert len(changed) == len(SOURCE)
    assert changed.categories == SOURCE.categories
    factor = {"half size": 0.5, "double size": 2}.get(how, 1)
    for index in range(len(SOURCE)):
        before, after = SOURCE[index], changed[index]
        side = round(96 * factor)
        assert after["image"].shape == (side, side, 3)
        assert after["image"].dtype == np.uint8
        assert after["mask"].shape == (side, side)
        assert after["mask"].dtype == bool
        assert after["mask"].any() == before["mask"].any() == bool(after["label"])
        assert abs(after["mask"].mean() - before["mask"].mean()) < 0.02
        assert (after["name"], after["category"]) == (before["name"], before["category"])
        assert how not in ("JPEG", "noise") or (after["image"] != before["image"]).any()
        assert (changed[index]["image"] == after["image"]).all()


def test_grey_has_no_colour_and_noise_its_strength():
    grey = DisturbedSource(SOURCE, "grey")[0]["image"]
    assert (grey == grey[..., :1]).all()
    before = SOURCE[0]["image"].astype(np.float32)
    inside = (before > 60) & (before < 195)
    change = (DisturbedSource(SOURCE, "noise")[0]["image"] - before)[inside]
    assert change.std() == pytest.approx(NOISE, rel=0.1)
    assert abs(change.mean()) < 0.5
