import csv
import dataclasses
import errno
import json
import resource
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image

from zsas_jax import evaluation, pipeline
from zsas_jax.config import PipelineConfig
from zsas_jax.data.folder import FolderSource
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.files import sole_writer
from zsas_jax.metrics import METRICS, MetricOptions, evaluate_maps
from zsas_jax.metrics.resolution import resize_map, resize_mask
from zsas_jax.pipeline import Segmentation
from zsas_jax.report import collector, results
from zsas_jax.report.journal import tree_fingerprint

SHAPES = [(40, 56), (300, 20), (33, 33), (64, 48), (20, 20)]


def fake_map(images):
    """What the fake network finds anomalous: red."""
    return images[..., 0].astype(np.float32) / 255


@pytest.fixture
def calls(monkeypatch):
    """Replaces the networks; collects the arguments of `segment`."""
    calls = []

    def segment(model, images, sizes, text, keys, config):
        calls.append((images, sizes, text, keys, config))
        maps = fake_map(images)
        count = len(images)
        prompts = {}
        if config.method == "cascade":
            prompts = {
                "points": np.full((count, 2, 3, 2), 10.0, np.float32),
                "point_labels": np.ones((count, 2, 3), np.int32),
                "point_valid": np.ones((count, 2, 3), bool),
                "boxes": np.full((count, 2, 4), 5.0, np.float32),
                "region_valid": np.array([[True, False]] * count),
            }
        return Segmentation(maps, maps.max((1, 2)), maps, **prompts)

    def encode_text(clip, tokenizer, categories, **kwargs):
        rows = [np.full((2, 4), sum(map(ord, name)), np.float32) for name in categories]
        return np.stack(rows)

    monkeypatch.setattr(pipeline, "segment", segment)
    monkeypatch.setattr(evaluation, "encode_text", encode_text)
    return calls


@pytest.fixture
def bundle():
    config = types.SimpleNamespace(clip=object(), sam=None, pipeline=PipelineConfig(method="umci"))
    return types.SimpleNamespace(
        model=types.SimpleNamespace(clip=None), tokenizer=None, config=config
    )


