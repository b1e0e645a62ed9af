import dataclasses
import errno
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import types

import pytest

from zsas_jax.cli import common, runs
from zsas_jax.cli import evaluate as command
from zsas_jax.config import PipelineConfig
from zsas_jax.errors import ConfigError, DatasetError
from zsas_jax.evaluation.run import EvaluationResult
from zsas_jax.metrics import METRICS

ROOT = pathlib.Path(__file__).resolve().parents[1]
STORED = PipelineConfig(method="clipsam", top_k=7, quantile=0.9, clip_image_size=256)


@pytest.fixture
def stored(monkeypatch):
    """A checkpoint whose config is STORED."""
    from zsas_jax.checkpoints import checkpoint
    from zsas_jax.config import Config

    monkeypatch.setattr(checkpoint, "read_config", lambda name: Config(pipeline=STORED))
    return STORED


@pytest.fixture
def script(monkeypatch, stored, tmp_path):
    """The module evaluate.py, with no program cache."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("evaluate_script", ROOT / "evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_defaults(stored):
    args = command.parse([])
    assert args.dataset == "synthetic"
    assert args.checkpoint == "tiny"
    assert str(args.output_dir) == "results"
    assert args.pipeline == STORED


def test_every_flag_of_the_contract(stored, tmp_path):
    line = (
        "--dataset folder --data-dir photos --method umci --checkpoint somewhere --categories nut "
        "--prompts p.toml --batch-size 3 --limit 5 --seed 2 --threshold 0.25 --dtype bfloat16 "
        "--pipeline.top-k 4 --pipeline.return-masks True --output-dir out --overwrite "
        "--mask-dir masks --resolution native --devices 2 --save-maps --pictures 2 --bootstrap 50"
    )
    args = command.parse(line.split())
    assert args.data_dir == pathlib.Path("photos")
    assert args.mask_dir == pathlib.Path("masks")
    assert args.prompts == pathlib.Path("p.toml")
    assert args.categories == ("nut",)
    assert (args.batch_size, args.limit, args.seed, args.overwrite) == (3, 5, 2, True)
    assert args.resolution == "native"
    assert (args.devices, args.save_maps, args.pictures, args.bootstrap) == (2, True, 2, 50)
    expected = PipelineConfig(
        method="umci",
        top_k=4,
        quantile=0.9,
        clip_image_size=256,
        compute_dtype="bfloat16",
        image_threshold=0.25,
        return_masks=True,
    )
    assert args.pipeline == expected


def test_several_categories_and_either_spelling_of_a_field(stored):
    args = command.parse(["--categories", "metal nut", "pill", "--pipeline.top_k=9"])
    assert args.categories == ("metal nut", "pill")
    assert args.pipeline.top_k == 9


def test_config_file_comes_between_checkpoint_and_flags(stored, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from zsas_jax.config import Config, PipelineConfig\n"
        "CONFIG = Config(pipeline=PipelineConfig(top_k=2, regions=3))\n"
    )
    args = command.parse(["--config", str(file), "--pipeline.regions", "4"])
    assert args.pipeline == PipelineConfig(top_k=2, regions=4)
    file.write_text("CONFIG = 3")
    with pytest.raises(ConfigError, match=r"type int: expected a PipelineConfig"):
        command.parse([f"--config={file}"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--datset", "mtd"], ["--datset", "did you mean --dataset?"]),
        (["--pipeline.topk", "3"], ["--pipeline.topk", "did you mean --pipeline.top-k?"]),
        (["--method", "cascad"], ["'cascad'", "did you mean 'cascade'"]),
        (["--pipeline.method", "cascad"], ["cascad", "clipsam"]),
        (["--dtype", "float8"], ["float8", "did you mean 'float32'"]),
        (["--limit", "many"], ["--limit", "many"]),
        (["--batch-size"], ["--batch-size"]),
        (["stray"], ["stray"]),
        (["--pipeline.quantile", "3"], ["quantile", "3"]),
        (["--config", "missing.py"], ["missing.py", "was not found"]),
        (["--mask-dir", "masks"], ["--mask-dir", "folder", "synthetic"]),
        (["--calibrate", "--dataset", "mtd"], ["--calibrate", "folder", "mtd"]),
        (["--calibrate", "--dataset", "folder", "--mask-dir", "m"], ["--calibrate", "--mask-dir"]),
        (["--false-alarm-rate", "2"], ["--false-alarm-rate is 2.0", "like 0.01"]),
        (["--datasets", "folder=a", "folder=b"], ["folder=a and folder=b", "folder/clipsam"]),
        (["--datasets", "x/a.py=a", "y/a.py=b"], ["x/a.py=a and y/a.py=b", "--output-dir"]),
        (["--data-dir", os.fsdecode(b"f\xfcr")], [r"f\xfcr", "is not UTF-8"]),
        (["--methods", "umci", "cascad"], ["'cascad'", "did you mean 'cascade'"]),
        (["--methods", "umci", "--method", "clip"], ["--method", "--methods", "both"]),
        (["--datasets", "mtd=x", "mvtec=y", "--categories", "a"], ["--categories", "one data"]),
        (["--datasets", "mtd=x", "mvtec=y", "--data-dir", "a"], ["--data-dir", "NAME=DIR"]),
        (["--compare", "here"], ["--compare"]),
        (["--compare", "here", "there"], ["here", "metrics.json is missing"]),
    ],
)
def test_bad_arguments_are_one_sentence_and_exit_code_2(script, capsys, arguments, words):
    assert script.main(arguments) == 2
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert message.startswith("error: ")
    assert len(message.strip().splitlines()) == 1
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "mvtek"], ["'mvtek'", "did you mean 'mvtec'"]),
        (["--dataset", "mvtec"], ["--data-dir"]),
        (["--dataset", "folder", "--data-dir", "nowhere"], ["nowhere", "does not exist"]),
        (["--categories", "unicorn"], ["unicorn"]),
    ],
)
def test_bad_data_sets_are_refused_before_the_model_is_read(script, capsys, arguments, words):
    assert script.main(arguments) == 2
    message = capsys.readouterr().err
    for word in words:
        assert word in message
    assert len(message.strip().splitlines()) == 1


def fake_result(has_metrics=True, failures=(), directory="r"):
    values = dict.fromkeys(METRICS, 0.5 if has_metrics else None)
    metrics = {
        "categories": {"nut": values, "tile": values},
        "mean": values,
        "reasons": {},
        "config": {"resolution": 518},
        "timing": {"images_per_second": 2.0, "total_seconds": 8.0},
    }
    scores = [(f"{i}.png", "nut", "", i / 20, "good", 0.0) for i in range(20)]
    overlays = [pathlib.Path("results/a.jpg")]
    steps = {"device": 3.0, "compile": 5.0, "decode": 0.1}
    directory = pathlib.Path(directory)
    return EvaluationResult(directory, metrics, scores, list(failures), overlays, steps)


@pytest.fixture
def computed(monkeypatch):
    """Nothing is read or computed; the tasks are collected, `result` is what each gives."""
    seen = types.SimpleNamespace(tasks=[], result=fake_result)
    monkeypatch.setattr(runs, "open_source", lambda args: f"source of {args.dataset}")
    monkeypatch.setattr("zsas_jax.checkpoints.checkpoint.load", lambda name: f"bundle {name}")
    monkeypatch.setattr(runs, "_training_warnings", lambda args: [])

    def run(args, bundle, source):
        seen.tasks.append((args, bundle, source))
        return seen.result()

    monkeypatch.setattr(runs, "run", run)
    return seen


@pytest.mark.parametrize(("failures", "code"), [((), 0), ((("b.jpg", "b.jpg is empty"),), 1)])
def test_main_prints_table_pictures_and_slowest_steps(script, computed, capsys, failures, code):
    computed.result = lambda: fake_result(True, failures)
    assert script.main([]) == code
    assert computed.tasks[0][1:] == ("bundle tiny", "source of synthetic")
    out = capsys.readouterr().out
    assert "mean" in out
    assert "50.0" in out
    assert "results/a.jpg" in out
    assert ("failed.csv" in out) == bool(failures)
    assert "slowest steps: compile 5.0 s, device 3.0 s" in out


def test_without_labels_scores_are_printed_and_no_zeros(script, computed, capsys):
    computed.result = lambda: fake_result(False)
    assert script.main([]) == 0
    out = capsys.readouterr().out
    assert "AUROC" not in out
    assert out.index("19.png") < out.index("18.png")


def test_several_of_everything(script, computed, monkeypatch, capsys):
    reports = []
    monkeypatch.setattr(runs, "write_common_report", lambda r: reports.append(r) or ["all.html"])
    line = "--datasets synthetic mtd=tiles --methods clip umci --checkpoints a/one b/one --limit 3"
    assert script.main(line.split()) == 0
    seen = [
        (t.checkpoint, t.dataset, str(t.data_dir), t.pipeline.method, str(t.output_dir))
        for t, _, _ in computed.tasks
    ]
    assert seen == [
        (checkpoint, dataset, data_dir, method, folder)
        for checkpoint, folder in (("a/one", "results/a-one"), ("b/one", "results/b-one"))
        for dataset, data_dir in (("synthetic", "None"), ("mtd", "tiles"))
        for method in ("clip", "umci")
    ]
    assert [bundle for _, bundle, _ in computed.tasks] == ["bundle a/one"] * 4 + [
        "bundle b/one"
    ] * 4
    assert {t.limit for t, _, _ in computed.tasks} == {3}
    assert {t.pipeline.top_k for t, _, _ in computed.tasks} == {7}
    assert len(reports[0]) == 8
    assert "report of all: all.html" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--checkpoints=mine"], ["--checkpoints", "mine"]])
def test_the_first_checkpoint_gives_the_settings(script, monkeypatch, words):
    monkeypatch.setattr(
        command, "_starting_pipeline", lambda argv, checkpoint: asked.append(checkpoint) or STORED
    )
    asked: list[str] = []
    command.parse(words)
    assert asked == ["mine"]


def test_calibration_saves_the_threshold_where_it_is_found_again(
    script, computed, monkeypatch, capsys, tmp_path
):
    checkpoint = tmp_path / "mine"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    line = f"--dataset folder --data-dir good --checkpoint {checkpoint} --categories nut"
    assert script.main([*line.split(), "--calibrate", "--false-alarm-rate", "0.1"]) == 0
    out = capsys.readouterr().out
    assert "anomalous from an image score of 0.9000" in out
    assert "1 photos" not in out
    assert str(checkpoint / "thresholds.json") in out
    args = command.parse(line.split())
    (task,) = command.tasks(args, line.split())
    source = types.SimpleNamespace(categories=("nut",))
    found = runs._calibrated(task, source, STORED)
    assert found["image_threshold"] == pytest.approx(0.9, abs=1e-3)
    assert "calibrated on 20 photos of good" in capsys.readouterr().err
    other = dataclasses.replace(task, threshold=0.3)
    assert runs._calibrated(other, source, STORED) is None
    assert capsys.readouterr().err == ""
    # What it was not made for is said.
    settings = dataclasses.replace(task.pipeline, top_k=3)
    other = dataclasses.replace(task, pipeline=settings)
    assert runs._calibrated(other, source, STORED) is None
    assert "clipsam was calibrated for 'nut' with other weights, prompts or settings" in (
        capsys.readouterr().err
    )
    settings = dataclasses.replace(task.pipeline, method="umci")
    other = dataclasses.replace(task, pipeline=settings)
    assert runs._calibrated(other, source, STORED) is None
    assert "0.5000 was chosen for clipsam, not for umci" in capsys.readouterr().err
    assert script.main([*line.split(), "--calibrate"]) == 0
    assert "20 photos are too few for a rate of 0.01: expected at least 99" in (
        capsys.readouterr().out
    )


def test_training_data_are_warned_about(tmp_path, monkeypatch):
    (tmp_path / "manifest.json").write_text("{}")
    args = command.EvaluateArguments(dataset="mvtec", checkpoint=str(tmp_path))
    assert runs._training_warnings(args) == []
    trained_on = ["VisA", {"dataset": "MVTec"}, "parts/screws.py"]
    provenance = {"umci": {"trained_on": trained_on}, "files": ["mtd"]}
    (tmp_path / "provenance.json").write_text(json.dumps(provenance))
    assert runs.training_datasets(tmp_path) == {"visa", "mvtec", "screws"}
    (warning,) = runs._training_warnings(args)
    assert "was trained on mvtec: these results are not zero-shot" in warning
    assert runs._training_warnings(dataclasses.replace(args, dataset="mtd")) == []


def test_warnings_of_a_source_are_printed_once(script, computed, monkeypatch, capsys):
    source = types.SimpleNamespace(warnings=["5 masks of no photo"])
    monkeypatch.setattr(runs, "open_source", lambda args: source)
    monkeypatch.setattr(runs, "write_common_report", lambda results: ["all.html"])
    assert script.main(["--methods", "clip", "umci"]) == 0
    assert capsys.readouterr().err == "warning: 5 masks of no photo\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "Disk full"), "results cannot be written (Disk full): expected"),
        (
            OSError(errno.EFBIG, "Large", "a/.b.part"),
            "a cannot be written (Large): expected a disk",
        ),
        (PermissionError(errno.EACCES, "No", "a/b"), "a/b cannot be read or written (No): expec"),
        (NotADirectoryError(errno.ENOTDIR, "No", "a", None, "b"), "b cannot be read or written"),
    ],
)
def test_files_that_cannot_be_written_are_one_sentence(script, computed, capsys, error, words):
    def fail():
        raise error

    computed.result = fail
    assert script.main([]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"error: {words}")
    assert len(message.strip().splitlines()) == 1
    error.errno = errno.EIO
    with pytest.raises(OSError, match="Errno 5"):
        script.main([])


def test_interruption_and_bugs(script, monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "open_source", interrupt)
    assert script.main([]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    monkeypatch.setattr(runs, "open_source", lambda args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        script.main([])


def test_config_files(tmp_path):
    file = tmp_path / "a.py"
    cases = {
        "x = 1": "no CONFIG",
        "CONFIG = 1": "type int",
        "1 / 0": "ZeroDivisionError",
        "def": "SyntaxError",
        "from zsas_jax.config import PipelineConfig\nCONFIG = PipelineConfig(top_k=0)": "top_k",
    }
    for text, words in cases.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=words) as caught:
            common.load_config_file(file, PipelineConfig)
        assert str(file) in str(caught.value)
    file.write_text("from zsas_jax.config import PipelineConfig\nCONFIG = PipelineConfig(top_k=2)")
    assert common.load_config_file(file, PipelineConfig).top_k == 2
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(ConfigError, match="no Python file"):
        common.load_config_file(tmp_path / "a.yaml", PipelineConfig)


def test_library_errors_become_exit_code_2(capsys):
    with common.exit_on_error() as outcome:
        raise DatasetError("x is empty: expected photos")
    assert outcome.code == 2
    assert capsys.readouterr().err == "error: x is empty: expected photos\n"


def test_program_cache_directory(monkeypatch, tmp_path):
    import jax

    before = jax.config.jax_compilation_cache_dir
    try:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
        assert common.set_up_xla() == tmp_path / "zsas_jax" / "xla"
        assert jax.config.jax_compilation_cache_dir == str(tmp_path / "zsas_jax" / "xla")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
        assert common.set_up_xla() is None
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "x"))
        assert common.set_up_xla() is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize(
    ("gpu", "before", "after"),
    [
        (None, "--a=1", "--a=1"),
        ("/usr/bin/nvidia-smi", "--a=1", "--a=1 --xla_gpu_enable_triton_gemm=false"),
        ("/usr/bin/nvidia-smi", *["--xla_gpu_enable_triton_gemm=true"] * 2),
    ],
)
def test_only_gpus_get_xla_flags_and_those_of_the_user_count(gpu, before, after, monkeypatch):
    monkeypatch.setattr(common.shutil, "which", lambda name: gpu)
    monkeypatch.setenv("XLA_FLAGS", before)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")
    common.set_up_xla()
    assert os.environ["XLA_FLAGS"] == after


def test_help_names_every_flag():
    done = subprocess.run(
        [sys.executable, ROOT / "evaluate.py", "--help"], capture_output=True, text=True, check=True
    )
    for flag in ("--dataset", "--mask-dir", "--resolution", "--pipeline.ring-radius"):
        assert flag in done.stdout
    assert len((ROOT / "evaluate.py").read_text().splitlines()) < 100
