"""Bad input of every subcommand: one sentence on stderr, exit code 2, no traceback."""

import contextlib
import errno
import os
import pathlib

import pytest

from zsas_jax.__main__ import COMMANDS, main
from zsas_jax.cli import common, runs
from zsas_jax.errors import ConfigError, DatasetError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TRAIN = ["train", "--config", "tiny"]
VISA = ["train", "--config", "umci_visa"]


def refused(capsys, arguments):
    """The one sentence that a command refuses its arguments with."""
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("error: ")
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evalute"], ["'evalute'", "did you mean 'evaluate'"]),
        # Flags and values.
        (["evaluate", "--datset", "mtd"], ["--datset", "did you mean '--dataset'"]),
        (["evaluate", "--refiner.regins", "3"], ["--refiner.regins", "'--refiner.regions'"]),
        (["evaluate", "--method", "clip", "--refiner.regions", "3"], ["method clip"]),
        (["evaluate", "--method", "cascad"], ["'cascad'", "did you mean 'cascade'"]),
        (["evaluate", "--methods", "umci", "umci+mrm"], ["umci+mrm", "did you mean 'mmr'"]),
        (["evaluate", "--dtype", "float8"], ["float8", "did you mean 'float32'"]),
        (["evaluate", "--limit", "many"], ["--limit", "many"]),
        (["evaluate", "--batch-size"], ["--batch-size"]),
        (["evaluate", "--refiner.foreground.quantile", "3"], ["quantile is 3.0: expected between"]),
        (["evaluate", "--threshold", "3"], ["image_threshold is 3.0: expected between"]),
        (["evaluate", "--refine-at-a-time", "-1"], ["refine_at_a_time is -1: expected at least"]),
        (["evaluate", "--config", "missing.py"], ["missing.py", "was not found"]),
        (["evaluate", "--checkpoint", "nowhere"], ["'nowhere' was not found"]),
        # Flags that do not go together.
        (["evaluate", "--mask-dir", "masks"], ["--mask-dir", "folder", "synthetic"]),
        (["evaluate", "--calibrate", "--dataset", "mtd"], ["--calibrate", "folder", "mtd"]),
        (["evaluate", "--false-alarm-rate", "2"], ["--false-alarm-rate is 2.0", "like 0.01"]),
        (["evaluate", "--datasets", "folder=a", "folder=b"], ["folder=a and folder=b"]),
        (["evaluate", "--methods", "umci", "--method", "clip"], ["--method", "--methods", "both"]),
        (["evaluate", "--datasets", "mtd=x", "mvtec=y", "--data-dir", "a"], ["NAME=DIR"]),
        (["evaluate", "--data-dir", os.fsdecode(b"f\xfcr")], [r"f\xfcr", "is not UTF-8"]),
        (["evaluate", "--compare", "here", "there"], ["here", "metrics.json is missing"]),
        # Data.
        (["evaluate", "--dataset", "mvtek"], ["'mvtek'", "did you mean 'mvtec'"]),
        (["evaluate", "--dataset", "mvtec"], ["--data-dir"]),
        (["evaluate", "--dataset", "folder", "--data-dir", "nowhere"], ["does not exist"]),
        (["evaluate", "--categories", "unicorn"], ["unicorn"]),
        (["predict"], ["expected files or folders"]),
        (["predict", "a.jpg", "--method", "clp"], ["'clp'", "did you mean 'clip'"]),
        # Training.
        (["train"], ["--config"]),
        (["train", "--config", "nope"], ["nope was not found"]),
        ([*TRAIN, "--result", "nothing"], ["result names 'nothing'"]),
        ([*VISA, "--optimizer.lerning-rate", "3"], ["learning-rate"]),
        (
            [*VISA, "--optimizer.accumulation", "3"],
            ["multiple of the 3"],
        ),
        ([*VISA, "--task.unknown-word", "2"], ["between 0 and 1"]),
        ([*VISA, "--devices", "99"], ["devices is 99: expected 1"]),
        (
            [*VISA, "--resume", "--output-dir", "no"],
            ["no run to resume"],
        ),
        ([*TRAIN, "--resume", "--output-dir", "no"], ["no recipe to resume"]),
        ([*TRAIN, "--coordinator", "127.0.0.1:1"], ["--num-processes and --process-id too"]),
        ([*TRAIN, "--process-id", "1"], ["--coordinator or --distributed"]),
        # The rest.
        (["weights", "convrt"], ["did you mean 'convert'"]),
        (["weights", "convert", "--output", "x"], ["nothing to convert"]),
        (["weights", "verify", "nowhere"], ["'nowhere' was not found"]),
        (["data", "chck"], ["did you mean 'check'"]),
        (["data", "check", "mvtec"], ["--data-dir"]),
        (["ablations", "--config", "ablations_tiny", "--studies", "sum"], ["studies has 'sum'"]),
        (["ablations", "--config", "umci_visa"], ["CONFIG = Ablations"]),
    ],
)
def test_one_sentence(capsys, monkeypatch, tmp_path, arguments, words):
    monkeypatch.chdir(tmp_path)
    message = refused(capsys, arguments)
    for word in words:
        assert word in message


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_flags(command, capsys):
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    assert "--" in capsys.readouterr().out


def test_help_lists_the_settings_of_the_chosen_method(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--method", "umci+mmr", "--help"])
    text = capsys.readouterr().out
    for words in ("--mask-dir", "--refiner.divisor", "--head.views.turns", "Eq. 9", "clipsam"):
        assert words in text
    assert "--refiner.points.top-k" not in text


def test_config_files(tmp_path):
    file = tmp_path / "a.py"
    cases = {
        "x = 1": "no CONFIG",
        "CONFIG = 1": "type int",
        "1 / 0": "ZeroDivisionError",
        "def": "SyntaxError",
        "from zsas_jax.parts.scores import Score\nCONFIG = Score(top_fraction=2)": "top_fraction",
    }
    for text, words in cases.items():
        file.write_text(text)
        with pytest.raises(ConfigError, match=words) as caught:
            common.load_config_file(file, dict)
        assert str(file) in str(caught.value)
    (tmp_path / "a.yaml").write_text("")
    with pytest.raises(ConfigError, match="no Python file"):
        common.load_config_file(tmp_path / "a.yaml", dict)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "Disk full"), "a file cannot be written (Disk full): expected"),
        (OSError(errno.EFBIG, "Large", "a/.b.part"), "a cannot be written (Large): expected a d"),
        (PermissionError(errno.EACCES, "No", "a/b"), "a/b cannot be read or written (No): expec"),
        (NotADirectoryError(errno.ENOTDIR, "No", "a", None, "b"), "b cannot be read or written"),
        (DatasetError("x is empty: expected photos"), "x is empty: expected photos"),
    ],
)
def test_errors_of_files_and_of_the_library(capsys, error, words):
    with common.exit_on_error() as outcome:
        raise error
    assert outcome.code == 2
    assert capsys.readouterr().err.startswith(f"error: {words}")


def test_interruption_and_bugs(monkeypatch, capsys):
    def interrupt(tasks):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_all", interrupt)
    assert main(["evaluate"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    monkeypatch.setattr(runs, "run_all", lambda tasks: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate"])


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


def test_scripts_are_the_subcommands():
    for name in ("train", "evaluate"):
        text = (ROOT / f"{name}.py").read_text()
        assert f'run("{name}"' in text
        assert len(text.splitlines()) < 30