class Source:
    has_masks = True
    categories = ("metal nut", "tile")

    def __init__(self, broken=()):
        self.broken = broken

    def __len__(self):
        return 2 * len(SHAPES)

    def arrays(self, index):
        rng = np.random.default_rng(index)
        height, width = SHAPES[index % len(SHAPES)]
        image = rng.integers(0, 200, (height, width, 3), np.uint8)
        mask = np.zeros((height, width), bool)
        if index % 2:
            mask[4:15, 5:12] = True
            image[..., 0] += (mask * rng.integers(0, 56, mask.shape)).astype(np.uint8)
        return image, mask

    def __getitem__(self, index):
        image, mask = self.arrays(index)
        return {
            "image": b"broken" if index in self.broken else image,
            "mask": mask if mask.any() else None,
            "name": f"{'crack' if index % 2 else 'good'}/{index}.jpg",
            "category": self.categories[index // len(SHAPES)],
            "defect": "crack" if index % 2 else "good",
            "label": index % 2,
        }


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(bundle, source, tmp_path, **options):
    options = {
        "dataset": "mvtec",
        "output_dir": tmp_path,
        "progress": False,
        "strips_per_category": 0,
    } | options
    return evaluation.evaluate(bundle, source, **options)


@pytest.mark.parametrize("resolution", [64, "native"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_metrics_are_those_of_the_plain_arrays(bundle, calls, tmp_path, resolution, batch_size):
    source = Source()
    result = run(bundle, source, tmp_path, resolution=resolution, batch_size=batch_size)
    stored = json.loads((tmp_path / "mvtec/umci/metrics.json").read_text())
    assert set(stored["categories"]) == set(source.categories)
    for number, category in enumerate(source.categories):
        maps, masks, scores, labels = [], [], [], []
        for index in range(number * len(SHAPES), (number + 1) * len(SHAPES)):
            image, mask = source.arrays(index)
            anomaly_map = fake_map(image)
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
    assert stored["config"]["resolution"] == resolution
    assert stored["config"]["method"] == "umci"
    assert stored["versions"]["jax"]
    assert stored["timing"]["images_per_second"] > 0
    assert stored["timing"]["compile_seconds"] >= 0
    assert result.metrics["mean"] == stored["mean"]
    assert not result.failures


def test_each_photo_gets_the_text_of_its_category(bundle, calls, tmp_path):
    run(bundle, Source(), tmp_path, batch_size=4)
    expected = {sum(map(ord, name)) for name in Source.categories}
    seen = {}
    for images, _, text, _, config in calls:
        assert config.return_prompts
        assert len(text) == len(images)
        for image, features in zip(images, text, strict=True):
            seen[image[:20, :20].tobytes()] = features[0, 0]
    for index in range(len(Source())):
        image, _ = Source().arrays(index)
        canvas = np.zeros((20, 20, 3), np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image[:20, :20]
        assert seen[canvas.tobytes()] == sum(map(ord, Source.categories[index // len(SHAPES)]))
    assert set(seen.values()) == expected


def test_scores_failures_and_a_few_overlays(bundle, calls, tmp_path):
    result = run(bundle, Source(broken={3}), tmp_path, threshold=0.8, overlays_per_category=3)
    rows = read_csv(result.directory / "scores.csv")
    header = ["path", "category", "label", "image_score", "verdict", "anomalous_area"]
    assert list(rows[0]) == header
    assert len(rows) == 9
    for row in rows:
        index = int(row["path"].split("/")[1].removesuffix(".jpg"))
        anomaly_map = fake_map(Source().arrays(index)[0])
        score = float(anomaly_map.max())
        assert float(row["image_score"]) == pytest.approx(score)
        assert row["verdict"] == ("anomalous" if score >= 0.8 else "good")
        assert row["label"] == ("anomalous" if index % 2 else "good")
        assert float(row["anomalous_area"]) == pytest.approx((anomaly_map >= 0.5).mean())
    (failed,) = read_csv(result.directory / "failed.csv")
    assert failed["path"] == "crack/3.jpg"
    assert "not an image" in failed["reason"]
    assert result.failures == [(failed["path"], failed["reason"])]
    drawn = sorted(path.relative_to(result.directory).as_posix() for path in result.overlays)
    assert drawn == sorted(
        f"overlays/{name}.jpg.jpg" for name in ("good/0", "crack/1", "crack/5", "crack/7", "good/8")
    )
    for path in result.overlays:
        with Image.open(path) as picture:
            picture.verify()
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


def test_an_unlabeled_folder(bundle, calls, tmp_path, photos):
    (photos / "broken.jpg").write_bytes(b"")
    config = dataclasses.replace(bundle.config.pipeline, method="cascade", mask_threshold=0.25)
    result = run(
        bundle,
        FolderSource(photos, category="object"),
        tmp_path,
        dataset="folder",
        config=config,
        overlays_per_category=None,
        save_maps=True,
    )
    directory = tmp_path / "folder" / "cascade"
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
        expected = fake_map(np.asarray(photo))
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


def test_results_below_the_photos_are_no_photos(bundle, calls, tmp_path, photos):
    source, names = FolderSource(photos), FolderSource(photos).names
    options = {"dataset": "folder", "save_maps": True, "overlays_per_category": None}
    for output_dir in (photos, photos / "results", photos / "sub dir" / "other"):
        fingerprint = tree_fingerprint(photos)
        run(bundle, source, output_dir, fingerprint=fingerprint, **options)
        count = len(calls)
        assert FolderSource(photos).names == names
        run(bundle, source, output_dir, fingerprint=tree_fingerprint(photos), **options)
        assert len(calls) == count


@pytest.mark.parametrize("names", [("n" * 248 + ".jpg", "b"), ("a.jpg", "a.jpg.png/b")])
def test_a_name_that_no_result_can_have_is_a_failure_of_its_photo(bundle, calls, tmp_path, names):
    class Named(Source):
        def __getitem__(self, index):
            record = super().__getitem__(index)
            return record | {"name": names[index]} if index < 2 else record

    result = run(bundle, Named(), tmp_path, save_maps=True)
    ((name, reason),) = result.failures
    assert name in names
    assert f"results of {name} cannot be written" in reason
    assert len(result.scores) == 9
    assert name not in {row[0] for row in result.scores}


def test_a_mask_of_another_size_is_a_failure_of_its_photo(bundle, calls, tmp_path):
    class Wrong(Source):
        def __getitem__(self, index):
            record = super().__getitem__(index)
            return record | {"mask": np.ones((5, 6), bool)} if index == 7 else record

    result = run(bundle, Wrong(), tmp_path)
    ((name, reason),) = result.failures
    assert name == "crack/7.jpg"
    assert "6 x 5 pixels: expected the 33 x 33 of its photo" in reason
    assert len(result.scores) == 9


def test_limit_is_spread_over_the_source(bundle, calls, tmp_path):
    result = run(bundle, Source(), tmp_path, limit=4)
    assert [row[0] for row in result.scores] == [
        "crack/1.jpg",
        "crack/3.jpg",
        "good/6.jpg",
        "good/8.jpg",
    ]
    assert {row[1] for row in result.scores} == set(Source.categories)


def test_only_failures(bundle, calls, tmp_path):
    result = run(bundle, Source(broken=set(range(10))), tmp_path)
    assert len(result.failures) == 10
    assert result.scores == []
    assert result.metrics["mean"] == dict.fromkeys(METRICS)
    assert result.metrics["timing"]["images"] == 0


def test_faulty_weights_are_a_failure_of_each_photo(bundle, calls, tmp_path, monkeypatch):
    def segment(model, images, *args, config):
        maps = np.full(images.shape[:3], np.nan, np.float32)
        return Segmentation(maps, maps[:, 0, 0], maps)

    monkeypatch.setattr(pipeline, "segment", segment)
    result = run(bundle, Source(), tmp_path)
    assert len(result.failures) == 10
    assert "not finite" in result.failures[0][1]


def test_results_of_another_configuration_are_refused(bundle, calls, tmp_path):
    directory = run(bundle, Source(), tmp_path).directory
    (directory / "notes.txt").write_text("mine")
    (directory / "overlays" / "stale.jpg").write_text("old")
    run(bundle, Source(), tmp_path, batch_size=3)  # the batch size changes no result
    assert not (directory / "overlays" / "stale.jpg").exists()
    before = (directory / "metrics.json").read_text()
    count = len(calls)
    with pytest.raises(ConfigError, match=r"pipeline\.top_k was 5, is 4.*--overwrite"):
        run(bundle, Source(), tmp_path, config=PipelineConfig(method="umci", top_k=4))
    assert len(calls) == count
    assert (directory / "metrics.json").read_text() == before
    run(bundle, Source(), tmp_path, config=PipelineConfig(method="umci", top_k=4), overwrite=True)
    (directory / "run.json").unlink()
    with pytest.raises(ConfigError, match="unknown origin"):
        run(bundle, Source(), tmp_path)
    assert (directory / "notes.txt").read_text() == "mine"


def test_bad_settings_are_refused_before_computing(bundle, calls, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"output directory .*file.* cannot be written"):
        run(bundle, Source(), tmp_path / "file")
    for name in ("limit", "batch_size"):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            run(bundle, Source(), tmp_path, **{name: 0})
    with pytest.raises(ConfigError, match="image_threshold is 2"):
        run(bundle, Source(), tmp_path, threshold=2.0)
    with pytest.raises(DatasetError, match="no photos"):
        run(bundle, type("Empty", (Source,), {"__len__": lambda self: 0})(), tmp_path)
    assert not calls


def test_the_next_batch_is_dispatched_before_the_previous_is_fetched(
    bundle, calls, tmp_path, monkeypatch
):
    order = []
    inner = pipeline.segment

    def segment(*args, **kwargs):
        order.append("dispatch")
        return inner(*args, **kwargs)

    add = evaluation.Collector.add

    def noted(self, *args):
        order.append("collect")
        return add(self, *args)

    monkeypatch.setattr(pipeline, "segment", segment)
    monkeypatch.setattr(evaluation.Collector, "add", noted)
    run(bundle, Source(), tmp_path, batch_size=1)
    assert order[:4] == ["dispatch", "dispatch", "collect", "dispatch"]
    assert order[-2:] == ["collect", "collect"]


def without_timing(directory):
    stored = json.loads((directory / "metrics.json").read_text())
    del stored["timing"]
    return stored


def interrupt_after(monkeypatch, batches):
    """`segment` fails, as a kill would, when so many batches are computed."""
    inner, seen = pipeline.segment, []

    def segment(*args, **kwargs):
        if len(seen) == batches:
            raise KeyboardInterrupt
        seen.append(1)
        return inner(*args, **kwargs)

    monkeypatch.setattr(pipeline, "segment", segment)
    return inner


@pytest.mark.parametrize("batches", [1, 4])
def test_an_interrupted_run_goes_on_with_the_same_result(
    bundle, calls, tmp_path, monkeypatch, batches
):
    options = {"batch_size": 2, "fingerprint": "data", "journal_seconds": 0.0, "save_maps": True}
    source = Source(broken={4})
    whole = run(bundle, source, tmp_path / "whole", **options)
    needed = len(calls)
    inner = interrupt_after(monkeypatch, batches)
    with pytest.raises(KeyboardInterrupt):
        run(bundle, source, tmp_path / "cut", **options)
    directory = tmp_path / "cut" / "mvtec" / "umci"
    assert not (directory / "metrics.json").exists()
    (directory / "overlays").mkdir(exist_ok=True)
    (directory / "overlays" / ".half.part").write_text("x")
    monkeypatch.setattr(pipeline, "segment", inner)
    before = len(calls)
    result = run(bundle, source, tmp_path / "cut", **options)
    # The batch on its way when the run stopped is computed once more.
    assert len(calls) - before == needed - max(batches - 1, 0)
    assert without_timing(directory) == without_timing(whole.directory)
    names = {p.relative_to(whole.directory) for p in whole.directory.rglob("*") if p.is_file()}
    assert {p.relative_to(directory) for p in directory.rglob("*") if p.is_file()} == names
    assert "journal.npz" not in {name.name for name in names}
    for name in names:
        if name.name not in ("metrics.json", "report.json"):
            assert (directory / name).read_bytes() == (whole.directory / name).read_bytes(), name
    assert result.failures == whole.failures
    assert result.overlays == [directory / p.relative_to(whole.directory) for p in whole.overlays]


def test_photos_that_can_be_read_again_are_no_failures(bundle, calls, tmp_path, monkeypatch):
    class Away(Source):
        def __getitem__(self, index):
            if index == 0:
                raise OSError("no route to host")
            return super().__getitem__(index)

    options = {"batch_size": 1, "fingerprint": "data", "journal_seconds": 0.0}
    inner = interrupt_after(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        run(bundle, Away(broken={1}), tmp_path, **options)
    monkeypatch.setattr(pipeline, "segment", inner)
    result = run(bundle, Source(), tmp_path, **options)
    assert result.reused
    assert result.failures == []
    assert len(result.scores) == 10


def test_one_process_writes_results_at_a_time(bundle, calls, tmp_path):
    directory = tmp_path / "mvtec" / "umci"
    code = (
        "import sys; from zsas_jax.files import sole_writer\n"
        "with sole_writer(sys.argv[1]): print('ready', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"ready\n"
        with pytest.raises(ConfigError, match=r"mvtec/umci.*another --output-dir"):
            run(bundle, Source(), tmp_path)
        other.kill()  # One that dies lets go.
    scores = run(bundle, Source(), tmp_path, fingerprint="data").scores
    assert len(scores) > 0
    with sole_writer(directory):  # Finished results are only read.
        assert run(bundle, Source(), tmp_path, fingerprint="data").scores == scores


def test_an_interruption_while_old_results_are_removed(bundle, calls, tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    whole = run(bundle, Source(), tmp_path, fingerprint="data", save_maps=True)
    count = len(calls)
    with monkeypatch.context() as patched:
        patched.setattr(results.shutil, "rmtree", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(bundle, Source(), tmp_path, fingerprint="data", save_maps=True, overwrite=True)
    again = run(bundle, Source(), tmp_path, fingerprint="data", save_maps=True)
    assert again.reused == 0
    assert len(calls) == 2 * count
    assert again.scores == whole.scores


def test_a_full_disk_keeps_what_was_computed(bundle, calls, tmp_path, monkeypatch):
    saved = []

    def save(path, *args, **kwargs):
        saved.append(path)
        if len(saved) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    options = {"batch_size": 1, "fingerprint": "data", "journal_seconds": 0.0, "save_maps": True}
    with monkeypatch.context() as patched:
        patched.setattr(collector.files, "save_mask_png", save)
        with pytest.raises(OSError, match="No space left"):
            run(bundle, Source(), tmp_path, **options)
    assert run(bundle, Source(), tmp_path, **options).reused == 4


def test_small_maps_that_do_not_fit_leave_nothing(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            collector.open_small_maps(tmp_path, 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    maps = collector.open_small_maps(tmp_path, 20)
    assert maps.shape == (20, 48, 48)
    assert np.isnan(maps).all()


def test_finished_results_are_taken_over_while_nothing_changed(bundle, calls, tmp_path):
    first = run(bundle, Source(broken={3}), tmp_path, fingerprint="data")
    count = len(calls)
    again = run(bundle, Source(broken={3}), tmp_path, fingerprint="data")
    assert len(calls) == count
    assert again._replace(reused=0) == first
    assert again.reused == 9
    run(bundle, Source(broken={3}), tmp_path, fingerprint="other photos")
    assert len(calls) == 2 * count
    run(bundle, Source(broken={3}), tmp_path, fingerprint="other photos", overwrite=True)
    run(bundle, Source(broken={3}), tmp_path)  # nothing is known of the data
    assert len(calls) == 4 * count
    (first.directory / "metrics.json").unlink()
    run(bundle, Source(broken={3}), tmp_path, fingerprint="data")
    assert len(calls) == 5 * count


def test_a_record_that_cannot_be_read_is_a_failure(bundle, calls, tmp_path):
    class Damaged(Source):
        def __getitem__(self, index):
            if index == 5:
                raise OSError("input/output error")
            return super().__getitem__(index)

    result = run(bundle, Damaged(), tmp_path)
    assert result.failures == [("photo 5", "photo 5 cannot be read: input/output error")]
    assert len(result.scores) == 9


def test_strips_of_the_best_median_worst_and_highest_good_picture(bundle, calls, tmp_path):
    config = dataclasses.replace(bundle.config.pipeline, method="cascade")
    result = run(bundle, Source(), tmp_path, config=config, strips_per_category=1)
    details = json.loads((result.directory / "report.json").read_text())
    by_category = {}
    for strip in details["strips"]:
        by_category.setdefault(strip["category"], []).append(strip)
    assert set(by_category) == set(Source.categories)
    # Of the five pictures of a category two or three are anomalous.
    kinds = {name: [strip["kind"] for strip in strips] for name, strips in by_category.items()}
    assert kinds["tile"] == ["best", "median", "worst", "highest good"]
    aps = [strip["ap"] for strip in by_category["tile"][:3]]
    assert aps == sorted(aps, reverse=True)
    for strip in details["strips"]:
        captions = [panel["caption"] for panel in strip["panels"]]
        assert captions[0] == "photo"
        assert captions[-1] == "result"
        assert {"rough map", "prompts", "anomaly map"} <= set(captions)
        for panel in strip["panels"]:
            with Image.open(result.directory / panel["file"]) as picture:
                assert list(picture.size) == panel["size"]
    good = max(
        (row for row in result.scores if row[1] == "tile" and row[2] == "good"),
        key=lambda row: row[3],
    )
    assert by_category["tile"][3]["name"] == good[0]
    ap = {photo["name"]: photo["ap"] for photo in details["photos"]}
    image, mask = Source().arrays(1)
    small = resize_map(fake_map(image), 518, 518), resize_mask(mask, 518, 518)
    assert ap["crack/1.jpg"] == pytest.approx(evaluate_maps(*[[x] for x in small])["pixel_ap"])
    assert ap["good/0.jpg"] is None


def test_maps_are_written_where_asked(bundle, calls, tmp_path):
    result = run(bundle, Source(), tmp_path, save_maps=True)
    assert len(list((result.directory / "maps").rglob("*.png"))) == 10
    maps = np.load(result.directory / "small_maps.npy")
    assert maps.shape == (10, 48, 48)
    image, _ = Source().arrays(2)
    assert float(maps[2].mean()) == pytest.approx(fake_map(image).mean(), abs=0.01)


def test_defect_types_and_confidence_intervals(bundle, calls, tmp_path):
    options = MetricOptions(
        by_defect_type=True, bootstrap=20, boundary_thresholds=(0.5,), pro_200=True
    )
    result = run(bundle, Source(), tmp_path, metric_options=options, resolution=64)
    metrics = result.metrics
    for category in Source.categories:
        row = metrics["defect_types"][category]["crack"]
        # One defect type alone: its rows are the category's.
        assert row == {name: metrics["categories"][category][name] for name in METRICS}
    assert set(metrics["mean"]) == {*METRICS, "boundary_f1", "pixel_pro_200"}
    low, high = metrics["confidence"]["mean"]["pixel_auroc"]
    assert low <= metrics["mean"]["pixel_auroc"] <= high
