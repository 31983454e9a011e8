"""The HTML page of an audit, on which a person can look at the images and classes that it reports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.console.escapes import visible
from pipelines.report.album import LARGE, small_copies
from pipelines.report.templates import render

# The largest numbers of items that the page shows of each kind; the JSON and the CSV contain all of them.
_GROUPS, _PER_GROUP, _PER_PROBLEM, _ROWS = 40, 6, 12, 200
_FIGURES = ("files", "classes", "smallest_class", "largest_class", "unreadable")
_UNREADABLE = "unreadable"


def render_audit(title: str, report: dict[str, Any], root: Path) -> str:
    """Returns the page as HTML, with small copies of the pictures inside.

    Args:
        title: Heading of the page.
        report: Report from `pipelines.audit.audit_report`.
        root: Folder that the report's paths are relative to.
    """
    summary = report["summary"]
    kinds = [_kind(report, code, root) for code in summary["problems"] if code not in (_UNREADABLE, "missing")]
    return render(
        "audit.html",
        plain_title=visible(title),
        figures=[(name.replace("_", " "), summary[name]) for name in _FIGURES],
        notes=report["notes"],
        problems=list(summary["problems"].items()),
        sections={kind["code"] for kind in kinds},
        lists=_lists(report),
        groups=[
            _groups(report, root, "harmful", "One picture in several classes or splits", True),
            _groups(report, root, "harmless", "Near-identical pictures of one class", False),
        ],
        kinds=kinds,
    )


def _lists(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of the page: what is odd about classes, and which files cannot be read."""
    classes = [(finding["label"], finding["reason"]) for finding in report["classes"]]
    unreadable = [(image["path"], image["reason"]) for image in report["images"] if not image["readable"]]
    lists = [
        {"key": "classes", "title": "Classes", "columns": ("class", "what is odd"), "rows": classes},
        {"key": "unreadable", "title": "Unreadable", "columns": ("file", "why"), "rows": unreadable},
    ]
    return [{**each, "rows": each["rows"][:_ROWS], "found": len(each["rows"])} for each in lists if each["rows"]]


def _groups(report: dict[str, Any], root: Path, key: str, title: str, harmful: bool) -> dict[str, Any]:
    found = [group["paths"] for group in report["similar"] if group["harmful"] is harmful]
    shown = [
        {"photos": _photos(root, [(path, (path,)) for path in paths[:_PER_GROUP]]), "found": len(paths)}
        for paths in found[:_GROUPS]
    ]
    return {"key": key, "title": title, "groups": shown, "found": len(found)}


def _kind(report: dict[str, Any], code: str, root: Path) -> dict[str, Any]:
    found = [image for image in report["images"] if code in image["problems"] and image["readable"]]
    shown = [(image["path"], (image["path"], image["reason"])) for image in found[:_PER_PROBLEM]]
    return {"code": code, "photos": _photos(root, shown), "found": len(found)}


def _photos(root: Path, items: Sequence[tuple[str, Sequence[str]]]) -> list[dict[str, Any]]:
    copies = small_copies([root / path for path, _ in items], LARGE)
    return [{"source": source, "lines": lines} for (source, _), (_, lines) in zip(copies, items, strict=True)]
