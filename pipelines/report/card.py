"""The model card in Markdown, with measured results and their intervals in the form that Hugging Face reads."""

import re
from typing import Any

from pipelines.console.escapes import visible
from pipelines.evaluation.metrics import most_confused
from pipelines.report.content import FIGURES, Report
from pipelines.report.templates import render

_CONFUSED = 10
# The metrics of Hugging Face's hub by their names there.
_HUB = {"accuracy": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "f1", "log_loss": "log_loss"}


def render_card(report: Report) -> str:
    """Returns the model card.

    Args:
        report: What the report says, too.
    """
    metrics = report.metrics
    figures = [
        {
            "name": name,
            "key": key,
            "value": metrics[key],
            "interval": metrics.get(f"{key}_ci95"),
            "baseline": (metrics.get("baseline") or {}).get(key),
        }
        for key, name, _ in FIGURES
    ]
    text = render(
        "card.md",
        name=report.title.partition(",")[0],
        dataset=(report.made.data if report.made else "") or "photos",
        metrics=metrics,
        results=[_result(each) for each in figures],
        figures=figures,
        baseline=metrics.get("baseline"),
        classes=report.names,
        confused=most_confused(report.matrix, most=_CONFUSED),
        certainty=report.figures,
        note=report.note,
        made=report.made,
        command=visible(report.made.command).replace("```", "'''") if report.made else "",
    )
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def _result(figure: dict[str, Any]) -> dict[str, Any]:
    interval = figure["interval"]
    words = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    return {"type": _HUB[figure["key"]], "value": round(figure["value"], 6), "name": f"{figure['name']}{words}"}
