"""Published zero-shot results, in percent, to be put beside one's own.

Protocols differ between papers (resolution, PRO by 200 thresholds, map normalisation), so that
differences of a few points between two rows need not mean anything.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """One row of a paper's table, percent; None where it is not given."""

    method: str
    auroc: float | None
    f1_max: float | None
    ap: float | None
    pro: float | None
    source: str
    photos: int | None = None
    """That it rests on; None where this is not known."""
    note: str = ""
    """What is not the published test set about these."""


SOURCES = {
    "ClipSAM T1": "Li et al., ClipSAM (2024), Table 1",
    "ClipSAM T2": "Li et al., ClipSAM (2024), Table 2, ablation on MVTec-AD",
    "ClipSAM T4": "Li et al., ClipSAM (2024), Table 4",
    "ClipSAM T5": "Li et al., ClipSAM (2024), Table 5",
    "SAA+": "Cao et al., Segment Any Anomaly without Training (2023)",
    "IAP-AS": "IAP-AS, Image-Aware Prompt Anomaly Segmentation; F1 of 100 thresholds",
}

# Test photos of the published sets: with fewer, a result is not the published task.
_PHOTOS = {"mvtec": 1725, "visa": 2162, "mtd": 1344, "ksdd2": 1004, "ksdd1": 399}
# The photos of evaluations that took others, by the code that their authors published.
_DEFECTS = "photos with defects alone"
_OTHER_PHOTOS = {
    ("ksdd2", "SAA+"): (2331, "the training split"),
    ("mpdd", "IAP-AS"): (282, _DEFECTS),
    ("btad", "IAP-AS"): (290, _DEFECTS),
    ("dtd_synthetic", "IAP-AS"): (947, _DEFECTS),
    ("dagm2007", "IAP-AS"): (2100, f"{_DEFECTS}, of both splits"),
}


def _rows(source: str, table: str) -> list[Published]:
    """Lines of `method AUROC/F1/AP/PRO`, a dash where nothing is given."""
    rows = []
    for line in table.strip().splitlines():
        method, numbers = line.rsplit(maxsplit=1)
        auroc, f1_max, ap, pro = (None if x == "-" else float(x) for x in numbers.split("/"))
        rows.append(Published(method.strip(), auroc, f1_max, ap, pro, source))
    return rows


TABLES: dict[str, list[Published]] = {
    "mvtec": [
        *_rows(
            "ClipSAM T1",
            """WinCLIP 85.1/31.7/-/64.6
            APRIL-GAN 87.6/43.3/40.8/44.0
            SDP 88.7/35.3/28.5/79.1
            SDP+ 91.2/41.9/39.4/85.6
            SAA 67.7/23.8/15.2/31.9
            SAA+ 73.2/37.8/28.8/42.8
            ClipSAM 92.3/47.8/45.9/88.3""",
        ),
        *_rows(
            "ClipSAM T2",
            """ClipSAM without MMR (umci) 91.8/46.7/44.7/84.8
            ClipSAM without UMCI 60.4/19.7/25.0/34.7
            ClipSAM, strips only 90.8/44.3/34.9/79.6
            ClipSAM, scales only 90.9/44.4/42.7/81.9""",
        ),
        *_rows("ClipSAM T5", "AnoVL 90.6/36.5/-/77.8\nAnomalyCLIP 91.1/-/-/81.4"),
        *_rows("SAA+", "SAA -/23.44/-/-\nSAA+ -/39.40/-/-"),
        *_rows("IAP-AS", "IAP-AS -/40.13/31.43/-\nSAA+ -/37.70/28.83/-"),
    ],
    "visa": [
        *_rows(
            "ClipSAM T1",
            """WinCLIP 79.6/14.8/-/56.8
            APRIL-GAN 94.2/32.3/25.7/86.8
            SDP 84.1/16.0/9.6/63.4
            SDP+ 94.8/26.5/20.3/85.3
            SAA 83.7/12.8/5.5/41.9
            SAA+ 74.0/27.1/22.4/36.8
            ClipSAM 95.6/33.1/26.0/87.5""",
        ),
        *_rows("ClipSAM T5", "AnoVL 91.4/17.4/-/75.0\nAnomalyCLIP 95.5/-/-/87.0"),
        *_rows("SAA+", "SAA -/12.76/-/-\nSAA+ -/27.07/-/-"),
    ],
    "mtd": [
        *_rows(
            "ClipSAM T4",
            """APRIL-GAN 51.1/16.6/9.8/17.2
            SAA+ 69.4/37.3/28.8/-
            ClipSAM 88.0/55.2/51.9/71.3""",
        ),
        *_rows("SAA+", "SAA -/14.78/-/-\nSAA+ -/35.40/-/-"),
        *_rows("IAP-AS", "IAP-AS -/41.63/27.77/-\nSAA+ -/37.27/27.39/-"),
    ],
    "ksdd2": [
        *_rows(
            "ClipSAM T4",
            """APRIL-GAN 52.1/10.7/9.3/13.3
            SAA+ 77.5/61.6/49.6/-
            ClipSAM 90.7/67.2/67.9/88.8""",
        ),
        *_rows("SAA+", "SAA -/8.79/-/-\nSAA+ -/59.19/-/-"),
    ],
    "mpdd": _rows("IAP-AS", "IAP-AS -/24.01/13.38/-\nSAA+ -/17.27/8.68/-"),
    "btad": _rows("IAP-AS", "IAP-AS -/25.62/16.97/-\nSAA+ -/12.35/5.96/-"),
    "ksdd1": _rows("IAP-AS", "IAP-AS -/22.63/13.91/-\nSAA+ -/17.90/12.18/-"),
    "dtd_synthetic": _rows("IAP-AS", "IAP-AS -/60.33/49.23/-\nSAA+ -/62.29/50.10/-"),
    "dagm2007": _rows("IAP-AS", "IAP-AS -/34.68/24.03/-\nSAA+ -/33.82/22.72/-"),
}


def published(dataset: str) -> list[Published]:
    """The rows known for a data set of the registry, the strongest first; none for others."""
    key = dataset.lower().replace("-", "_")
    key = key if key in TABLES else key.replace("_", "")
    rows = []
    for row in TABLES.get(key, []):
        photos, note = _OTHER_PHOTOS.get((key, row.source), (_PHOTOS.get(key), ""))
        rows.append(row._replace(photos=photos, note=note))
    return sorted(rows, key=lambda row: (row.source, -(row.ap or row.f1_max or 0)))
