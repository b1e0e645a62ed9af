"""The search for a checkpoint's settings: networks are replaced by maps that depend on settings."""

import numpy as np
import pytest

from zsas_jax import methods
from zsas_jax.checkpoints import Bundle, Config
from zsas_jax.config import get_path, replace_path
from zsas_jax.errors import ConfigError
from zsas_jax.networks import NETWORKS, Networks
from zsas_jax.predict import Prediction
from zsas_jax.training import select
from zsas_jax.training.select import Candidates, Select

MASK = np.zeros((8, 8), bool)
MASK[2:4, 2:5] = True
# What the fake networks are best at; everything else adds noise to the maps.
BEST = {
    "head.stages": 1,
    "refiner.foreground.threshold": 0.3,
    "refiner.regions": 2,
    "score.map_weight": 0.8,
}
SEARCH = Select(
    "cascade",
    (
        Candidates("head.stages", (0, 1)),
        Candidates("head.upsampling.rule", ("bilinear", "guided")),  # makes no difference
        Candidates("refiner.foreground.threshold", (0.3, 0.6)),
        Candidates("refiner.regions", (1, 2)),
        Candidates("score.map_weight", (0.5, 0.8), ("image_auroc", "image_ap")),
    ),
    per_class=8,
    calibration_per_class=2,
)


@pytest.fixture
def bundle(monkeypatch):
    records = [
        {"image": MASK, "mask": MASK & bad, "category": name, "label": int(bad)}
        for name in ("nut", "tile")
        for bad in (False, True)
    ]
    monkeypatch.setattr(select, "_records", lambda per_class, seed: records * per_class)
    monkeypatch.setattr(select, "_predict", predict)
    config = Config({name: NETWORKS[name].small for name in ("clip", "umci", "sam")})
    start = methods.settings(config, "cascade")
    for path, value in (("head.upsampling.rule", "guided"), ("refiner.box_margin", 0.25)):
        start = replace_path(start, path, value)
    return Bundle(Networks(), {}, methods.with_settings(config, "cascade", start))


def predict(bundle, name, chosen, records):
    rng = np.random.default_rng(0)
    wrong = {path for path, value in BEST.items() if get_path(chosen, path) != value}
    noise = 0.5 + len(wrong - {"score.map_weight"})
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
    found = select.select(bundle, SEARCH)
    chosen = methods.settings(found.config, "cascade")
    expected = methods.settings(bundle.config, "cascade")
    for path, value in BEST.items():
        expected = replace_path(expected, path, value)
    assert chosen == expected
    verdict = found.config.verdicts["cascade"]
    assert 0.125 < verdict.mask_threshold <= 0.375
    assert 0.4 < verdict.image_threshold <= 0.9


def test_the_verdict_weighs_good_and_anomalous_alike():
    scores, labels = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0, 0, 0, 1, 0, 1]
    # 0.4 finds both with a quarter of false alarms, 0.6 one with none.
    assert select.balanced_threshold(scores, labels) == 0.4
    assert select.balanced_threshold(scores * 2 + [0.5] * 20, labels * 2 + [0] * 20) == 0.6


def test_a_network_that_is_missing_is_one_sentence(bundle):
    networks = {"clip": NETWORKS["clip"].small}
    with pytest.raises(ConfigError, match="needs the network 'umci'"):
        select.select(bundle._replace(config=Config(networks)), SEARCH)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Select("cascad"), "did you mean 'cascade'"),
        (lambda: Select("cascade", (Candidates("refiner.region", (1,)),)), "'regions'"),
        (lambda: Select("cascade", (Candidates("score.map_weight", (2.0,)),)), "map_weight is 2.0"),
        (lambda: Candidates("refiner.regions", (1,), ("pixel_au",)), "did you mean 'pixel_ap'"),
        # Half of the pictures are anomalous; found out at the end, a run would be lost.
        (lambda: Select("cascade", per_class=1), "per_class is 1: expected at least 2"),
        (lambda: Select("cascade", calibration_per_class=1), "expected 0 or at least 2"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(build, message):
    with pytest.raises(ConfigError, match=message):
        build()
