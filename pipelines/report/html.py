"""The building blocks of the HTML pages; a page is one file with its pictures inside, and every name is escaped."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pipelines.console.escapes import visible
from pipelines.data.pillow_decode import decode_pillow

_THUMBNAIL = 128
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse } td, th { padding: .15rem .8rem; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums } tr:nth-child(even) { background: #f5f5f5 }
img.matrix { max-width: 100% } .photos { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; width: 9rem; font-size: 12px; overflow-wrap: anywhere } figure img { max-width: 100% }
"""


def framed(page: str, height: int = 640) -> str:
    """Returns a whole page as a frame within another one, so that neither changes the look of the other.

    Args:
        page: HTML of a whole page.
        height: Height of the frame, in pixels.
    """
    return f'<iframe srcdoc="{html.escape(page)}" width="100%" height="{height}" style="border: 0"></iframe>'


def escaped(text: str) -> str:
    """Returns a text for HTML; characters that cannot be seen, or that turn the text around, are escaped too."""
    return html.escape(visible(text))


def document(title: str, body: Sequence[str]) -> str:
    """Returns a whole page.

    Args:
        title: Title of the page, which is also its heading.
        body: Parts of the page, in HTML.
    """
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f"<title>{escaped(title)}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escaped(title)}</h1>",
            *body,
            "</body></html>",
        ]
    )


def paragraph(text: str) -> str:
    """Returns a paragraph of text."""
    return f"<p>{escaped(text)}</p>"


def heading(text: str) -> str:
    """Returns a heading of the second level."""
    return f"<h2>{escaped(text)}</h2>"


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Returns a table of text cells."""
    head = "".join(f"<th>{escaped(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def photos(figures: Sequence[str]) -> str:
    """Returns several results of `photo` side by side."""
    return f'<div class="photos">{"".join(figures)}</div>'


def photo(path: Path | None, caption: Sequence[str]) -> str:
    """Returns a small copy of a picture above its caption.

    Args:
        path: Path of the picture; an unreadable file, or None, gets only the caption.
        caption: Lines of the caption.
    """
    lines = "<br>".join(escaped(line) for line in caption)
    return f"<figure>{_thumbnail(path) if path else ''}<figcaption>{lines}</figcaption></figure>"


def data_uri(content: bytes, media_type: str) -> str:
    """Returns a file's content as a data URI."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _thumbnail(path: Path) -> str:
    try:
        image = Image.fromarray(decode_pillow(path))
    except Exception:  # Pillow's decoders raise many kinds of errors for damaged bytes
        return ""
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f'<img alt="" src="{data_uri(buffer.getvalue(), "image/jpeg")}">'
