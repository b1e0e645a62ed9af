import json

import pytest
from stored_runs import store_run

from zsas_jax.files import atomic_path, save_csv, save_json
from zsas_jax.metrics import METRICS
from zsas_jax.report.summary import summary
from zsas_jax.report.tables import metrics_table


def write_half(path):
    with atomic_path(path) as part:
        part.write_text("half")
        raise RuntimeError


def test_a_failed_write_leaves_nothing_and_keeps_the_old_file(tmp_path):
    save_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(ValueError, match="JSON"):
        save_json(tmp_path / "a.json", {"new": float("nan")})
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "b")
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_csv_quotes_what_needs_it(tmp_path):
    save_csv(tmp_path / "a.csv", ["path", "score"], [['b, "c"/ü.png', 0.5]])
    assert (tmp_path / "a.csv").read_text("utf-8") == 'path,score\n"b, ""c""/ü.png",0.5\n'


def test_table():
    first = dict.fromkeys(METRICS, 0.5) | {"pixel_pro": None, "pixel_auroc": 0.98765}
    categories = {"bottle": first, "a longer name": dict.fromkeys(METRICS, 1.0)}
    lines = metrics_table(categories, dict.fromkeys(METRICS, 0.75)).text().splitlines()
    assert lines[2].split() == ["bottle", "98.8", "50.0", "50.0", "-", "50.0", "50.0", "50.0"]
    assert lines[-1].split() == ["mean", *["75.0"] * 7]
    assert len({len(line) for line in lines}) == 1
    assert "mean" not in metrics_table({"bottle": first}, first).text()
    markdown = metrics_table(categories, None).markdown().splitlines()
    assert all(line.count("|") == 9 for line in markdown[:4])


def test_a_summary_is_read_from_the_results(tmp_path):
    text = summary(store_run(tmp_path / "run"), reused=1, load_seconds=9.0)
    assert "magnetic tile" in text
    assert "518 x 518" in text
    assert "(1 photos taken over from the interrupted run)" in text
    assert "slowest steps: load 9.0 s, device 1.5 s" in text


def test_a_summary_without_masks_lists_the_highest_scores(tmp_path):
    text = summary(store_run(tmp_path / "run", labelled=False), reused=3)
    scores = [line.split()[0] for line in text.splitlines()[1:4]]
    assert scores == ["0.470", "0.460", "0.450"]
    assert "computed before" in text
