"""Verdict thresholds from photos of good parts, kept beside a checkpoint's config.

`thresholds.json` in the checkpoint's directory holds one threshold for each method, category,
prompts and settings that image scores depend on; later runs with the same ones find it there.
"""

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from zsas_jax.checkpoints.manifest import THRESHOLDS
from zsas_jax.config import to_dict
from zsas_jax.errors import ConfigError
from zsas_jax.files import save_json
from zsas_jax.parts.text import Prompts, words


class Calibration(NamedTuple):
    """A threshold and what it rests on."""

    threshold: float
    rate: float  # asked for
    photos: int
    alarms: int  # good parts among them at or above the threshold
    needed: int  # photos from which on the rate can be kept

    @property
    def is_reliable(self) -> bool:
        """Whether there are enough photos for the rate."""
        return self.photos >= self.needed


def calibrate(scores: Sequence[float] | Float[np.ndarray, " n"], rate: float) -> Calibration:
    """The threshold that a good part's score reaches with a probability of at most `rate`.

    Split conformal prediction: the r-th lowest of n scores with r = ceil((1 - rate) (n + 1)); a new
    good part of the same kind exceeds it with a probability of (n + 1 - r) / (n + 1). With fewer
    than 1 / rate - 1 photos no score is high enough, and the highest is taken.

    Raises:
        ConfigError: no scores, or a rate outside 0 to 1.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"false_alarm_rate is {rate}: expected a fraction, like 0.01")
    if not len(scores):
        raise ConfigError("there are no scores of good parts: expected photos that can be read")
    ordered = np.sort(np.asarray(scores, np.float32))
    count = len(ordered)
    # The margin keeps 0.99 * 100 from being rounded up to 100.
    rank = min(math.ceil((1 - rate) * (count + 1) - 1e-9), count)
    # At or above is anomalous: just above the score of that rank.
    threshold = float(np.nextafter(ordered[rank - 1], np.float32(np.inf)))
    threshold = min(threshold, 1.0)
    alarms = int((ordered >= np.float32(threshold)).sum())
    return Calibration(threshold, rate, count, alarms, math.ceil(1 / rate - 1e-9) - 1)


def save_threshold(
    checkpoint: pathlib.Path,
    calibration: Calibration,
    *,
    method: str,
    config: Any,
    category: str,
    prompts: Prompts,
    photos: str,
) -> pathlib.Path:
    """Adds the threshold to the checkpoint's thresholds.json, in place of an older one alike.

    Args:
        method, config: the method's name and its settings.
        photos: what it was calibrated on, in words.

    Raises:
        ConfigError: a checkpoint directory that cannot be written, or a damaged file there.
    """
    path = checkpoint / THRESHOLDS
    entry = {
        "method": method,
        "category": words(category),
        "image_threshold": calibration.threshold,
        "false_alarm_rate": calibration.rate,
        "photos": calibration.photos,
        "reliable": calibration.is_reliable,
        "good_parts": photos,
        "score_key": _score_key(checkpoint, method, config, category, prompts),
    }
    others = [old for old in _entries(path) if old.get("score_key") != entry["score_key"]]
    try:
        save_json(path, {"format": 1, "thresholds": [*others, entry]})
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}): expected a checkpoint directory of "
            "your own; copy it and name the copy with --checkpoint"
        ) from error
    return path


def find_threshold(
    checkpoint: pathlib.Path, *, method: str, config: Any, category: str, prompts: Prompts
) -> Mapping[str, Any] | None:
    """The entry calibrated for these weights, method, category, prompts and settings, if any.

    Raises:
        ConfigError: a damaged file.
    """
    key = _score_key(checkpoint, method, config, category, prompts)
    return next((e for e in _entries(checkpoint / THRESHOLDS) if e.get("score_key") == key), None)


def thresholds_of(checkpoint: pathlib.Path, method: str, category: str) -> list[dict[str, Any]]:
    """The entries for a method and category, with whatever weights, prompts and settings.

    Raises:
        ConfigError: a damaged file.
    """
    same = {"method": method, "category": words(category)}
    return [entry for entry in _entries(checkpoint / THRESHOLDS) if same.items() <= entry.items()]


def _entries(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text("utf-8"))["thresholds"]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path} is damaged: expected what --calibrate wrote; delete it and calibrate again"
        ) from error
    return [entry for entry in entries if isinstance(entry, dict)]


def _score_key(
    checkpoint: pathlib.Path, method: str, config: Any, category: str, prompts: Prompts
) -> str:
    """A hash of all that scores depend on: weights (by their manifest), settings and prompts.

    The category counts as prompts speak of it: two names of one text are one category.
    """
    spoken = (prompts.words or {}).get(category, words(category))
    wording = prompts._replace(words=None)._asdict()
    manifest = checkpoint / "manifest.json"
    weights = manifest.read_bytes() if manifest.is_file() else b""
    text = json.dumps([method, to_dict(config), spoken, wording], sort_keys=True, default=str)
    return hashlib.sha256(text.encode() + weights).hexdigest()[:16]
