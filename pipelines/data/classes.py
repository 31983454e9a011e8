"""Finds what is odd about the classes themselves: their sizes and their names."""

import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass

import pandas as pd

# A class with fewer images hardly has one for each split, and a network cannot learn it.
SMALL_CLASS = 5
MAX_IMBALANCE = 20
_PLACEHOLDER = re.compile(
    r"(new folder|neuer ordner|nouveau dossier|nueva carpeta|untitled( folder)?|unnamed|temp|tmp|copy of .*|.* copy)"
    r"([ _-]*\(?\d+\)?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class ClassFinding:
    """Something odd about one class.

    Args:
        label: Name of the class.
        code: Kind of finding: only_class, small_class, unbalanced, odd_name or mixed_levels.
        reason: Explanation in words.
    """

    label: str
    code: str
    reason: str


def class_findings(images: pd.DataFrame) -> list[ClassFinding]:
    """Checks the names of the classes and their numbers of images.

    Args:
        images: Table with the columns label and readable; unreadable images are not counted.
    """
    sizes = {str(label): int(size) for label, size in images.groupby("label")["readable"].sum().items()}
    small = [
        ClassFinding(label, "small_class", f"{size} readable images, fewer than {SMALL_CLASS}")
        for label, size in sizes.items()
        if size < SMALL_CLASS
    ]
    alone = [
        ClassFinding(label, "only_class", "the only one; training needs a sub-folder for each class") for label in sizes
    ]
    return [*(alone if len(sizes) == 1 else []), *small, *_unbalanced(sizes), *_odd_names(sorted(sizes))]


def _unbalanced(sizes: dict[str, int]) -> list[ClassFinding]:
    largest = max(sizes, key=lambda label: sizes[label])
    return [
        ClassFinding(
            label, "unbalanced", f"{size} images, fewer than 1/{MAX_IMBALANCE} of the {sizes[largest]} of {largest!r}"
        )
        for label, size in sizes.items()
        if size * MAX_IMBALANCE < sizes[largest]
    ]


def _odd_names(labels: list[str]) -> list[ClassFinding]:
    alike = defaultdict(list)
    for label in labels:
        alike[_plain(label)].append(label)
    findings = []
    for label in labels:
        others = [other for other in alike[_plain(label)] if other != label]
        reasons = [
            "blanks before or after the name" if label != label.strip() else "",
            "characters that cannot be printed" if not label.isprintable() else "",
            "a name that a program gave" if _PLACEHOLDER.fullmatch(label.strip()) else "",
            f"the same but for case or blanks as {others[0]!r}" if others else "",
        ]
        if any(reasons):
            findings.append(ClassFinding(label, "odd_name", ", ".join(filter(None, reasons))))
    return findings


def _plain(label: str) -> str:
    """Removes differences that a person overlooks: case, extra blanks, and the encoding of accents."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())
