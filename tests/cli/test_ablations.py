"""Ablations: what a config may hold, the table, and variants from training to the table."""

import csv

import pytest

from zsas_jax import ablations
from zsas_jax.ablations import METRICS, Ablations, Study, Variant
from zsas_jax.checkpoints import read_config
from zsas_jax.cli.common import load_config_file
from zsas_jax.errors import ConfigError
from zsas_jax.methods.heads.umci_training import UmciTraining
from zsas_jax.tasks import HeadTask
from zsas_jax.training.config import Generated, TrainConfig


def config(*variants, data=None):
    task = HeadTask(
        head="umci",
        size=128,
        training=UmciTraining(loss="balanced"),
        data=data or Generated(),
    )
    training = {"umci": TrainConfig(task, steps=2, batch_size=2)}
    return Ablations(training, (Study("some", "Some", variants),))


def test_the_config_of_the_papers_tables_is_valid_and_names_every_rule():
    found = load_config_file("ablations_tiny", Ablations)
    rows = {study.name: study.variants for study in found.studies}
    assert list(rows) == ["methods", "umci", "sizes", "negatives", "stages", "robustness"]
    for variants in rows.values():
        assert len({variant.name for variant in variants}) == len(variants)
        for variant in variants:
            ablations.check_variant(found, variant)
    assert len(rows["negatives"]) == 5
    umci = read_config("tiny").networks["umci"]
    named = {variant.name for variant in rows["sizes"]}
    assert f"hidden {umci.hidden_dim}, kernels 3 and 9" in named


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        (Variant("a", settings={"refiner.regoins": 2}), r"variant 'a': .*regoins.*regions"),
        (Variant("a", settings={"refiner.regions": 0}), r"regions is 0"),
        (Variant("a", "cascad"), r"'cascad'.*cascade"),
        (Variant("a", photos="gray"), r"photos of variant 'a' is 'gray'.*grey"),
        (Variant("a", networks={"umci": {"hidden": 2}}), r"hidden.*hidden_dim"),
        (Variant("a", networks={"sam": {}}), r"trains the network 'sam', which training lacks"),
    ],
)
def test_wrong_settings_show_before_anything_runs(tmp_path, variant, message):
    with pytest.raises(ConfigError, match=message):
        ablations.run(config(Variant("good"), variant), output_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_unknown_studies_and_no_seeds_are_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match=r"studies has 'sum'.*some"):
        ablations.run(config(), studies=("sum",), output_dir=tmp_path)
    with pytest.raises(ConfigError, match="seeds is empty"):
        ablations.run(config(), seeds=(), output_dir=tmp_path)


def test_the_table_has_means_spreads_and_dashes():
    seeds = [dict.fromkeys(METRICS, value) for value in (0.5, 0.7)]
    for values in seeds:
        values["boundary_f1"] = None
    line = ablations.table({"cascade": seeds}).splitlines()[2]
    assert line == "| cascade | " + "60.0 (10.0) | " * 5 + "- |"


@pytest.mark.full
def test_a_variant_is_trained_evaluated_and_not_computed_twice(tmp_path, monkeypatch):
    data = Generated(pictures=6, size=256, cache_dir=str(tmp_path / "pool"), workers=1)
    quick = {"head.views.image_size": [128, 128], "head.views.more_sizes": []}
    rows = (
        Variant("own", "umci", quick, {"umci": {}}),
        Variant("rough", "umci", quick),
        Variant("narrow", "umci", quick, {"umci": {"hidden_dim": 8}}),
    )
    options = {"seeds": (0,), "per_class": 2, "output_dir": tmp_path / "out"}
    text = ablations.run(config(*rows, data=data), **options)
    with (tmp_path / "out" / "ablations.csv").open() as file:
        found = {row["variant"]: float(row["pixel_auroc"]) for row in csv.DictReader(file)}
    assert list(found) == ["own", "rough", "narrow"]
    assert found["rough"] > max(found["own"], found["narrow"])  # two steps teach nothing
    monkeypatch.setattr(ablations, "train", None)
    assert ablations.run(config(*rows, data=data), **options) == text
