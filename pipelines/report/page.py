"""The page of an evaluation: one file with everything inside, which opens from a disk and asks nothing of a network."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.console.escapes import visible
from pipelines.evaluation.class_table import class_table
from pipelines.evaluation.metrics import most_confused
from pipelines.evaluation.seriation import by_error, seriated
from pipelines.report.album import GRID, LISTED, PagePhoto, least_sure_right, packed, surest_mistakes
from pipelines.report.charts import Axis, Line, axis_over, coverage_chart, line_chart, reliability_diagram
from pipelines.report.content import FIGURES, Report
from pipelines.report.curves import places_of
from pipelines.report.templates import json_for_script, render

# A page is to open at once and to fit into a mail.
MOST_BYTES = 14_500_000
_WARNING, _TRY = "warning: ", "; try "
_CONFUSED, _PER_IMAGE, _WHOLE = 20, 5, 65535


def render_page(report: Report, most_bytes: int = MOST_BYTES) -> str:
    """Returns the page as HTML. Every name that comes from the user's folders is shown as text.

    Photos are put into the page in the order of the album, as long as there is room.

    Args:
        report: What the page says.
        most_bytes: Largest size of the page.
    """
    content = _content(report)
    bare = _render(content, json_for_script({"of": {}, "training": []}), 0)
    photos, inside = _photos(report, most_bytes - len(bare.encode()))
    return _render(content, photos, inside)


def _render(content: dict[str, Any], photos: Markup, inside: int) -> str:
    return render("report.html", **content, photos=photos, inside=inside)


def _content(report: Report) -> dict[str, Any]:
    metrics, classes = report.metrics, class_table(report.matrix)
    lines = report.note.splitlines()
    place = {name: number for number, name in enumerate(report.names)}
    known = classes[classes["images"] > 0]
    confused = most_confused(report.matrix, most=_CONFUSED)
    return {
        "plain_title": visible(report.title),
        "report": report,
        "metrics": metrics,
        "figures": [
            {
                "key": key,
                "name": name,
                "what": what,
                "value": metrics[key],
                "interval": metrics.get(f"{key}_ci95"),
                "baseline": (metrics.get("baseline") or {}).get(key),
                "share": key != "log_loss",
            }
            for key, name, what in FIGURES
        ],
        "certainty": report.figures,
        "notes": [visible(line) for line in lines if not _names_missed(line)],
        # The page has its own words for the classes that such a line names.
        "remedy": next((line.rpartition(_TRY)[2] for line in lines if _names_missed(line)), ""),
        "baseline": metrics.get("baseline"),
        "weakest": None if known.empty else known.sort_values(["recall", "images"]).iloc[0],
        "confused": [(*each, place[each[0]], place[each[1]]) for each in confused],
        "class_rows": classes.to_dict("records"),
        "empty_classes": classes.loc[classes["images"] == 0, "class"].tolist(),
        "charts": _charts(report),
        "issues": _issues(report),
        "data": json_for_script(_data(report)),
        "listed": LISTED,
    }


def _names_missed(line: str) -> bool:
    """Returns whether a line of the note is that of `pipelines.evaluation.missed.missed_in_words`."""
    return line.startswith(_WARNING) and _TRY in line


def _data(report: Report) -> dict[str, Any]:
    """What the script needs of all images: a few numbers of each."""
    labels, probabilities, counts = report.labels, report.probabilities, report.matrix.to_numpy()
    top = np.argsort(-probabilities, axis=1, kind="stable")[:, :_PER_IMAGE]
    wrong, confidence = top[:, 0] != labels, probabilities.max(axis=1)
    everything = range(len(report.names))
    return {
        "classes": [visible(name) for name in report.names],
        "paths": [visible(str(path)) for path in report.predictions["path"]],
        "per_image": top.shape[1],
        "truth": packed(labels, np.uint16),
        "top": packed(top, np.uint16),
        "shares": packed(_steps(np.take_along_axis(probabilities, top, axis=1)), np.uint16),
        "own": packed(_steps(probabilities[np.arange(len(labels)), labels]), np.uint16),
        "grid": GRID,
        "orders": {
            "name": sorted(everything, key=lambda label: report.names[label].casefold()),
            "error": by_error(counts),
            "together": seriated(counts),
        },
        "lists": {
            "mistakes": surest_mistakes(wrong, confidence)[:LISTED].tolist(),
            "unsure": least_sure_right(wrong, confidence)[:LISTED].tolist(),
        },
    }


def _steps(shares: np.ndarray) -> np.ndarray:
    return np.round(shares * _WHOLE)


def _photos(report: Report, room: int) -> tuple[Markup, int]:
    """Returns the photos that fit into some bytes as JSON, and how many they are."""
    of: dict[int, Any] = {}
    beside: dict[int, int] = {}  # places in the album of the training photos that are in the page
    left = room
    for photo in report.album.photos:
        added = [place for place, _ in photo.near if place not in beside]
        entry = _entry(photo)
        # The names of files in JSON may take more room than their letters.
        left -= len(json.dumps(entry)) + sum(len(json.dumps(_other(report, place))) + 8 for place in added) + 16
        if left < 0:
            break
        beside |= {place: len(beside) + number for number, place in enumerate(added)}
        of[photo.image] = {**entry, "near": [[beside[place], round(cosine, 3)] for place, cosine in photo.near]}
    training = [_other(report, place) for place in beside]
    return json_for_script({"of": of, "training": training}), sum(bool(each["source"]) for each in of.values())


def _entry(photo: PagePhoto) -> dict[str, Any]:
    frame = photo.frame
    return {
        "source": photo.source,
        "frame": [round(side, 4) for side in (frame.left, frame.top, frame.width, frame.height)] if frame else None,
        "maps": {
            label: {"levels": packed(levels, np.int8), "most": round(photo.scales[label], 4)}
            | ({"logit": round(photo.logits[label], 3)} if label in photo.logits else {})
            for label, levels in photo.maps.items()
        },
        "near": [[place, round(cosine, 3)] for place, cosine in photo.near],
    }


def _other(report: Report, place: int) -> dict[str, str]:
    photo = report.album.training[place]
    return {"path": visible(photo.path), "label": visible(photo.label), "source": photo.source}


def _charts(report: Report) -> dict[str, Markup]:
    figures = report.figures
    bins = [("after" if figures.before else "probabilities", figures.calibration.bins)]
    if figures.before:
        bins = [("before", figures.before.bins), *bins]
    charts = {"reliability": reliability_diagram(bins), "coverage": coverage_chart(figures.answered)}
    if report.made is not None and len(report.made.history):
        charts |= _curves(report)
    return charts


def _curves(report: Report) -> dict[str, Markup]:
    """The charts of the training: losses and accuracies over the rows of the history."""
    assert report.made is not None
    history = report.made.history
    across = places_of(history["epoch"].tolist()).tolist()
    epochs = sorted(set(history["epoch"].tolist()))
    margin = max(0.3, 0.03 * across[-1])
    averages = "; points right of the last one are averages of weights" if across[-1] > epochs[-1] else ""
    x = Axis(f"epoch{averages}", across[0] - margin, across[-1] + margin, epochs[:: 1 + len(epochs) // 10])
    charts = {}
    for name, pair, described in (
        ("loss", ("loss", "val_log_loss"), "Loss of the training and log loss of the validation"),
        ("accuracy", ("accuracy", "val_accuracy"), "Accuracy on the training and on the validation"),
    ):
        columns = [
            (word, history[column].tolist()) for word, column in zip(("training", "validation"), pair, strict=True)
        ]
        values = [value for _, found in columns for value in found if np.isfinite(value)]
        if values:
            lines = [
                Line(word, list(zip(across, found, strict=True)), kind)
                for (word, found), kind in zip(columns, ("second", ""), strict=True)
            ]
            charts[name] = line_chart(described, x, axis_over(name, values, name == "accuracy"), lines)
    return charts


def _issues(report: Report) -> Sequence[dict[Any, Any]]:
    """The labels to look at again that the page shows."""
    looked_at = report.labels_looked_at
    return [] if looked_at is None else looked_at.table.head(LISTED).to_dict("records")
