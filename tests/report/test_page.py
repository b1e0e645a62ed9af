import csv
import html.parser
import json
import re

import pytest
from stored_runs import NAMES, store_run

from zsas_jax.errors import ConfigError
from zsas_jax.report.charts import Series, histogram_chart, line_chart
from zsas_jax.report.compare import compare
from zsas_jax.report.literature import literature, published
from zsas_jax.report.runs import load_runs
from zsas_jax.report.tables import summary_table
from zsas_jax.report.write import write_reports


class Page(html.parser.HTMLParser):
    """Collects what a page shows and loads; checks that tags close in order."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.text, self.ids, self.links, self._open = [], [], [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.loads += [attrs[name] for name in ("src", "srcset", "data") if name in attrs]
        self.links += [attrs["href"]] if "href" in attrs else []
        self.ids += [attrs["id"]] if "id" in attrs else []
        assert tag != "script"
        if tag not in ("img", "meta", "link", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def runs(tmp_path):
    return [
        store_run(tmp_path / "mtd" / "umci", "umci"),
        store_run(tmp_path / "mtd" / "cascade", "cascade", shift=0.1),
    ]


def test_the_page_needs_nothing_from_outside(runs, tmp_path):
    paths = write_reports(runs, tmp_path / "mtd")
    text = paths[0].read_text("utf-8")
    page = Page(text)
    assert len(page.loads) == 30
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in page.loads)
    assert not re.search(r"url\((?!#)|@import|https?://|//[a-z]+\.", text)
    assert {link.removeprefix("#") for link in page.links if link != "data:,"} <= set(page.ids)
    shown = " ".join(page.text)
    for words in (
        *NAMES,
        "umci",
        "cascade",
        "MT_Crack",
        "60.0",
        "ClipSAM T4",
        "51.9",
        "the rows of ClipSAM T4, IAP-AS, SAA+ rest on 1344 (the published test set)",
        "trained on <mtd>",
        "Timing",
        '"threshold"',
    ):
        assert words in shown
    assert "<b>2" not in text
    assert "@media print" in text


def test_markdown_and_csv_say_the_same(runs, tmp_path):
    _, markdown, table = write_reports(runs, tmp_path / "mtd")
    text = markdown.read_text("utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| cascade | this run"))
    assert row.split("|")[4:8] == [" 60.0 "] * 4
    links = re.findall(r"\]\(<(.*?)>\)", text)
    assert len(links) == 30
    assert all((tmp_path / "mtd" / link).is_file() for link in links)
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(r["method"], r["category"], r["defect_type"]) for r in rows[:3]] == [
        ("umci", "mean", ""),
        ("umci", "magnetic tile", ""),
        ("umci", "magnetic tile", "MT_Crack"),
    ]
    assert float(rows[3]["pixel_ap"]) == 0.6


def test_runs_without_masks_show_pictures_alone(tmp_path):
    run = store_run(tmp_path / "folder" / "umci", dataset="folder", labelled=False)
    paths = write_reports([run], run)
    page = Page(paths[0].read_text("utf-8"))
    assert len(page.loads) == 15
    assert "No masks were given" in " ".join(page.text)


def test_unfinished_results_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no results \(metrics.json is missing\)"):
        write_reports([tmp_path], tmp_path)
    run = store_run(tmp_path / "run")
    (run / "report.json").write_text("{")
    with pytest.raises(ConfigError, match=r"report\.json is damaged"):
        write_reports([run], tmp_path)


def test_comparison_names_what_changed(runs, tmp_path):
    text = compare(*runs, tmp_path / "out")
    assert "the verdict changed for 3, 2 of 3 of them to the right one" in text
    assert "| config.method | umci | cascade |" in text
    assert "50.0 to 60.0 (+10.0)" in text
    pictures = text.split("## Pictures that differ most")[1]
    # The second picture's map differs in its upper half.
    assert pictures.index(NAMES[1]) < pictures.index(NAMES[0])
    assert "0.0500" in pictures
    page = Page((tmp_path / "out" / "comparison.html").read_text("utf-8"))
    assert len(page.loads) == 9
    assert (tmp_path / "out" / "comparison.md").read_text("utf-8") == text


def drawn(chart, colour):
    """Path and style of the first line of that colour."""
    found = re.search(rf'<path d="([^"]*)"[^>]*style="([^"]*stroke: {colour}[^"]*)"', chart)
    path, style = found.groups()
    return [tuple(map(float, point.split())) for point in re.split("[ML]", path)[1:]], style


def test_curves_are_drawn_where_they_are():
    chart = line_chart("T", [Series("a", [0, 0.5, 1], [0, 1, 1])], ("x", "y"))
    ((x0, y0), (x1, y1), _), _ = drawn(chart, "#0072b2")
    assert x1 > x0
    assert y1 < y0  # upwards
    steps = line_chart("T", [Series("a", [0, 0.5, 1], [1, 0.8, 0.4], True)], ("x", "y"))
    corners, _ = drawn(steps, "#0072b2")
    # Precision holds up to its point's recall.
    assert corners[1][0] == corners[0][0]
    assert corners[1][1] == corners[2][1] > corners[0][1]


def test_charts_are_told_apart_and_the_same_each_time():
    series = [Series("<a>", [0, 1], [0, 1]), Series("b", [0, 1], [1, 0])]
    chart = line_chart("T", series, ("x", "y"))
    assert chart == line_chart("T", series, ("x", "y"))
    dashes = ["stroke-dasharray" in drawn(chart, colour)[1] for colour in ("#0072b2", "#d55e00")]
    assert dashes == [False, True]
    assert ">&lt;a&gt;</text>" in chart
    assert "http" not in chart


def test_histograms_of_any_scores():
    assert histogram_chart("T", [0.0, 1.0], [0], [0], 0.5) == ""
    chart = histogram_chart("T", [0.0, 0.0, 0.0], [1, 0], [0, 2], 0.5)
    assert "1 good and 2 anomalous pictures" in chart
    assert all(f">{word}</text>" in chart for word in ("good", "anomalous", "verdict's threshold"))


def test_published_tables():
    cited = {row.source: row.citation for row in literature()}
    assert all(row.citation == cited[row.source] for row in literature())
    clipsam = next(r for r in published("mtd") if (r.method, r.source) == ("ClipSAM", "ClipSAM T4"))
    assert (clipsam.auroc, clipsam.f1_max, clipsam.ap, clipsam.pro) == (88.0, 55.2, 51.9, 71.3)
    assert next(r for r in published("mvtec") if r.method == "ClipSAM").pro == 88.3
    assert published("dtd_synthetic")[0].ap == published("DTD-Synthetic")[0].ap == 50.10
    assert published("synthetic") == []


@pytest.mark.parametrize(
    ("dataset", "images", "words"),
    [
        ("mpdd", 458, ["458 photos, the rows of IAP-AS rest on 282 (photos with defects alone)"]),
        ("ksdd2", 1004, ["1004 photos, the rows of SAA+ rest on 2331 (the training split)"]),
        ("ksdd2", 9, ["the rows of ClipSAM T4 rest on 1004 (the published", "SAA+ rest on 2331"]),
        ("mtd", 1344, []),
        ("mvtec", 1725, []),
    ],
)
def test_rows_of_other_photos_are_named(tmp_path, dataset, images, words):
    run = store_run(tmp_path / dataset / "umci", dataset=dataset)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["timing"]["images"] = images
    (run / "metrics.json").write_text(json.dumps(metrics))
    table = summary_table(dataset, load_runs([run]))
    assert table.note.count("not comparable") == len(words)
    for text in words:
        assert text in table.note
    assert {row[2] for row in table.rows if row[1] == "IAP-AS"} <= {"282", "1344", "1725"}


def test_ablations_of_clipsam_are_its_second_table():
    rows = [row for row in published("mvtec") if "ClipSAM without" in row.method]
    assert {row.source for row in rows} == {"ClipSAM T2"}
