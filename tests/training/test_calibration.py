"""The search for a checkpoint's settings: networks are replaced by maps that depend on settings."""

import dataclasses

import numpy as np
import pytest
from zsas_jax.checkpoints.checkpoint import Bundle

from zsas_jax.config import Config, PipelineConfig
from zsas_jax.predict import Prediction
from zsas_jax.tasks import calibration

MASK = np.zeros((8, 8), bool)
MASK[2:4, 2:5] = True
# What the fake networks are best at; everything else adds noise to the maps.
BEST = {"umci_stages": 1, "rough_threshold": 0.3, "regions": 2, "score_map_weight": 0.8}


@pytest.fixture
def bundle(monkeypatch):
    records = [
        {"image": MASK, "mask": MASK & bad, "category": name, "label": int(bad)}
        for name in ("nut", "tile")
        for bad in (False, True)
    ]
    monkeypatch.setattr(calibration, "_records", lambda per_class, seed: records * per_class)
    monkeypatch.setattr(calibration, "_predict", predict)
    return Bundle(None, None, Config(pipeline=PipelineConfig(rough_upsampling="guided")))


def predict(bundle, records):
    rng, settings = np.random.default_rng(0), bundle.config.pipeline
    wrong = {name for name, value in BEST.items() if getattr(settings, name) != value}
    noise = 0.5 + len(wrong - {"score_map_weight"})
    return [
        Prediction(
            ((record["mask"] + noise * rng.random(MASK.shape)) / 4).astype(np.float32),
            record["label"] * 0.5 + rng.random() * (0.4 + 0.5 * len(wrong)),
            record["mask"],
            False,
        )
        for record in records
    ]


def test_each_setting_gets_its_best_value_and_ties_keep_what_was_there(bundle):
    found = calibration.tune(bundle, per_class=8).config.pipeline
    assert {name: getattr(found, name) for name in BEST} == BEST
    assert dataclasses.replace(bundle.config.pipeline, **BEST) == found


def test_thresholds_separate_what_can_be_separated(bundle):
    best = calibration._with_settings(bundle, **BEST)
    found = calibration.calibrate(best, per_class=2).config.pipeline
    assert 0.125 < found.mask_threshold <= 0.375
    assert 0.4 < found.image_threshold <= 0.9


def test_the_verdict_weighs_good_and_anomalous_alike():
    scores, labels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 0, 0, 1, 0, 1]
    # 0.4 finds both with a quarter of false alarms, 0.6 one with none.
    assert calibration.balanced_threshold(scores, labels) == 0.4
    assert calibration.balanced_threshold(scores * 2 + [0.5] * 20, labels * 2 + [0] * 20) == 0.6
