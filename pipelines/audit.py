"""audit: what a folder of images holds, and what would damage training."""

from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.data.manifest import ImageTable, look_at_images
from pipelines.run import write_json
from pipelines.terminal import say

_NAMED = 10


def audit(data: str, json_file: str | None = None) -> bool:
    """Looks at every file, prints a summary, and writes JSON where a file is named.

    Args:
        data: Folder of class folders, or CSV.
        json_file: Where to write what was found.

    Returns:
        Whether something would damage training: unreadable files, or one picture under two labels or in two
        splits.

    Raises:
        UserError: DATA is no such folder or CSV.
    """
    table = look_at_images(data)
    report = audit_report(table)
    if json_file:
        write_json(Path(json_file), report)
    say(_text(report))
    return bool(report["summary"]["unreadable"] or any(group["harmful"] for group in report["duplicates"]))


def audit_report(table: ImageTable) -> dict[str, Any]:
    """{"images": [one entry per file], "duplicates": [groups of byte-identical files], "summary": {…}}."""
    images = table.images
    codes = images["problems"].str.split().explode().dropna()
    per_class = images.groupby("label")["readable"].sum().astype(int)
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
            }
            for row in images.to_dict("records")
        ],
        "duplicates": _duplicates(images),
        "summary": {
            "files": len(images),
            "classes": int(images["label"].nunique()),
            "unreadable": int((~images["readable"]).sum()),
            "smallest_class": int(per_class.min()),
            "largest_class": int(per_class.max()),
            "problems": {str(code): int(count) for code, count in codes.value_counts().items()},
        },
    }


def _duplicates(images: pd.DataFrame) -> list[dict[str, Any]]:
    """Groups of files with the same bytes; harmful where they have several labels or stand in several splits."""
    known = images[images["readable"]]
    return [
        {
            "paths": group["path"].tolist(),
            "labels": sorted(group["label"].unique()),
            "harmful": len(set(group["label"])) > 1 or len(set(group["split"])) > 1,
        }
        for _, group in known.groupby("sha256")
        if len(group) > 1
    ]


def _text(report: dict[str, Any]) -> str:
    summary, duplicates = report["summary"], report["duplicates"]
    harmful = [group for group in duplicates if group["harmful"]]
    lines = [
        f"{summary['files']} files in {summary['classes']} classes of {summary['smallest_class']} to "
        f"{summary['largest_class']} images; {summary['unreadable']} unreadable, "
        f"{len(duplicates)} groups of identical files"
    ]
    lines += [f"  {code}: {count}" for code, count in summary["problems"].items()]
    bad = [image for image in report["images"] if not image["readable"]]
    lines += [f"unreadable: {image['path']} ({image['reason']})" for image in bad[:_NAMED]]
    lines += [f"and {len(bad) - _NAMED} more unreadable"] if len(bad) > _NAMED else []
    lines += [f"same picture, several labels or splits: {', '.join(group['paths'])}" for group in harmful[:_NAMED]]
    return "\n".join(lines)
