"""audit: reports what a folder of images contains, and what would damage training."""

from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import pandas as pd

from pipelines.config.verbs import AuditConfig
from pipelines.console.escapes import first_of, visible
from pipelines.console.terminal import answer, say
from pipelines.data.classes import class_findings
from pipelines.data.find import ImageTable, classes_in_words
from pipelines.data.inspect import MISSING, UNREADABLE
from pipelines.data.manifest import look_at_images
from pipelines.data.quarantine import check_quarantine, quarantine, undo_quarantine
from pipelines.data.value_range import decide_range, range_in_words
from pipelines.runs.files import check_place, write_csv, write_json, write_text
from resnet_tf.errors import UserError

_NAMED = 10
_EXAMPLES = 2
_CSV = (
    "path",
    "label",
    "split",
    "readable",
    "problems",
    "reason",
    "width",
    "height",
    "orientation",
    "similar",
    "sha256",
)


@dataclass(frozen=True)
class AuditReport:
    """What an audit has found in a folder of images.

    Args:
        data: The DATA argument as it was given.
        table: Facts about every file that was inspected.
        found: Content of --json: "images", "duplicates", "similar", "classes", "notes" and "summary".
    """

    data: str
    table: ImageTable
    found: dict[str, Any]

    @property
    def images(self) -> pd.DataFrame:
        """Table with one row per file, as --csv writes it."""
        return self.table.images[list(_CSV)]

    @property
    def damages(self) -> bool:
        """Whether something would damage training.

        Training is damaged by unreadable files, by one picture with two labels or in two splits, and by classes that
        are alone, too small, badly unbalanced or oddly named.
        """
        return _damages(self.found)

    def __str__(self) -> str:
        """Returns a summary of a few lines."""
        return _text(self.found)

    def html(self) -> str:
        """Returns the page with thumbnails, as --html writes it."""
        from pipelines.report.audit_page import render_audit  # thumbnails need TensorFlow

        return render_audit(f"Audit of {self.data}", self.found, self.table.root)

    def _repr_html_(self) -> str:
        """Returns the page in a frame of its own, for notebooks."""
        from pipelines.report.html import framed

        return framed(self.html())


def audit(config: AuditConfig) -> AuditReport:
    """Inspects every file, prints what was found, and writes it to the files that are named.

    If a quarantine is named, the files at fault are moved to it.

    Args:
        config: Images to inspect, files to write, and folder of the quarantine.

    Returns:
        The report of what was found.

    Raises:
        UserError: DATA is neither a folder of images nor a CSV, or files cannot be moved.
    """
    for written in (config.json, config.csv, config.html):
        if written is not None:
            check_place(Path(written))
    if config.quarantine is not None:
        check_quarantine(Path(config.data), Path(config.quarantine))
    table = look_at_images(config.data, flat=True, follow_links=config.follow_links)
    add_losses(table.images, config.range)
    report = AuditReport(config.data, table, audit_report(table, config.range))
    if config.json is not None:
        write_json(Path(config.json), report.found)
    if config.csv is not None:
        write_csv(Path(config.csv), report.images)
    if config.html is not None:
        write_text(Path(config.html), report.html())
    show = say if config.json or config.csv or config.html else answer
    show(str(report))
    if config.quarantine is not None:
        _quarantine(table, config.data, config.quarantine, config.quarantine_most)
    return report


def _quarantine(table: ImageTable, data: str, folder: str, most: bool) -> None:
    back = f"`resnet-tf audit {quote(visible(data))} --undo {quote(visible(folder))}`"
    try:
        moved = quarantine(table, Path(folder), most)
    except KeyboardInterrupt as reason:
        raise type(reason)(f"{str(reason) or 'interrupted'}; {back} puts back what was moved") from reason
    say(f"{moved} files moved to {visible(folder)}{f'; {back} puts them back' if moved else ''}")


def undo(config: AuditConfig) -> int:
    """Moves the files of an earlier quarantine back, and does nothing else.

    Args:
        config: Folder of the images, and folder of the quarantine.

    Returns:
        The number of files that were moved back.

    Raises:
        UserError: There is no such quarantine, or a file cannot be moved back.
    """
    if config.undo is None:
        raise UserError("--undo names the folder of the quarantine")
    count = undo_quarantine(Path(config.data), Path(config.undo))
    say(f"{count} files are back in {config.data}")
    return count


def add_losses(images: pd.DataFrame, rule: str) -> None:
    """Adds the problem "lost_values" to each image of more than 8 bits of which the network will see little.

    Args:
        images: Table of an `ImageTable`, which is changed.
        rule: Value of --range.
    """
    losses = decide_range(rule, images["stored_values"]).losses(images["stored_values"])
    codes = ["lost_values" if loss else "" for loss in losses]
    for column, joint, added in (("problems", " ", codes), ("reason", ", ", losses)):
        images[column] = [joint.join(filter(None, pair)) for pair in zip(images[column], added, strict=True)]


