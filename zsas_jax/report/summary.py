"""What a script says at the end of an evaluation."""

import pathlib

from zsas_jax.evaluation.results import load_results
from zsas_jax.report.tables import metrics_table

_SHOWN = 10


def summary(directory: pathlib.Path, *, reused: int = 0, load_seconds: float = 0.0) -> str:
    """The table of metrics (or of the highest scores), the pictures and the slowest steps.

    Args:
        directory: a run's results.
        reused: photos that were not computed now.
        load_seconds: what loading the checkpoint took.

    Raises:
        ConfigError: a directory without finished results.
    """
    metrics, scores, failures = load_results(directory)
    parts = []
    if any(value is not None for value in metrics["mean"].values()):
        resolution = metrics["config"]["resolution"]
        size = "photo's own" if resolution == "native" else f"{resolution} x {resolution}"
        parts.append(metrics_table(metrics["categories"], metrics["mean"]).text())
        parts.append(f"percent; pixel metrics at {size} resolution")
        if metrics["reasons"]:
            parts.append("a dash is undefined, or a mean over fewer: see reasons in metrics.json")
    elif scores:
        highest = sorted(scores, key=lambda row: -row[3])[:_SHOWN]
        rows = [f"{row[3]:6.3f}  {row[4]:9}  {row[0]}" for row in highest]
        parts.append("\n".join([" score  verdict    photo (highest first; no truth masks)", *rows]))
    parts += _pictures(directory / "overlays")
    taken = ""
    if reused and reused >= len(scores):
        taken = " (computed before; --overwrite computes anew)"
    elif reused:
        taken = f" ({reused} photos taken over from the interrupted run)"
    parts.append(f"results: {directory}{taken}")
    if (directory / "report.html").is_file():
        parts.append(f"report: {directory / 'report.html'}")
    if failures:
        name, reason = failures[0]
        parts.append(
            f"{len(failures)} of {len(failures) + len(scores)} photos failed, "
            f"see {directory / 'failed.csv'}; first: {name}: {reason}"
        )
    timing = metrics["timing"]
    steps = sorted({"load": load_seconds, **timing["steps_seconds"]}.items(), key=lambda x: -x[1])
    slowest = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps[:2])
    parts.append(f"{timing['images_per_second']:.2f} images/s; slowest steps: {slowest}")
    return "\n\n".join(parts)


def _pictures(folder: pathlib.Path) -> list[str]:
    paths = sorted(folder.rglob("*.jpg"))
    if not paths:
        return []
    shown = [f"  {path}" for path in paths[:_SHOWN]]
    if len(paths) > _SHOWN:
        shown.append(f"  and {len(paths) - _SHOWN} more")
    return ["\n".join(["pictures:", *shown])]
