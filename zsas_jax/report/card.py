"""The table of scores in a checkpoint's model card, from results directories."""

import pathlib
from collections.abc import Sequence

from zsas_jax.errors import ConfigError
from zsas_jax.files import atomic_path
from zsas_jax.report.runs import by_dataset, load_runs
from zsas_jax.report.tables import Table, columns, percent

START, END = "<!-- scores -->", "<!-- end of scores -->"


def fill_card(card: pathlib.Path, directories: Sequence[pathlib.Path]) -> None:
    """Writes the runs' table between the card's two marks.

    Raises:
        ConfigError: a directory without finished results, or a card without the marks.
    """
    runs = load_runs(directories)
    text = card.read_text("utf-8") if card.is_file() else ""
    first, start, rest = text.partition(START)
    _, end, last = rest.partition(END)
    if not start or not end:
        raise ConfigError(f"{card} is no card to fill: expected the lines {START} and {END} in it")
    names = columns(runs)
    tables = []
    for dataset, group in by_dataset(runs).items():
        rows = [
            [f"`{run.config['method']}`", *(percent(run.metrics["mean"].get(n)) for n in names)]
            for run in group
        ]
        photos = group[0].metrics["timing"]["images"]
        seed, size = group[0].config["seed"], group[0].config["resolution"]
        note = f"{photos} photos of `{dataset}`, seed {seed}, maps at {size} px, percent."
        tables.append(Table(dataset, ["method", *names.values()], rows, note).markdown())
    with atomic_path(card) as temporary:
        temporary.write_text("\n".join([first + start, "", *tables, "", end + last]), "utf-8")
