"""A detector that learns nothing, to show that the evaluation pictures are not easy."""

import numpy as np
from PIL import Image, ImageFilter

from zsas_jax.data.synthetic.noise import largest
from zsas_jax.data.synthetic.source import SyntheticSource

WINDOWS = (3, 7, 15, 31, 63)  # sides in pixels of a picture of side 256


def local_contrast(image: np.ndarray, window: int) -> np.ndarray:
    """Absolute difference from the local median, largest over the channels, [H, W].

    Windows beyond 7 pixels are taken on a picture reduced by window / 5, for speed.
    """
    factor = max(1, window // 5) if window > 7 else 1
    height, width = image.shape[:2]
    small = Image.fromarray(image)
    if factor > 1:
        small = small.resize((width // factor, height // factor), Image.Resampling.BOX)
    side = max(3, window // factor) // 2 * 2 + 1
    median = small.filter(ImageFilter.MedianFilter(side))
    full = np.asarray(median.resize((width, height), Image.Resampling.BILINEAR), np.int16)
    return largest(np.abs(image.astype(np.int16) - full))


def auroc_and_ap(scores: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Area under the ROC curve and average precision of flat scores; ties share a step."""
    order = np.argsort(-scores, kind="stable")
    values, hits = scores[order], truth[order].astype(np.float64)
    last = np.append(np.diff(values) != 0, True)
    true_positive = np.cumsum(hits)[last]
    predicted = np.flatnonzero(last) + 1.0
    false_positive = predicted - true_positive
    recall = true_positive / true_positive[-1]
    fall_out = false_positive / max(false_positive[-1], 1)
    area = np.trapezoid(np.append(0, recall), np.append(0, fall_out))
    precision = np.sum(np.diff(np.append(0, recall)) * true_positive / predicted)
    return float(area), float(precision)


def baseline_scores(source: SyntheticSource) -> dict[str, dict[int, tuple[float, float]]]:
    """Pixel AUROC and AP of the local contrast, per class and window."""
    table: dict[str, dict[int, tuple[float, float]]] = {}
    for number, name in enumerate(source.classes):
        first = number * source.per_class
        items = [source[first + k] for k in range(source.per_class)]
        truth = np.concatenate([item["mask"].ravel() for item in items])
        table[name] = {}
        for window in WINDOWS:
            side = max(3, round(window * source.size / 256))
            maps = [local_contrast(item["image"], side).ravel() for item in items]
            table[name][window] = auroc_and_ap(np.concatenate(maps), truth)
    return table


def mean_scores(table: dict[str, dict[int, tuple[float, float]]]) -> tuple[float, float]:
    """Mean over classes for the best window, chosen for each metric apart."""
    means = np.array([[row[w] for w in WINDOWS] for row in table.values()]).mean(0)
    return float(means[:, 0].max()), float(means[:, 1].max())
