"""What people watch: CSV files, TensorBoard, the progress bar, the final summary."""

import csv
import json
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from zsas_jax.files import atomic_path, not_writable


class Journal:
    """Files of one run; does nothing in processes that do not write.

    log.csv has a row for every logged step, validation.csv one for every validated epoch,
    tensorboard/ both and the sample maps, summary.json the end. Rows after `first`, from which a
    run goes on, are dropped: they will be written again. `seconds` is what it took up to there.

    Attributes:
        row: what was last measured for log.csv; empty before that.
        paused: seconds since then that were no training.
    """

    def __init__(
        self, output_dir: pathlib.Path, first: int, *, seconds: float = 0.0, writes: bool = True
    ):
        self._writes, self._directory = writes, output_dir
        self._first, self._last = first, time.monotonic()
        self._started = self._last - seconds
        self.row: dict[str, float] = {}
        self.paused = 0.0

    def __enter__(self) -> "Journal":
        if not self._writes:
            return self
        try:
            self._steps = _Table(self._directory / "log.csv", self._first)
            self._epochs = _Table(self._directory / "validation.csv", self._first)
            self._board = SummaryWriter(
                str(self._directory / "tensorboard"), purge_step=self._first + 1, flush_secs=10
            )
        except OSError as error:
            raise not_writable(self._directory, error) from error
        values = self._steps.last.items()
        self.row = {name: float(value) for name, value in values if name != "step"}
        return self

    def __exit__(self, *_) -> None:
        if self._writes:
            self._steps.close()
            self._epochs.close()
            self._board.close()

    @property
    def seconds(self) -> float:
        """How long the run has taken, the parts before `first` included."""
        return time.monotonic() - self._started

    def scalars(self, step: int, scalars: Mapping[str, float], images: int) -> None:
        """Notes what was measured at a step, and images per second since the note before."""
        now = time.monotonic()
        seconds = max(now - self._last - self.paused, 1e-9)
        self._last, self.paused = now, 0.0
        self.row = {**scalars, "images_per_second": images / seconds}
        if self._writes:
            self._steps.write({"step": step, **self.row})
            for name, value in self.row.items():
                self._board.add_scalar(f"train/{name}", value, step)

    def validation(
        self,
        step: int,
        epoch: int,
        scalars: Mapping[str, float | None],
        pictures: Mapping[str, np.ndarray],
    ) -> None:
        """Notes an epoch's validation, with its sample maps (uint8 [h, w, 3])."""
        if not self._writes:
            return
        self._epochs.write({"step": step, "epoch": epoch, **scalars})
        for name, value in scalars.items():
            if value is not None:
                self._board.add_scalar(f"validation/{name}", value, step)
        for name, picture in pictures.items():
            self._board.add_image(f"maps/{name}", picture, step, dataformats="HWC")
        self._board.flush()

    def epoch_at(self, step: int) -> dict[str, float | None] | None:
        """What the validation after a step measured."""
        path = self._directory / "validation.csv"
        if not self._writes or not path.exists():
            return None
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if int(row["step"]) == step:
                    values = {name: row[name] for name in row if name not in ("step", "epoch")}
                    return {name: float(text) if text else None for name, text in values.items()}
        return None

    def summary(self, facts: Mapping[str, Any]) -> None:
        """Writes summary.json: the facts and what was last measured."""
        if self._writes:
            content = {**facts, **self.row, "seconds": round(self.seconds, 1)}
            with atomic_path(self._directory / "summary.json") as part:
                part.write_text(json.dumps(content, indent=1) + "\n")


class _Table:
    """A CSV file that goes on after a resumed step."""

    def __init__(self, path: pathlib.Path, first: int):
        rows: list[dict[str, str]] = []
        if path.exists() and first:
            with path.open(newline="") as file:
                # A killed run may leave half a line.
                whole = [row for row in csv.DictReader(file) if None not in row.values()]
                rows = [row for row in whole if int(row["step"]) <= first]
        part = path.with_suffix(".csv.part")
        self._file = part.open("w", newline="")
        self._writer: csv.DictWriter | None = None
        self.last = rows[-1] if rows else {}
        for row in rows:
            self._row(row)
        self._file.flush()
        part.replace(path)

    def write(self, row: Mapping[str, Any]) -> None:
        self._row({name: f"{v:.6g}" if isinstance(v, float) else v for name, v in row.items()})
        self._file.flush()

    def _row(self, row: Mapping[str, Any]) -> None:
        if self._writer is None:
            self._writer = csv.DictWriter(self._file, list(row))
            self._writer.writeheader()
        self._writer.writerow(row)

    def close(self) -> None:
        self._file.close()


def progress_bar(first: int, total: int, *, shown: bool) -> tqdm:
    """Steps done, steps a second and the time left, on stderr."""
    return tqdm(range(first, total), initial=first, total=total, unit="step", disable=not shown)


def is_finished(output_dir: pathlib.Path, steps: int | None = None) -> bool:
    """Whether a run (of so many steps) has come to its end, with its result and its summary."""
    file = output_dir / "summary.json"
    if not file.exists() or not (output_dir / "model").is_dir():
        return False
    try:
        return json.loads(file.read_text())["steps"] == steps or steps is None
    except (ValueError, KeyError, TypeError):
        return False  # Damaged: the run's end is done again.


def summary_lines(output_dir: pathlib.Path) -> list[str]:
    """The final summary of a run, for people."""
    facts = json.loads((output_dir / "summary.json").read_text())
    lines = [
        f"{facts['steps']} steps of {facts['batch_size']} pictures in {facts['seconds']:.0f} s on "
        f"{facts['devices']} device{'s' if facts['devices'] > 1 else ''}"
    ]
    if "loss" in facts:  # A run that was stopped before its first logged step has measured none.
        lines[0] += f": loss {facts['loss']:.4f}, {facts['images_per_second']:.1f} images/s"
    if best := facts.get("best"):
        numbers = ", ".join(
            f"{name} {value:.4f}" for name, value in best["scalars"].items() if value is not None
        )
        lines.append(f"best validation at step {best['step']} of {facts['steps']}: {numbers}")
    return lines
