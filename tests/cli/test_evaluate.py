"""`zsas evaluate` and `zsas predict` from arguments to files, with a method without networks."""

import json
import shutil

import numpy as np
import pytest
import toy_method
from PIL import Image

from zsas_jax import methods
from zsas_jax.__main__ import main
from zsas_jax.checkpoints import Compute, Verdict, checkpoint_path, read_config
from zsas_jax.checkpoints.manifest import write_manifest
from zsas_jax.cli import arguments


@pytest.fixture(autouse=True, scope="module")
def toy():
    forget = toy_method.register()
    yield
    forget()


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    return tmp_path


def tasks(line):
    args, rest = arguments.parse(line.split())
    return arguments.tasks(args, rest, "zsas evaluate")


def photos(folder, levels):
    folder.mkdir(parents=True)
    for number, level in enumerate(levels):
        picture = np.full((20, 30, 3), level, np.uint8)
        Image.fromarray(picture).save(folder / f"{number}.png")
    return folder


def test_settings_come_from_checkpoint_file_and_flags():
    stored = methods.settings(read_config("tiny"), "cascade")
    (task,) = tasks("")
    assert (task.method, task.config) == ("cascade", stored)
    assert task.verdict == read_config("tiny").verdicts["cascade"]
    (task,) = tasks(
        "--method umci+cascade --refiner.regions 4 --head.views.image-size 128 --dtype bfloat16 "
        "--refine-at-a-time 1 --threshold 0.25 --mask-threshold 0.5"
    )
    assert task.method == "cascade"
    assert (task.config.refiner.regions, task.config.head.views.image_size) == (4, 128)
    assert task.config.refiner.rough_weight == stored.refiner.rough_weight
    assert task.compute == Compute("bfloat16", 1)
    assert task.verdict == Verdict(0.5, 0.25)


def test_a_config_file_comes_between(place):
    text = 'CONFIG = {"method": "umci", "settings": {"head": {"stages": 3}}}'
    (place / "mine.py").write_text(text)
    (task,) = tasks("--config mine.py")
    assert (task.method, task.config.head.stages) == ("umci", 3)
    assert task.config.head.views.image_size == 448  # the checkpoint's
    (task,) = tasks("--config mine.py --head.stages 2")
    assert task.config.head.stages == 2
    (place / "mine.py").write_text('CONFIG = {"metod": "umci"}')
    assert main(["evaluate", "--config", "mine.py"]) == 2


def test_several_of_everything(place):
    for name in ("a/one", "b/one"):
        shutil.copytree(checkpoint_path("tiny"), place / name)
    line = "--datasets synthetic mtd=tiles --methods clip umci --checkpoints a/one b/one --limit 3"
    found = [
        (t.args.checkpoint, t.args.dataset, str(t.args.data_dir), t.method, str(t.output_dir))
        for t in tasks(line)
    ]
    assert found == [
        (checkpoint, dataset, data_dir, method, folder)
        for checkpoint, folder in (("a/one", "results/a-one"), ("b/one", "results/b-one"))
        for dataset, data_dir in (("synthetic", "None"), ("mtd", "tiles"))
        for method in ("clip", "umci")
    ]


def test_a_folder_becomes_maps_tables_and_a_report(place, capsys):
    photos(place / "photos", [50, 200])
    (place / "photos" / "broken.png").write_bytes(b"no picture")
    line = "evaluate --dataset folder --data-dir photos --method toy --gain 0.5"
    assert main(line.split()) == 1
    out = capsys.readouterr().out
    assert "1 of 3 photos failed" in out
    assert out.index("1.png") < out.index("0.png")  # highest score first
    results = place / "results" / "folder" / "toy"
    level = np.asarray(Image.open(results / "maps" / "1.png.png"))
    assert abs(int(level[0, 0]) - 65535 * 100 / 255) < 2
    settings = json.loads((results / "metrics.json").read_text())["config"]
    assert settings["settings"]["gain"] == 0.5
    assert (
        "<svg" in (results / "report.html").read_text()
        or "photos" in (results / "report.html").read_text()
    )
    # The same command again computes nothing but what failed.
    assert main(line.split()) == 1


def test_calibration_is_found_by_later_runs(place, capsys):
    shutil.copytree(checkpoint_path("tiny"), place / "mine")
    photos(place / "good", range(10, 30))
    photos(place / "line", [15, 200])
    common = [
        "--dataset",
        "folder",
        "--checkpoint",
        "mine",
        "--method",
        "toy",
        "--categories",
        "metal_nut",
    ]
    good = ["evaluate", "--data-dir", "good", "--calibrate", "--false-alarm-rate", "0.1"]
    assert main([*good, *common]) == 0
    out = capsys.readouterr().out
    assert "asked for a rate of 0.1" in out
    assert (place / "mine" / "thresholds.json").is_file()
    assert main(["evaluate", "--data-dir", "line", *common[:-1], "metal nut"]) == 0
    assert "calibrated on 20 photos of good" in capsys.readouterr().err
    scores = (place / "results" / "folder" / "toy" / "scores.csv").read_text()
    assert "0.png" in scores
    assert [line.split(",")[4] for line in scores.splitlines()[1:]] == ["good", "anomalous"]
    # Other settings have no threshold; another category was never calibrated.
    again = ["evaluate", "--data-dir", "line", "--overwrite", *common]
    assert main([*again, "--gain", "0.9"]) == 0
    assert "toy was calibrated for" in capsys.readouterr().err
    assert main([*good, "--false-alarm-rate", "0.001", *common]) == 0
    assert "20 photos are too few for a rate of 0.001: expected at least 999" in (
        capsys.readouterr().out
    )


def test_training_data_are_warned_about(place, capsys):
    shutil.copytree(checkpoint_path("tiny"), place / "mine")
    about = {"trained_on": ["VisA", "parts/screws.py", "MTD"]}
    (place / "mine" / "provenance.json").write_text(json.dumps(about))
    write_manifest(place / "mine")
    tiles = photos(place / "tiles" / "MT_Free" / "Imgs", [50, 60])
    for path in tiles.iterdir():
        Image.open(path).convert("RGB").save(path.with_suffix(".jpg"))
        path.unlink()
    line = "evaluate --dataset mtd --data-dir tiles --checkpoint mine --method toy"
    main(line.split())
    assert "was trained on mtd: these results are not zero-shot" in capsys.readouterr().err


def test_two_runs_are_compared(place, capsys):
    photos(place / "photos", [50, 200])
    line = "evaluate --dataset folder --data-dir photos --method toy"
    assert main(line.split()) == 0
    assert main(f"{line} --gain 0.5 --output-dir other".split()) == 0
    capsys.readouterr()
    runs = ["results/folder/toy", "other/folder/toy"]
    assert main(["evaluate", "--compare", *runs, "--output-dir", "changes"]) == 0
    assert "gain" in capsys.readouterr().out
    assert (place / "changes" / "comparison.html").is_file()


def test_predict_prints_a_line_for_each_photo(place, capsys):
    photos(place / "photos", [50, 200])
    (place / "broken.png").write_bytes(b"no picture")
    line = "predict photos photos/1.png broken.png --method toy --threshold 0.5 --output-dir out"
    assert main(line.split()) == 1
    out, err = capsys.readouterr()
    found = [row.split() for row in out.splitlines()]
    assert [(score, verdict) for score, verdict, _ in found] == [
        ("0.196", "good"),
        ("0.784", "anomalous"),
    ]
    assert "broken.png" in err
    assert sorted(path.name for path in (place / "out" / "maps").iterdir()) == [
        "0.png.png",
        "1.png.png",
    ]
