"""The HTML page of an evaluation: one file that opens anywhere, its pictures inside."""

import base64
import html
import io
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from pipelines.data.decode import decode_pillow
from pipelines.metrics import most_confused, per_class

_THUMBNAIL = 128
_MISTAKES = 24
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .15rem .8rem; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums } tr:nth-child(even) { background: #f5f5f5 }
img.matrix { max-width: 100% } .photos { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; width: 9rem; font-size: 12px; overflow-wrap: anywhere } figure img { max-width: 100% }
"""


def render_page(
    title: str,
    metrics: dict[str, Any],
    matrix: pd.DataFrame,
    predictions: pd.DataFrame,
    root: Path,
    figure: Path,
) -> str:
    """The page as text. Every name that comes from the user's folders is escaped.

    Args:
        title: Run and split.
        metrics: As in metrics.json.
        matrix: Confusion counts.
        predictions: As in predictions.csv.
        root: Folder of the images, for thumbnails of the surest mistakes.
        figure: The confusion matrix as a PNG.
    """
    low, high = metrics["accuracy_ci95"]
    figures = [
        ("images", str(metrics["n"])),
        ("accuracy", f"{metrics['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"),
        *(
            (name.replace("_", " "), f"{metrics[name]:.4f}")
            for name in ("top5_accuracy", "balanced_accuracy", "macro_f1", "cohen_kappa", "matthews_corrcoef")
        ),
        ("log loss", f"{metrics['log_loss']:.4f}"),
        ("expected calibration error", f"{metrics['ece']:.4f}"),
    ]
    confused = [(true, taken, str(count), str(images)) for true, taken, count, images in most_confused(matrix, most=10)]
    classes = [
        (str(row["class"]), str(row["images"]), *(_share(row[name]) for name in ("precision", "recall", "f1")))
        for row in per_class(matrix).to_dict("records")
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            _table(("figure", "value"), figures),
            "<h2>Confusion matrix</h2>",
            f'<img class="matrix" alt="confusion matrix" src="{_data_uri(figure.read_bytes(), "image/png")}">',
            "<h2>Most confused</h2>",
            _table(("true", "taken for", "times", "images of the class"), confused),
            "<h2>Surest mistakes</h2>",
            f'<div class="photos">{_photos(predictions, root)}</div>',
            "<h2>Classes</h2>",
            _table(("class", "images", "precision", "recall", "F1"), classes),
            "</body></html>",
        ]
    )


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _photos(predictions: pd.DataFrame, root: Path) -> str:
    predictions = predictions.iloc[:, :4]  # a class may be named "label"
    wrong = predictions[predictions["label"] != predictions["predicted"]]
    surest = wrong.sort_values("confidence", ascending=False, kind="stable").head(_MISTAKES)
    return "".join(_photo(row, root) for row in surest.to_dict("records"))


def _photo(row: dict[Hashable, Any], root: Path) -> str:
    caption = f"{row['label']}, taken for {row['predicted']} ({row['confidence']:.0%})"
    return (
        f'<figure><img alt="" src="{_thumbnail(root / row["path"])}">'
        f"<figcaption>{html.escape(caption)}<br>{html.escape(row['path'])}</figcaption></figure>"
    )


def _thumbnail(path: Path) -> str:
    image = Image.fromarray(decode_pillow(path))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return _data_uri(buffer.getvalue(), "image/jpeg")


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _share(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"
