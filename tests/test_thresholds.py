import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError
from zsas_jax.prompting.text import Prompts
from zsas_jax.thresholds import FILE, calibrate, find_threshold, save_threshold

PIPELINE = PipelineConfig(method="umci")


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


def test_a_threshold_is_found_again_by_what_it_depends_on(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    same = {"category": "nut", "prompts": Prompts()}
    first = calibrate(np.linspace(0, 0.5, 120), 0.01)
    path = save_threshold(tmp_path, first, pipeline=PIPELINE, photos="120 photos of x", **same)
    assert path == tmp_path / FILE
    found = find_threshold(tmp_path, pipeline=PIPELINE, **same)
    assert found["image_threshold"] == first.threshold
    assert found["good_parts"] == "120 photos of x"
    shifted = PipelineConfig(
        method="umci", image_threshold=0.9, mask_threshold=0.1, refine_at_a_time=1
    )
    assert find_threshold(tmp_path, pipeline=shifted, **same) == found
    for pipeline, category, prompts in (
        (PipelineConfig(method="clip"), "nut", Prompts()),
        (PIPELINE, "bolt", Prompts()),
        (PIPELINE, "nut", Prompts(templates=("a {}.",))),
    ):
        arguments = {"pipeline": pipeline, "category": category, "prompts": prompts}
        assert find_threshold(tmp_path, **arguments) is None
    second = calibrate(np.linspace(0, 0.7, 120), 0.01)
    save_threshold(tmp_path, second, pipeline=PIPELINE, photos="again", **same)
    assert len(json.loads(path.read_text())["thresholds"]) == 1
    assert find_threshold(tmp_path, pipeline=PIPELINE, **same)["good_parts"] == "again"
    (tmp_path / "manifest.json").write_text('{"other": "weights"}')
    assert find_threshold(tmp_path, pipeline=PIPELINE, **same) is None


def test_faults(tmp_path):
    for rate in (0.0, 1.0, -1.0):
        with pytest.raises(ConfigError, match="false_alarm_rate is"):
            calibrate([0.5], rate)
    with pytest.raises(ConfigError, match="no scores"):
        calibrate([], 0.1)
    (tmp_path / FILE).write_text("[")
    with pytest.raises(ConfigError, match="is damaged"):
        find_threshold(tmp_path, pipeline=PIPELINE, category="nut", prompts=Prompts())
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_threshold(
            tmp_path / "file",
            calibrate([0.5], 0.5),
            pipeline=PIPELINE,
            category="nut",
            prompts=Prompts(),
            photos="",
        )
