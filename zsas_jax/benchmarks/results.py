"""Result files of benchmarks, and the Markdown tables that are made of them."""

import json
import os
import pathlib
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from zsas_jax.errors import ConfigError
from zsas_jax.evaluation.results import versions
from zsas_jax.files import save_json
from zsas_jax.training.provenance import commit

PEERS = ("torch", "transformers", "scikit-learn")

Row = dict[str, Any]


def save(file: pathlib.Path, name: str, arguments: Mapping[str, Any], rows: list[Row]) -> None:
    """Writes what was measured, and with what: commit, versions, machine and arguments."""
    installed = {found.metadata["Name"] for found in metadata.distributions()}
    peers = {peer: metadata.version(peer) for peer in PEERS if peer in installed}
    facts = {
        "benchmark": name,
        "commit": commit(),
        "versions": {**versions(), **peers},
        "machine": {"processor": _processor(), "cores": os.cpu_count()},
        "arguments": arguments,
        "rows": rows,
    }
    save_json(file, json.loads(json.dumps(facts, default=str)))


def markdown(files: Sequence[pathlib.Path]) -> str:
    """One table for each question, with the rows of all files that answer it; how they came about
    stands below.

    Raises:
        ConfigError: a file that no benchmark wrote.
    """
    tables: dict[str, list[Row]] = {}
    sources: dict[str, list[str]] = {}
    for file in files:
        try:
            facts = json.loads(file.read_text("utf-8"))
            about = _about(facts)
            found = [(row.pop("question"), row) for row in facts["rows"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{file} cannot be read as a result ({error!r}): expected a file that zsas "
                "benchmarks wrote"
            ) from error
        for question, row in found:
            mark = {"file": file.stem} if len(files) > 1 else {}
            tables.setdefault(question, []).append(mark | row)
            notes = sources.setdefault(question, [])
            note = f"`{file.stem}`: {about}" if mark else about
            notes += [] if note in notes else [note]
    parts = [
        f"### {question}\n\n{table(rows)}\n\n"
        + "\n".join(f"- {note}" for note in sources[question])
        for question, rows in tables.items()
    ]
    return "\n\n".join(parts)


def table(rows: Sequence[Row]) -> str:
    """A Markdown table; columns in the order in which rows first name them."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _about(facts: Mapping[str, Any]) -> str:
    """Command, commit, machine and versions in one line."""
    flags = []
    for name, value in facts["arguments"].items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            flags.append(flag if value else f"--no-{flag[2:]}")
        elif value is not None:
            values = value if isinstance(value, list) else [value]
            flags.append(" ".join([flag, *map(str, values)]))
    command = " ".join(["zsas benchmarks", facts["benchmark"], *flags])
    machine, packages = facts["machine"], facts["versions"]
    shown = ", ".join(f"{name} {packages[name]}" for name in ("jax", *PEERS) if name in packages)
    return (
        f"`{command}`, commit {(facts['commit'] or 'unknown')[:7]}; {machine['processor']}, "
        f"{machine['cores']} cores, device {packages['device']}; {shown}"
    )


def _processor() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)
