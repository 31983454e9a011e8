"""Gives photos and classes strange names, and takes them through the audit, its tables, a quarantine, and its undo.

    .venv/bin/python -m tests.campaigns.names --count 100 --seed 0

Every name must come back from every table, no name may steer the terminal, and the undo must bring back every file.
"""

import argparse
import json
import random
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from PIL import Image

from pipelines.cli import main as command
from pipelines.console.escapes import visible_lines
from pipelines.data.quarantine import LIST
from pipelines.runs.tables import read_table

_PIECES = [*"abcXYZ019 .,;:'\"\\|<>&$%#=+-@!?*[]{}()~`^_\t\n\r\x01\x07\x08\x1b\x7f", "\r\n", "\x1b[31m", "\x1b]0;x\x07"]
_PIECES += [*"\x85\u200b\u2028\u202e\u2066\ufeffé盆🦋", "e\u0301", "NA", "nan", "../", "<b>"]
_CLASSES, _FILES = 3, 6


def strange_name(chance: random.Random) -> str:
    """Returns a name that a file system allows; it is not hidden, and too strange for a name that systems give."""
    pieces = chance.choices(_PIECES, k=chance.randint(1, 12))
    return chance.choice("=+-@ x\r\n") + "".join(pieces).replace("/", "") + "q"


def try_names(folder: Path, chance: random.Random) -> list[str]:
    """Returns what is wrong with one folder of strange names, which is made for it.

    Args:
        folder: Empty folder.
        chance: Source of the names.
    """
    photos, aside = folder / "photos", folder / "aside"
    files = _make_photos(photos, chance)
    table, report, page = (folder / name for name in ("audit.csv", "audit.json", "audit.html"))
    shown, wrong = StringIO(), []

    def run(*words: str | Path) -> int:
        with redirect_stdout(shown), redirect_stderr(shown):
            return command(["audit", str(photos), *map(str, words)])

    status = run("--csv", table, "--json", report, "--html", page, "--quarantine", aside)
    if status != 1:
        wrong.append(f"the audit ends with {status}: {shown.getvalue()[-300:]!r}")
        return wrong
    names = sorted(files)
    if sorted(read_table(table)["path"]) != names:
        wrong.append("audit --csv has other names")
    if sorted(image["path"] for image in json.loads(report.read_bytes())["images"]) != names:
        wrong.append("audit --json has other names")
    moved = read_table(aside / LIST)["from"].tolist()
    if sorted(moved) != sorted(name for name, content in files.items() if content == b"no image"):
        wrong.append(f"{LIST} has other names")
    if any((photos / name).exists() or not (aside / name).exists() for name in moved):
        wrong.append("not what was listed has been moved")
    if status := run("--undo", aside):
        wrong.append(f"the undo ends with {status}: {shown.getvalue()[-300:]!r}")
    if {str(file.relative_to(photos)): file.read_bytes() for file in photos.rglob("*") if file.is_file()} != files:
        wrong.append("the undo has not brought back what was there")
    if shown.getvalue() != visible_lines(shown.getvalue()):
        wrong.append("a name steers the terminal")
    text = page.read_bytes().decode()
    if text != visible_lines(text):
        wrong.append("a name steers the page")
    return wrong


def _make_photos(photos: Path, chance: random.Random) -> dict[str, bytes]:
    files = {}
    for _ in range(_CLASSES):
        label = photos / strange_name(chance)
        label.mkdir(parents=True, exist_ok=True)
        for number in range(_FILES):
            file = label / f"{strange_name(chance)}{number}.png"
            if number == 0:
                file.write_bytes(b"no image")
            else:
                Image.frombytes("RGB", (12, 12), chance.randbytes(12 * 12 * 3)).save(file)
            files[str(file.relative_to(photos))] = file.read_bytes()
    return files


def run(count: int, seed: int) -> list[str]:
    """Returns what is wrong with any of `count` folders, a line each."""
    lines = []
    for number in range(count):
        with tempfile.TemporaryDirectory() as folder:
            found = try_names(Path(folder), random.Random(f"{seed} {number}"))
        lines += [f"folder {number} of seed {seed}: {reason}" for reason in found]
    return lines


def main() -> int:
    """Runs the campaign and prints its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="number of folders")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    lines = run(given.count, given.seed)
    print("\n".join(lines))
    print(f"{given.count} folders of {_CLASSES * _FILES} names, seed {given.seed}: {len(lines)} faults")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
