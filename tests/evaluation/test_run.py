import csv
import json

import numpy as np
import pytest
from PIL import Image
from toy_method import BUNDLE, SHAPES, Source, Toy, red, run, traces

from zsas_jax.checkpoints import Bundle, Compute, Config, Verdict
from zsas_jax.data.folder import FolderSource
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.evaluation.batches import Batches, choose
from zsas_jax.evaluation.options import Pace
from zsas_jax.evaluation.resume import tree_fingerprint
from zsas_jax.evaluation.run import evaluate
from zsas_jax.evaluation.stopwatch import Steps
from zsas_jax.methods.base import Request
from zsas_jax.metrics import METRICS, MetricOptions, evaluate_maps
from zsas_jax.metrics.resolution import resize_map, resize_mask
from zsas_jax.networks import Networks
from zsas_jax.parallel import local_devices


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("resolution", [64, "native"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_metrics_are_those_of_the_plain_arrays(tmp_path, resolution, batch_size):
    source = Source()
    result = run(source, tmp_path, resolution=resolution, batch_size=batch_size)
    stored = json.loads((tmp_path / "mvtec/toy/metrics.json").read_text())
    assert set(stored["categories"]) == set(source.categories)
    for number, category in enumerate(source.categories):
        maps, masks, scores, labels = [], [], [], []
        for index in range(number * len(SHAPES), (number + 1) * len(SHAPES)):
            image, mask = source.arrays(index)
            anomaly_map = red(image)
            scores.append(anomaly_map.max())
            labels.append(index % 2)
            if resolution != "native":
                anomaly_map, mask = resize_map(anomaly_map, 64, 64), resize_mask(mask, 64, 64)
            maps.append(anomaly_map)
            masks.append(mask)
        expected = evaluate_maps(maps, masks, scores, labels)
        for name in METRICS:
            assert stored["categories"][category][name] == pytest.approx(expected[name], abs=1e-9)
    for name in METRICS:
        values = [stored["categories"][category][name] for category in source.categories]
        assert stored["mean"][name] == pytest.approx(np.mean(values))
    assert set(stored["categories"]["tile"]) == set(METRICS)
    assert stored["timing"]["images_per_second"] > 0
    assert stored["timing"]["compile_seconds"] >= 0
    assert result.metrics == stored
    assert result.has_metrics
    assert not result.failures


def test_results_say_what_they_were_made_with(tmp_path):
    verdict, compute = Verdict(0.25, 0.75), Compute(refine_at_a_time=1)
    request = Request(language=lambda question: "")
    result = run(
        Source(), tmp_path, config=Toy(0.5), verdict=verdict, compute=compute, request=request
    )
    config = result.metrics["config"]
    assert (config["method"], config["settings"]) == ("toy", {"gain": 0.5, "score": "map"})
    assert config["verdict"] == {"mask_threshold": 0.25, "image_threshold": 0.75}
    assert config["compute"] == {"dtype": "float32", "refine_at_a_time": 1}
    assert (config["examples"], config["language"]) == (False, True)
    assert config["prompts"] == dict.fromkeys(config["prompts"])
    assert json.loads((result.directory / "run.json").read_text()) == config
    assert result.metrics["versions"]["jax"]


def test_each_photo_gets_the_row_of_its_category(tmp_path):
    config = Toy(score="category")
    result = run(Source(), tmp_path, batch_size=4, config=config, resolution=8)
    rows = {(row[1], round(row[3], 3)) for row in result.scores}
    assert rows == {("metal nut", 0.0), ("tile", 0.1)}


def test_another_verdict_is_no_other_program(tmp_path):
    config = Toy(gain=0.75)
    first = run(Source(), tmp_path / "a", config=config)
    count = traces.count(config)
    second = run(Source(), tmp_path / "b", config=config, verdict=Verdict(0.1, 0.9))
    assert traces.count(config) == count
    assert first.metrics["mean"] == second.metrics["mean"]
    assert [row[4] for row in first.scores] != [row[4] for row in second.scores]


def test_scores_failures_and_a_few_overlays(tmp_path):
    result = run(Source(broken={3}), tmp_path, verdict=Verdict(image_threshold=0.8), overlays=3)
    rows = read_csv(result.directory / "scores.csv")
    header = ["path", "category", "label", "image_score", "verdict", "anomalous_area"]
    assert list(rows[0]) == header
    assert len(rows) == 9
    for row in rows:
        index = int(row["path"].split("/")[1].removesuffix(".jpg"))
        anomaly_map = red(Source().arrays(index)[0])
        score = float(anomaly_map.max())
        assert float(row["image_score"]) == pytest.approx(score)
        assert row["verdict"] == ("anomalous" if score >= 0.8 else "good")
        assert row["label"] == ("anomalous" if index % 2 else "good")
        assert float(row["anomalous_area"]) == pytest.approx((anomaly_map >= 0.5).mean())
    (failed,) = read_csv(result.directory / "failed.csv")
    assert failed["path"] == "crack/3.jpg"
    assert "not an image" in failed["reason"]
    assert result.failures == [(failed["path"], failed["reason"])]
    overlays = {p.relative_to(result.directory).as_posix() for p in result.directory.rglob("*.jpg")}
    names = ("good/0", "crack/1", "crack/5", "crack/7", "good/8")
    assert overlays == {f"overlays/{name}.jpg.jpg" for name in names}
    assert not (result.directory / "maps").exists()


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    (root / "sub dir").mkdir(parents=True)
    for index, name in enumerate(["a.jpg", "a.png", "sub dir/ü.jpg"]):
        image, _ = Source().arrays(index)
        Image.fromarray(image).save(root / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(Source().arrays(3)[0]).save(root / "turned.jpg", exif=exif)
    return root


def test_an_unlabeled_folder(tmp_path, photos):
    (photos / "broken.jpg").write_bytes(b"")
    result = run(
        FolderSource(photos, category="object"),
        tmp_path,
        dataset="folder",
        verdict=Verdict(mask_threshold=0.25),
        overlays=None,
        maps=True,
    )
    directory = tmp_path / "folder" / "toy"
    names = ["a.jpg", "a.png", "sub dir/ü.jpg", "turned.jpg"]
    for kind, suffix in (("maps", ".png"), ("masks", ".png"), ("overlays", ".jpg")):
        found = [
            p.relative_to(directory / kind).as_posix() for p in directory.glob(f"{kind}/**/*.*")
        ]
        assert sorted(found) == [name + suffix for name in names]
    with (
        Image.open(directory / "maps" / "a.png.png") as levels,
        Image.open(photos / "a.png") as photo,
    ):
        expected = red(np.asarray(photo))
        assert (np.abs(np.asarray(levels) / 65535 - expected) < 1e-5).all()
    with Image.open(directory / "masks" / "a.png.png") as mask:
        assert (np.asarray(mask) == 255 * (expected >= 0.25)).all()
    # The upright size of the photo that is stored lying on its side.
    with Image.open(directory / "maps" / "turned.jpg.png") as levels:
        assert levels.size == SHAPES[3]
    stored = result.metrics
    assert all(value is None for value in stored["mean"].values())
    assert all(value is None for value in stored["categories"]["object"].values())
    assert stored["reasons"]["object"]["pixel_pro"] == "no labelled pixels"
    assert stored["reasons"]["object"]["image_ap"] == "no labelled images"
    assert not result.has_metrics
    assert {row["label"] for row in read_csv(directory / "scores.csv")} == {""}
    assert [name for name, _ in result.failures] == ["broken.jpg"]


@pytest.mark.parametrize("folder", ["", "results", "sub dir/other"])
def test_results_below_the_photos_are_no_photos(tmp_path, photos, folder):
    names, before = FolderSource(photos).names, tree_fingerprint(photos)
    options = {"dataset": "folder", "maps": True, "overlays": None}
    run(FolderSource(photos), photos / folder, fingerprint=before, **options)
    assert FolderSource(photos).names == names
    assert tree_fingerprint(photos) == before
    assert run(FolderSource(photos), photos / folder, fingerprint=before, **options).reused


class Changed(Source):
    """A source of which some records are changed, or cannot be read."""

    def __init__(self, changes):
        super().__init__()
        self.changes = changes

    def __getitem__(self, index):
        change = self.changes.get(index, {})
        if isinstance(change, Exception):
            raise change
        return super().__getitem__(index) | change


@pytest.mark.parametrize(
    ("changes", "name", "reason"),
    [
        ({0: {"name": "n" * 248 + ".jpg"}}, "n" * 248 + ".jpg", "cannot be written"),
        ({0: {"name": "a"}, 1: {"name": "a.png/b"}}, "a.png/b", "results of a.png/b cannot be"),
        ({7: {"mask": np.ones((5, 6), bool)}}, "crack/7.jpg", "6 x 5 pixels: expected the 33 x 33"),
        ({5: OSError("input/output error")}, "photo 5", "cannot be read: input/output error"),
    ],
)
def test_what_is_wrong_with_one_photo_is_its_failure(tmp_path, changes, name, reason):
    result = run(Changed(changes), tmp_path, maps=True)
    ((failed, why),) = result.failures
    assert failed == name
    assert reason in why
    assert len(result.scores) == 9
    assert name not in {row[0] for row in result.scores}


def test_limit_is_spread_over_the_source(tmp_path):
    result = run(Source(), tmp_path, limit=4)
    names = ["crack/1.jpg", "crack/3.jpg", "good/6.jpg", "good/8.jpg"]
    assert [row[0] for row in result.scores] == names
    assert {row[1] for row in result.scores} == set(Source.categories)


def test_only_failures(tmp_path):
    result = run(Source(broken=set(range(10))), tmp_path)
    assert len(result.failures) == 10
    assert result.scores == []
    assert result.metrics["mean"] == dict.fromkeys(METRICS)
    assert result.metrics["timing"]["images"] == 0


def test_faulty_weights_are_a_failure_of_each_photo(tmp_path):
    result = run(Source(), tmp_path, config=Toy(score="faulty"))
    assert len(result.failures) == 10
    assert "not finite" in result.failures[0][1]


def test_results_of_another_configuration_are_refused(tmp_path):
    directory = run(Source(), tmp_path).directory
    (directory / "notes.txt").write_text("mine")
    (directory / "overlays" / "stale.jpg").write_text("old")
    run(Source(), tmp_path, batch_size=3)  # the batch size changes no result
    assert not (directory / "overlays" / "stale.jpg").exists()
    before = (directory / "metrics.json").read_text()
    source = Source()
    with pytest.raises(ConfigError, match=r"settings\.gain was 1\.0, is 0\.5.*--overwrite"):
        run(source, tmp_path, config=Toy(gain=0.5))
    assert source.reads == []
    assert (directory / "metrics.json").read_text() == before
    run(Source(), tmp_path, config=Toy(gain=0.5), overwrite=True)
    (directory / "run.json").unlink()
    with pytest.raises(ConfigError, match="unknown origin"):
        run(Source(), tmp_path)
    assert (directory / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"limit": 0}, "limit is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"pictures": -1}, "pictures is -1"),
        ({"config": Compute()}, "config is a Compute"),
        ({"method": "toi"}, "method is 'toi': did you mean 'toy'"),
    ],
)
def test_bad_settings_are_refused_before_computing(tmp_path, options, words):
    source = Source()
    with pytest.raises(ConfigError, match=words):
        run(source, tmp_path, **options)
    assert source.reads == []
    assert list(tmp_path.iterdir()) == []


def test_places_and_sources_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output directory .*file.* cannot be written"):
        run(Source(), tmp_path / "file")
    with pytest.raises(DatasetError, match="no photos"):
        run(type("Empty", (Source,), {"__len__": lambda self: 0})(), tmp_path)


def test_the_checkpoints_own_settings_apply(tmp_path):
    config = Config(
        method="toy", methods={"toy": {"gain": 0.25}}, verdicts={"toy": Verdict(0.1, 0.2)}
    )
    bundle = Bundle(Networks(), {}, config)
    result = evaluate(
        bundle, Source(), dataset="x", output_dir=tmp_path, pace=Pace(progress=False), limit=2
    )
    assert result.metrics["config"]["settings"]["gain"] == 0.25
    assert result.metrics["config"]["verdict"]["image_threshold"] == 0.2


def test_the_next_batch_is_on_its_way_when_one_is_handed_out():
    order = []

    class Noted(Steps):
        def timed(self, name):
            order.append(name)
            return super().timed(name)

    choice = choose(BUNDLE, "toy", None, None, None, Request())
    batches = Batches(BUNDLE, Source(), choice, 1, 0, local_devices(1), Noted())
    computed = ("compile", "device")
    for number, _ in enumerate(batches.iterate(range(4)), 1):
        assert sum(name in computed for name in order) == min(number + 1, 4)


def test_maps_are_written_where_asked(tmp_path):
    result = run(Source(), tmp_path, maps=True)
    assert len(list((result.directory / "maps").rglob("*.png"))) == 10
    maps = np.load(result.directory / "small_maps.npy")
    assert maps.shape == (10, 48, 48)
    image, _ = Source().arrays(2)
    assert float(maps[2].mean()) == pytest.approx(red(image).mean(), abs=0.01)


def test_defect_types_and_confidence_intervals(tmp_path):
    options = MetricOptions(
        by_defect_type=True, bootstrap=20, boundary_thresholds=(0.5,), pro_200=True
    )
    metrics = run(Source(), tmp_path, metric_options=options, resolution=64).metrics
    for category in Source.categories:
        row = metrics["defect_types"][category]["crack"]
        # One defect type alone: its rows are the category's.
        assert row == {name: metrics["categories"][category][name] for name in METRICS}
    assert set(metrics["mean"]) == {*METRICS, "boundary_f1", "pixel_pro_200"}
    low, high = metrics["confidence"]["mean"]["pixel_auroc"]
    assert low <= metrics["mean"]["pixel_auroc"] <= high
