"""Ablations: what a config may hold, the table, and two variants from training to the table."""

import csv
import dataclasses
import pathlib

import pytest
from zsas_jax.checkpoints.checkpoint import read_config

from zsas_jax import ablations
from zsas_jax.ablations import METRICS, Ablations, Arguments, Study, Variant
from zsas_jax.cli.common import load_config_file
from zsas_jax.errors import ConfigError
from zsas_jax.training.config import DataConfig, TrainConfig, UmciTaskConfig

ROOT = pathlib.Path(__file__).parents[1]


def _config(*variants, data=None):
    task = UmciTaskConfig(loss="balanced")
    training = TrainConfig(task="umci", steps=2, batch_size=2, umci_task=task)
    training = dataclasses.replace(training, data=data or training.data)
    return Ablations(training, (Study("some", "Some", variants),))


def test_the_config_of_the_papers_tables_is_valid_and_names_every_rule():
    config = load_config_file(ROOT / "configs/ablations_tiny.py", Ablations)
    rows = {study.name: study.variants for study in config.studies}
    assert list(rows) == ["methods", "umci", "sizes", "negatives", "stages", "robustness"]
    for variants in rows.values():
        assert len({variant.name for variant in variants}) == len(variants)
        for variant in variants:
            ablations._settings(config, variant)
    assert len(rows["negatives"]) == 5
    umci = read_config("tiny").umci
    named = {variant.name for variant in rows["sizes"]}
    assert f"hidden {umci.hidden_dim}, kernels 3 and 9" in named


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (Variant("a", {"regoins": 2}), r"pipeline of variant 'a' has 'regoins'.*regions"),
        (Variant("a", {"regions": 0}), r"pipeline.regions is 0"),
        (Variant("a", photos="gray"), r"photos of variant 'a' is 'gray'.*grey"),
        (Variant("a", umci={"hidden": 2}), r"umci of variant 'a' has 'hidden'.*hidden_dim"),
    ],
)
def test_wrong_settings_show_before_anything_runs(tmp_path, variant, message):
    args = Arguments(tmp_path, output_dir=tmp_path)
    with pytest.raises(ConfigError, match=message):
        ablations.run(_config(Variant("good"), variant), args)
    assert not list(tmp_path.iterdir())


def test_unknown_studies_and_no_seeds_are_one_sentence(tmp_path):
    args = Arguments(tmp_path, output_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"--studies has 'sum'.*some"):
        ablations.run(_config(), dataclasses.replace(args, studies=("sum",)))
    with pytest.raises(ConfigError, match="--seeds is empty"):
        ablations.run(_config(), dataclasses.replace(args, seeds=()))


def test_the_table_has_means_spreads_and_dashes():
    seeds = [dict.fromkeys(METRICS, value) for value in (0.5, 0.7)]
    for values in seeds:
        values["boundary_f1"] = None
    line = ablations.table({"cascade": seeds}).splitlines()[2]
    assert line == "| cascade | " + "60.0 (10.0) | " * 5 + "- |"


@pytest.mark.full
def test_a_variant_is_trained_evaluated_and_not_computed_twice(tmp_path, monkeypatch):
    data = DataConfig(pictures=6, size=256, cache_dir=str(tmp_path / "pool"), workers=1)
    quick = {"method": "umci", "clip_image_size": (128, 128), "clip_more_sizes": ()}
    rows = Variant("own", quick, {}), Variant("rough", quick)
    narrow = Variant("narrow", quick, {"hidden_dim": 8})
    args = Arguments(tmp_path, seeds=(0,), per_class=2, output_dir=tmp_path / "out")
    text = ablations.run(_config(*rows, narrow, data=data), args)
    with (args.output_dir / "ablations.csv").open() as file:
        found = {row["variant"]: float(row["pixel_auroc"]) for row in csv.DictReader(file)}
    assert list(found) == ["own", "rough", "narrow"]
    assert found["rough"] > max(found["own"], found["narrow"])  # two steps teach nothing
    monkeypatch.setattr("zsas_jax.training.loop.train", None)
    monkeypatch.setattr("zsas_jax.evaluation.run._Run.batches", None)
    assert ablations.run(_config(*rows, narrow, data=data), args) == text
