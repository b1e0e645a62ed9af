import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsas_jax.checkpoints.manifest import THRESHOLDS
from zsas_jax.errors import ConfigError
from zsas_jax.evaluation.verdicts import (
    calibrate,
    find_threshold,
    save_threshold,
    thresholds_of,
)
from zsas_jax.parts.text import Prompts


@dataclasses.dataclass(frozen=True)
class Settings:
    """A method's."""

    top_k: int = 5


WANTED = {"method": "mine", "config": Settings(), "category": "metal nut", "prompts": Prompts()}


@pytest.fixture
def stored(tmp_path):
    """A checkpoint with one calibrated threshold."""
    (tmp_path / "manifest.json").write_text("{}")
    save_threshold(tmp_path, calibrate([0.5] * 120, 0.01), photos="120 photos of x", **WANTED)
    return tmp_path


def test_one_alarm_in_a_hundred():
    scores = np.arange(1, 100) / 100  # 99 photos are just enough for 1 %
    found = calibrate(scores, 0.01)
    assert found.is_reliable
    assert found.needed == 99
    assert found.alarms == 0
    assert 0.99 < found.threshold < 0.9901
    few = calibrate(scores[:98], 0.01)
    assert not few.is_reliable
    assert few.threshold == pytest.approx(0.98, abs=1e-6)
    tenth = calibrate(scores, 0.1)
    assert tenth.alarms == 9
    assert calibrate([1.0], 0.5).threshold == 1.0


@given(st.integers(1, 300), st.sampled_from([0.01, 0.05, 0.1, 0.5]), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_the_rate_is_kept_on_new_parts(count, rate, seed):
    scores = np.random.default_rng(seed).permutation(count + 1) / (count + 2)
    # Each of the parts in turn is the new one: exactly the guarantee of split conformal prediction.
    alarms = sum(
        scores[new] >= calibrate(np.delete(scores, new), rate).threshold for new in range(count + 1)
    )
    limit = rate if count >= np.ceil(1 / rate - 1e-9) - 1 else 1 / (count + 1)
    assert alarms / (count + 1) <= limit + 1e-9


def test_a_threshold_is_found_again(stored):
    found = find_threshold(stored, **WANTED)
    assert found["image_threshold"] == pytest.approx(0.5)
    assert found["good_parts"] == "120 photos of x"
    assert found["reliable"]


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "other"},
        {"config": Settings(top_k=4)},
        {"category": "bolt"},
        {"category": "Metal nut"},
        {"prompts": Prompts(templates=("a {}.",))},
        {"prompts": Prompts(words={"metal nut": "nut"})},
    ],
)
def test_what_scores_depend_on_is_another_threshold(stored, changed):
    assert find_threshold(stored, **WANTED | changed) is None


@pytest.mark.parametrize(
    "alike",
    [
        {"category": "metal_nut"},
        {"category": " metal  nut "},
        {"prompts": Prompts(words={"bolt": "screw"})},
        {"category": "nut 7", "prompts": Prompts(words={"nut 7": "metal nut"})},
    ],
)
def test_categories_of_one_text_are_one(stored, alike):
    assert find_threshold(stored, **WANTED | alike) is not None


def test_other_weights_have_other_thresholds(stored):
    (stored / "manifest.json").write_text('{"other": "weights"}')
    assert find_threshold(stored, **WANTED) is None
    assert len(thresholds_of(stored, "mine", "metal_nut")) == 1
    assert thresholds_of(stored, "other", "metal nut") == []


def test_a_newer_threshold_takes_the_place_of_its_like_alone(stored):
    for category, threshold in (("metal_nut", 0.7), ("bolt", 0.6)):
        wanted = WANTED | {"category": category}
        save_threshold(stored, calibrate([threshold] * 120, 0.01), photos="again", **wanted)
    assert len(json.loads((stored / THRESHOLDS).read_text())["thresholds"]) == 2
    assert find_threshold(stored, **WANTED)["image_threshold"] == pytest.approx(0.7)


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0])
def test_a_rate_is_a_fraction(rate):
    with pytest.raises(ConfigError, match="false_alarm_rate is"):
        calibrate([0.5], rate)


def test_scores_are_needed():
    with pytest.raises(ConfigError, match="no scores"):
        calibrate([], 0.1)


def test_a_damaged_file(tmp_path):
    (tmp_path / THRESHOLDS).write_text("[")
    with pytest.raises(ConfigError, match="is damaged"):
        find_threshold(tmp_path, **WANTED)


def test_a_checkpoint_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_threshold(tmp_path / "file", calibrate([0.5], 0.5), photos="", **WANTED)
