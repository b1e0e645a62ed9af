"""Finished runs, read from their directories alone."""

import pathlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from zsas_jax.evaluation.results import load_details, load_results


class Run(NamedTuple):
    """The results of one method on one data set, as stored."""

    directory: pathlib.Path
    label: str
    metrics: dict[str, Any]
    details: dict[str, Any]
    failures: list[tuple[str, str]]

    @property
    def config(self) -> dict[str, Any]:
        """The run's settings."""
        return self.metrics["config"]

    @property
    def dataset(self) -> str:
        """The name of the data set."""
        return self.config["dataset"]

    @property
    def is_labelled(self) -> bool:
        """Whether any metric is defined."""
        return any(value is not None for value in self.metrics["mean"].values())


def load_runs(directories: Iterable[pathlib.Path]) -> list[Run]:
    """Finished runs, labelled by what tells them apart.

    Raises:
        ConfigError: a directory without finished results.
    """
    found = []
    for directory in directories:
        metrics, _, failures = load_results(directory)
        found.append(Run(directory, "", metrics, load_details(directory), failures))
    several_datasets = len({run.dataset for run in found}) > 1
    several_checkpoints = len({run.config.get("checkpoint") for run in found}) > 1
    labelled = []
    for run in found:
        parts = [run.config["method"]]
        if several_checkpoints:
            parts.append(str(run.config.get("checkpoint")))
        if several_datasets:
            parts.append(run.dataset)
        labelled.append(run._replace(label=" · ".join(parts)))
    return labelled


def by_dataset(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs grouped by their data set, in order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.dataset, []).append(run)
    return groups


def warnings(runs: Sequence[Run]) -> list[str]:
    """What a reader must know before the numbers, each once."""
    found = [text for run in runs for text in run.metrics.get("warnings") or ()]
    found += [
        f"{run.label}: {len(run.failures)} photos failed; first: "
        f"{run.failures[0][0]}: {run.failures[0][1]}"
        for run in runs
        if run.failures
    ]
    return list(dict.fromkeys(found))
