"""The HTML page of an audit, on which a person can look at the images and classes that it reports."""

from pathlib import Path
from typing import Any

from pipelines.report.html import document, heading, photo, photos, table

# The largest numbers of items that the page shows of each kind; the JSON and the CSV contain all of them.
_GROUPS, _PER_GROUP, _PER_PROBLEM, _ROWS = 40, 6, 12, 200
_UNREADABLE = "unreadable"


def render_audit(title: str, report: dict[str, Any], root: Path) -> str:
    """Returns the page as HTML, with small copies of the pictures inside.

    Args:
        title: Heading of the page.
        report: Report from `pipelines.audit.audit_report`.
        root: Folder that the report's paths are relative to.
    """
    summary = report["summary"]
    figures = [
        (name.replace("_", " "), str(summary[name]))
        for name in ("files", "classes", "smallest_class", "largest_class", "unreadable")
    ]
    problems = [(code, str(count)) for code, count in summary["problems"].items()]
    harmful = [group for group in report["similar"] if group["harmful"]]
    harmless = [group for group in report["similar"] if not group["harmful"]]
    body = [table(("figure", "value"), figures)]
    if problems:
        body += [heading("Problems"), table(("problem", "files"), problems)]
    if report["classes"]:
        rows = [(finding["label"], finding["reason"]) for finding in report["classes"]]
        body += [heading("Classes"), table(("class", "what is odd"), rows[:_ROWS]), _more(rows, _ROWS)]
    unreadable = [image for image in report["images"] if not image["readable"]]
    if unreadable:
        rows = [(image["path"], image["reason"]) for image in unreadable]
        body += [heading("Unreadable"), table(("file", "why"), rows[:_ROWS]), _more(rows, _ROWS)]
    for name, groups in (
        ("One picture in several classes or splits", harmful),
        ("Near-identical pictures of one class", harmless),
    ):
        if groups:
            body += [heading(name), *(_group(group, root) for group in groups[:_GROUPS]), _more(groups, _GROUPS)]
    for code in summary["problems"]:
        if code not in (_UNREADABLE, "missing"):
            found = [image for image in report["images"] if code in image["problems"] and image["readable"]]
            shown = [photo(root / image["path"], [image["path"], image["reason"]]) for image in found[:_PER_PROBLEM]]
            body += [heading(f"{code}: {len(found)}"), photos(shown), _more(found, _PER_PROBLEM)]
    return document(title, body)


def _group(group: dict[str, Any], root: Path) -> str:
    paths = group["paths"]
    return photos([photo(root / path, [path]) for path in paths[:_PER_GROUP]]) + _more(paths, _PER_GROUP) + "<hr>"


def _more(found: list[Any], shown: int) -> str:
    return f"<p>and {len(found) - shown} more</p>" if len(found) > shown else ""
