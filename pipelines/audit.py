"""audit: what a folder of images holds, and what would damage training."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.verbs import AuditConfig
from pipelines.console.terminal import say
from pipelines.data.classes import class_findings
from pipelines.data.manifest import ImageTable, look_at_images
from pipelines.data.quarantine import check_quarantine, quarantine, undo_quarantine
from pipelines.data.value_range import decide_range, range_in_words, values_of
from pipelines.runs.files import write_csv, write_json, write_text
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
    """What was found in a folder of images.

    Args:
        data: DATA as it was given.
        table: Every file that was looked at.
        found: The content of --json: "images", "duplicates", "similar", "classes" and "summary".
    """

    data: str
    table: ImageTable
    found: dict[str, Any]

    @property
    def images(self) -> pd.DataFrame:
        """One row per file, as --csv has them."""
        return self.table.images[list(_CSV)]

    @property
    def damages(self) -> bool:
        """Whether something would damage training: unreadable files, one picture under two labels or in two splits,
        classes that are alone, too small, badly unbalanced or oddly named."""
        return _damages(self.found)

    def __str__(self) -> str:
        """What was found, in a few lines."""
        return _text(self.found)

    def html(self) -> str:
        """The page with thumbnails, as --html writes it."""
        from pipelines.report.audit_page import render_audit  # thumbnails need TensorFlow

        return render_audit(f"Audit of {self.data}", self.found, self.table.root)

    def _repr_html_(self) -> str:
        """The page, in a frame of its own, for notebooks."""
        from pipelines.report.html import framed

        return framed(self.html())


def audit(config: AuditConfig) -> AuditReport:
    """Looks at every file, prints what was found, writes it where files are named, and moves the files at fault
    aside where a folder for them is named.

    Args:
        config: What to look at, and what to write.

    Returns:
        What was found.

    Raises:
        UserError: DATA is no folder of images or CSV, or files cannot be moved.
    """
    if config.quarantine is not None:
        check_quarantine(Path(config.data), Path(config.quarantine))
    table = look_at_images(config.data, flat=True)
    add_losses(table.images, config.range)
    report = AuditReport(config.data, table, audit_report(table, config.range))
    if config.json is not None:
        write_json(Path(config.json), report.found)
    if config.csv is not None:
        write_csv(Path(config.csv), report.images)
    if config.html is not None:
        write_text(Path(config.html), report.html())
    say(str(report))
    if config.quarantine is not None:
        moved = quarantine(table, Path(config.quarantine))
        back = f"; `resnet-tf audit {config.data} --undo {config.quarantine}` puts them back" if moved else ""
        say(f"{moved} files moved to {config.quarantine}{back}")
    return report


def undo(config: AuditConfig) -> int:
    """Moves the files of an earlier quarantine back, and does nothing else.

    Args:
        config: The images, and the folder of the quarantine.

    Returns:
        The number of files.

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
    value_range = decide_range(rule, images["stored_values"])
    found = [values_of(text) for text in images["stored_values"]]
    losses = [value_range.loss(values) if values else "" for values in found]
    for column, added in (("problems", ["lost_values" if loss else "" for loss in losses]), ("reason", losses)):
        joint = " " if column == "problems" else ", "
        images[column] = [joint.join(filter(None, pair)) for pair in zip(images[column], added, strict=True)]


def audit_report(table: ImageTable, rule: str = "auto") -> dict[str, Any]:
    """{"images": [one entry per file], "duplicates": [groups of byte-identical files], "similar": [groups of
    near-identical pictures], "classes": [findings], "value_range": {…}, "summary": {…}}."""
    images = table.images
    codes = images["problems"].str.split().explode().dropna()
    per_class = images.groupby("label")["readable"].sum().astype(int)
    readable = images[images["readable"]]
    similar = _groups(readable[readable["similar"] > 0], "similar")
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
        "classes": [asdict(finding) for finding in class_findings(images)],
        "value_range": {
            **asdict(decide_range(rule, images["stored_values"])),
            "in_words": range_in_words(rule, images["stored_values"]),
        },
        "summary": {
            "files": len(images),
            "classes": int(images["label"].nunique()),
            "unreadable": int((~images["readable"]).sum()),
            "smallest_class": int(per_class.min()),
            "largest_class": int(per_class.max()),
            "problems": {str(code): int(count) for code, count in codes.value_counts().items()},
            "similar_within_a_class": sum(len(group["labels"]) == 1 for group in similar),
            "similar_across_classes": sum(len(group["labels"]) > 1 for group in similar),
            "similar_across_splits": sum(len(group["splits"]) > 1 for group in similar),
        },
    }


def _groups(images: pd.DataFrame, column: str) -> list[dict[str, Any]]:
    """Files with the same value; harmful where they have several labels or stand in several splits."""
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
    return bool(report["summary"]["unreadable"] or harmful or report["classes"])


def _text(report: dict[str, Any]) -> str:
    summary, similar = report["summary"], report["similar"]
    lines = [
        f"{summary['files']} files in {summary['classes']} classes of {summary['smallest_class']} to "
        f"{summary['largest_class']} images; {summary['unreadable']} unreadable, "
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
        examples = ", ".join(f"{image['path']} ({image['reason']})" for image in found[:_EXAMPLES])
        lines.append(f"  {code:{width}}  {count:6}  {examples}{', …' if len(found) > _EXAMPLES else ''}")
    lines += _first(
        [f"unreadable: {image['path']} ({image['reason']})" for image in report["images"] if not image["readable"]],
        "unreadable files",
    )
    lines += _first(
        [
            f"same picture, several labels or splits: {', '.join(group['paths'])}"
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
