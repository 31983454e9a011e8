"""The page of an experiment: one file with its figures inside."""

import base64
from dataclasses import dataclass
from pathlib import Path

from pipelines.experiments.outcome import Outcome, Table
from pipelines.experiments.table import Experiment
from pipelines.report.templates import render


@dataclass(frozen=True)
class Made:
    """How an experiment was made.

    Args:
        how: A sentence on what is not seen elsewhere, or "".
        facts: Names and texts, such as the command and the device.
    """

    how: str
    facts: tuple[tuple[str, str], ...]


def render_experiment(experiment: Experiment, outcome: Outcome, made: Made, folder: Path) -> str:
    """Returns the page as HTML; every text is escaped.

    Args:
        experiment: Experiment with what the paper says.
        outcome: What was found.
        made: How it was made.
        folder: Folder that has the figures as PNG.
    """
    drawings = [
        {
            "name": drawing.name,
            "caption": drawing.caption,
            "uri": _data_uri(folder / f"{drawing.name}.png"),
        }
        for drawing in outcome.drawings
    ]
    return render(
        "experiment.html",
        plain_title=experiment.title,
        experiment=experiment,
        outcome=outcome,
        made=made,
        drawings=drawings,
        in_paper=Table(f"In the paper: {experiment.source}", ("what", "value"), experiment.in_paper),
    )


def _data_uri(png: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(png.read_bytes()).decode()}"
