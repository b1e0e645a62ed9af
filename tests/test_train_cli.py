"""train.py's command line: bad input is one sentence and exit code 2."""

import pathlib
import runpy

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def main():
    return runpy.run_path(str(ROOT / "train.py"))["main"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config", "configs/nope.py"], "configs/nope.py was not found"),
        (["--optimizer.lerning-rate", "3"], "did you mean --optimizer.learning-rate"),
        (["--steps", "0"], "steps is 0: expected at least 1"),
        (["--resume"], "no run to resume"),
        (["--devices", "99"], "devices is 99: expected 1 to "),
        (
            ["--config", str(ROOT / "configs" / "umci_visa.py"), "--optimizer.accumulation", "3"],
            "batch_size is 8: expected a multiple of the 3 parts",
        ),
        (["--optimizer.accumulation", "2"], "with task 'sam' the loss of a batch is not the mean"),
        (["--data-dir", "photos"], "auxiliary.data_dir is 'photos', but task 'sam' trains on the"),
        (["--coordinator", "127.0.0.1:1"], "expected --num-processes and --process-id too"),
    ],
)
def test_bad_input_is_one_sentence(main, capsys, tmp_path, arguments, message):
    if "--config" not in arguments:
        fresh = ["--init", "--sam-task.no-from-clip"]
        arguments = ["--config", str(ROOT / "configs" / "sam_tiny.py"), *fresh, *arguments]
    arguments += ["--data.pictures", "2", "--data.size", "64", "--data.workers", "1"]
    arguments += ["--data.cache-dir", str(tmp_path), "--output-dir", str(tmp_path / "run")]
    assert main(arguments) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


@pytest.mark.parametrize(
    "name",
    [
        "clip_tiny",
        "clip_tiny_2",
        "clip_tiny_3",
        "clip_tiny_4",
        "clip_tiny_5",
        "clip_tiny_6",
        "clip_tiny_7",
        "clip_tiny_8",
        "clip_tiny_9",
        "sam_tiny",
        "sam_tiny_2",
        "umci_tiny",
        "umci_mvtec",
        "umci_visa",
    ],
)
def test_every_config_builds(name):
    from zsas_jax.cli.common import load_config_file
    from zsas_jax.training.config import TrainConfig

    config = load_config_file(ROOT / "configs" / f"{name}.py", TrainConfig)
    assert name.startswith(config.task)
