"""What a script says at the end of an evaluation."""

from typing import TYPE_CHECKING

from zsas_jax.report.tables import metrics_table

if TYPE_CHECKING:
    from zsas_jax.evaluation import EvaluationResult

_SHOWN = 10


def summary(result: "EvaluationResult", load_seconds: float = 0.0) -> str:
    """The table of metrics (or of the highest scores), the pictures and the slowest steps."""
    metrics = result.metrics
    parts = []
    if result.has_metrics:
        resolution = metrics["config"]["resolution"]
        size = "photo's own" if resolution == "native" else f"{resolution} x {resolution}"
        parts.append(metrics_table(metrics["categories"], metrics["mean"]))
        parts.append(f"percent; pixel metrics at {size} resolution")
        if metrics["reasons"]:
            parts.append("a dash is undefined, or a mean over fewer: see reasons in metrics.json")
    elif result.scores:
        highest = sorted(result.scores, key=lambda row: -row[3])[:_SHOWN]
        rows = [f"{row[3]:6.3f}  {row[4]:9}  {row[0]}" for row in highest]
        parts.append("\n".join([" score  verdict    photo (highest first; no truth masks)", *rows]))
    if result.overlays:
        shown = [f"  {path}" for path in result.overlays[:_SHOWN]]
        if len(result.overlays) > _SHOWN:
            shown.append(f"  and {len(result.overlays) - _SHOWN} more")
        parts.append("\n".join(["pictures:", *shown]))
    taken = ""
    if result.reused and result.reused >= len(result.scores):
        taken = " (computed before; --overwrite computes anew)"
    elif result.reused:
        taken = f" ({result.reused} photos taken over from the interrupted run)"
    parts.append(f"results: {result.directory}{taken}")
    if (result.directory / "report.html").is_file():
        parts.append(f"report: {result.directory / 'report.html'}")
    if result.failures:
        name, reason = result.failures[0]
        parts.append(
            f"{len(result.failures)} of {len(result.failures) + len(result.scores)} photos failed, "
            f"see {result.directory / 'failed.csv'}; first: {name}: {reason}"
        )
    steps = sorted({"load": load_seconds, **result.steps}.items(), key=lambda item: -item[1])
    slowest = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps[:2])
    speed = metrics["timing"]["images_per_second"]
    parts.append(f"{speed:.2f} images/s; slowest steps: {slowest}")
    return "\n\n".join(parts)
