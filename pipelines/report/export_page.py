"""The page of a run's exports: what each is worth beside the others."""

from typing import Any

from pipelines.console.escapes import visible
from pipelines.report.templates import render


def export_page(run: str, entries: list[dict[str, Any]], others: int = 0) -> str:
    """Returns the page as HTML.

    Args:
        run: Name of the run.
        entries: Objects of export.json that are of one model.
        others: Number of exports that are not shown, since they are of an earlier one.
    """
    measured = next((entry for entry in entries if "images_per_second" in entry), {})
    rows = [_row(entry) for entry in entries]
    fastest = {batch: max((row["speed"].get(batch, 0.0) for row in rows), default=0.0) for batch in ("1", "32")}
    return render(
        "export.html",
        plain_title=visible(f"Exports of {run}"),
        rows=rows,
        others=others,
        split=measured.get("split"),
        photos=measured.get("n"),
        fastest=fastest,
        ends=_ends(rows),
    )


def _row(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns what a row shows; an export that was written without a measurement has few figures."""
    speed, others = entry.get("images_per_second") or {}, entry.get("saved_model_per_second") or {}
    low, high = entry.get("accuracy_ci95") or (None, None)
    return {
        **{name: entry.get(name) for name in ("n", "accuracy", "changed", "mcnemar_p", "peak_mib")},
        "name": f"{entry['format']} {entry['precision']}{', with --mirror' if entry.get('mirror') else ''}",
        "path": entry["path"],
        "low": low,
        "high": high,
        "largest": entry.get("max_probability_difference"),
        "mean": entry.get("mean_probability_difference"),
        "speed": speed,
        "times": {batch: speed[batch] / beside for batch, beside in others.items()},
        "megabytes": entry["bytes"] / 1e6,
    }


def _ends(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Returns the ends of the scale of accuracies, a little beyond all intervals."""
    lows, highs = ([row[end] for row in rows if row[end] is not None] for end in ("low", "high"))
    return (max(0.0, min(lows) - 0.01), min(1.0, max(highs) + 0.01)) if lows else (0.0, 1.0)
