"""Result files, and the command that writes and shows them."""

import json
import pathlib

import pytest

from zsas_jax.__main__ import main
from zsas_jax.benchmarks import results
from zsas_jax.cli import benchmarks
from zsas_jax.errors import ConfigError


def test_a_file_says_what_was_measured_with_what(tmp_path):
    file = tmp_path / "new" / "figures.json"
    results.save(file, "line", {"model": "tiny", "peer": False}, [{"question": "Q?", "x": 0.5}])
    facts = json.loads(file.read_text())
    assert facts["rows"] == [{"question": "Q?", "x": 0.5}]
    assert {"benchmark", "commit", "versions", "machine", "arguments"} <= set(facts)
    assert "`zsas benchmarks line --model tiny --no-peer`" in results.markdown([file])


def test_every_question_has_a_table_with_the_rows_of_all_files(tmp_path):
    files = [tmp_path / "zen4.json", tmp_path / "zen5.json"]
    for file, seconds in zip(files, (0.12345, 3.0), strict=True):
        rows = [
            {"question": "How long?", "program": "ours", "seconds": seconds},
            {"question": "How large?", "program": "ours", "GiB": 250.0},
        ]
        results.save(file, "encoders", {}, rows)
    long, large = results.markdown(files).split("### ")[1:]
    assert long.startswith("How long?\n\n| file | program | seconds |")
    assert "| zen4 | ours    | 0.123   |" in long
    assert "| zen5 | ours    | 3       |" in long
    assert "| zen5 | ours    | 250 |" in large
    assert large.count("- `zen") == 2


def test_cells_that_a_row_lacks_are_empty():
    assert results.table([{"a": 1}, {"b": 2.0}]).splitlines()[2:] == ["| 1 |   |", "|   | 2 |"]


def test_a_foreign_file_is_refused(tmp_path):
    file = tmp_path / "other.json"
    file.write_text('{"rows": [1]}')
    with pytest.raises(ConfigError, match=r"other\.json cannot be read"):
        results.markdown([file])


def test_the_command_writes_its_file_and_prints_the_tables(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("zsas_jax.benchmarks.metrics._SIDE", 200)
    output = tmp_path / "figures.json"
    given = ["metrics", "--maps", "4", "--repeats", "1", "--no-peer", "--output", str(output)]
    assert main(["benchmarks", *given]) == 0
    printed = capsys.readouterr().out
    assert "| 40,000  | ours" in printed
    assert "MiB above the maps" in printed
    assert json.loads(output.read_text())["arguments"]["maps"] == 4
    assert main(["benchmarks", "table", str(output)]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["speed"], "'speed' is not known"),
        (["pipeline", "--model", "nowhere"], "'nowhere' was not found"),
        (["line", "--percents", "101"], "shares"),
        (["line", "--repeats", "0"], "--repeats is 0"),
        (["encoders", "--models", "ViT-X"], "model is 'ViT-X'"),
        (["encoders", "--models", "ViT-B@wide"], "NAME@SIDE"),
        (["encoders", "--models", "umci"], "no peer"),
        (["weights", "--size", "ViT-X"], "--size is 'ViT-X'"),
        (["metrics", "--maps", "0"], "--maps is 0"),
        (["table", "missing.json"], "missing.json"),
    ],
)
def test_bad_input_is_one_sentence(capsys, given, message):
    assert main(["benchmarks", *given]) == 2
    assert message in capsys.readouterr().err


def test_missing_peers_are_one_sentence(capsys, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(benchmarks.importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'zsas_jax\[test\]'"):
        benchmarks._measure("line", benchmarks.Line(output=pathlib.Path("none.json")))