def audit_report(table: ImageTable, rule: str = "auto") -> dict[str, Any]:
    """Returns the report on a table of images.

    Args:
        table: Facts about the images, from `look_at_images`.
        rule: Value of --range.

    Returns:
        {"images": [one entry per file], "duplicates": [groups of byte-identical files], "similar": [groups of
        near-identical pictures], "classes": [findings], "notes": [what was left out or assumed],
        "value_range": {…}, "summary": {…}}.
    """
    images = table.images
    codes = images["problems"].str.split().explode().dropna()
    per_class = images.groupby("label")["readable"].sum().astype(int)
    readable = images[images["readable"]]
    similar = _groups(readable[readable["similar"] > 0], "similar")
    missing = images["problems"] == MISSING
    value_range = decide_range(rule, images["stored_values"])
    return {
        "images": [
            {
                "path": row["path"],
                "label": row["label"],
                "readable": bool(row["readable"]),
                "problems": row["problems"].split(),
                "reason": row["reason"],
                "width": row["width"],
                "height": row["height"],
                "orientation": row["orientation"],
                "sha256": row["sha256"],
                "similar": int(row["similar"]),
                "stored_values": row["stored_values"],
            }
            for row in images.to_dict("records")
        ],
        "duplicates": _groups(readable, "sha256"),
        "similar": similar,
        "classes": [asdict(finding) for finding in (*table.doubts, *class_findings(images))],
        "notes": list(table.notes),
        "value_range": {
            **asdict(value_range),
            "in_words": range_in_words(value_range, rule, images["stored_values"]),
        },
        "summary": {
            "files": len(images),
            "classes": int(images["label"].nunique()),
            "class_names": sorted(map(str, images["label"].unique())),
            "unreadable": int((~images["readable"] & ~missing).sum()),
            "missing": int(missing.sum()),
            "smallest_class": int(per_class.min()),
            "largest_class": int(per_class.max()),
            "problems": {str(code): int(count) for code, count in codes.value_counts().items()},
            "similar_within_a_class": sum(len(group["labels"]) == 1 for group in similar),
            "similar_across_classes": sum(len(group["labels"]) > 1 for group in similar),
            "similar_across_splits": sum(len(group["splits"]) > 1 for group in similar),
        },
    }


def _groups(images: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """Returns the groups of files that have the same value in a column.

    A group is harmful if its files have several labels or are in several splits.
    """
    return [
        {
            "paths": group["path"].tolist(),
            "labels": sorted(group["label"].unique()),
            "splits": sorted(group["split"].unique()),
            "harmful": len(set(group["label"])) > 1 or len(set(group["split"])) > 1,
        }
        for _, group in images[images[column].duplicated(keep=False)].groupby(column)
    ]


def _damages(report: dict[str, Any]) -> bool:
    harmful = any(group["harmful"] for group in report["duplicates"] + report["similar"])
    summary = report["summary"]
    return bool(summary["unreadable"] or summary["missing"] or harmful or report["classes"])


def _sizes_in_words(summary: dict[str, Any]) -> str:
    smallest, largest = summary["smallest_class"], summary["largest_class"]
    each = f"{smallest} images" if smallest == largest else f"{smallest} to {largest} images"
    return f"{summary['files']} files in {summary['classes']} class{'' if summary['classes'] == 1 else 'es'} of {each}"


def _text(report: dict[str, Any]) -> str:
    summary, similar = report["summary"], report["similar"]
    missing = f", {summary['missing']} missing" if summary["missing"] else ""
    lines = [
        *report["notes"],
        classes_in_words(summary["class_names"]),
        f"{_sizes_in_words(summary)}; {summary['unreadable']} unreadable{missing}, "
        f"{len(report['duplicates'])} groups of identical files",
        f"near-identical pictures: {len(similar)} groups of {sum(len(group['paths']) for group in similar)} files; "
        f"{summary['similar_within_a_class']} within a class, {summary['similar_across_classes']} across classes, "
        f"{summary['similar_across_splits']} across splits",
    ]
    if report["value_range"]["in_words"]:
        lines.append(report["value_range"]["in_words"])
    width = max(map(len, summary["problems"]), default=0)
    for code, count in summary["problems"].items():
        found = [image for image in report["images"] if code in image["problems"]]
        examples = first_of([f"{visible(image['path'])} ({image['reason']})" for image in found], _EXAMPLES)
        lines.append(f"  {code:{width}}  {count:6}  {examples}")
    for kind in (UNREADABLE, MISSING):
        found = [image for image in report["images"] if kind in image["problems"]]
        lines += _first([f"{kind}: {visible(image['path'])} ({image['reason']})" for image in found], f"{kind} files")
    lines += _first(
        [
            f"same picture, several labels or splits: {', '.join(map(visible, group['paths']))}"
            for group in similar
            if group["harmful"]
        ],
        "such groups",
    )
    lines += _first(
        [f"class {finding['label']!r}: {finding['reason']}" for finding in report["classes"]], "findings about classes"
    )
    return "\n".join(lines)


def _first(lines: list[str], what: str) -> list[str]:
    return lines[:_NAMED] + ([f"and {len(lines) - _NAMED} more {what}"] if len(lines) > _NAMED else [])
