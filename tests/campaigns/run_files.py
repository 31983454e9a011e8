"""Damages the files of a finished run and asks every verb for an answer: it must be the right one, or one clear line.

    python -m tests.campaigns.run_files RUN IMAGES --finetune "--weights none" [--count 300] [--seed 0]

Each trial copies the run, changes one file (bytes, rows, lines, or a value of its JSON), and runs `evaluate`,
`predict`, `export` or `finetune` on it in this process. A trial fails where the command answers with figures that
differ from those of the whole run, with an error that only a programmer understands, or with anything but exit code 0,
1 or 2. Prints each failure, and the sums at the end.
"""

import argparse
import contextlib
import io
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.cli import main as resnet_tf

FILES = ("config.json", "classes.json", "manifest.csv", "model.keras", "checkpoints")
FIGURES = ("n", "accuracy", "balanced_accuracy", "log_loss", "classes")
VALUES = (None, True, -1, 0, 1e308, float("nan"), "", "x" * 5000, [], {}, [1, 2], {"a": {}})


def campaign(run: Path, images: Path, count: int, seed: int, finetune: str) -> tuple[Counter, list[str]]:
    """Runs the trials.

    Args:
        run: Directory of a finished run, which is copied.
        images: Its images.
        count: Number of trials.
        seed: Seed of the damages.
        finetune: The options of `finetune` with which the run was made.

    Returns:
        How often each exit code came, and a line for each failure.
    """
    right = _answer(run, ["evaluate", str(run), "--split", "val"])[2]
    codes: Counter = Counter()
    failures = []
    for number in range(count):
        generator = random.Random(f"{seed}/{number}")
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(shutil.copytree(run, Path(folder) / "run"))
            shutil.rmtree(copy / "evaluation", ignore_errors=True)
            damage = _damage(copy, generator)
            words = _words(copy, images, finetune.split(), generator)
            code, error, figures = _answer(copy, words)
        codes[code] += 1
        wrong = _wrong(words[0], code, error, figures, right)
        if wrong:
            failures.append(f"trial {number}: {damage}; {words[0]}: {wrong}")
    return codes, failures


def _words(run: Path, images: Path, finetune: list[str], generator: random.Random) -> list[str]:
    return generator.choice(
        [
            ["evaluate", str(run), "--split", "val"],
            ["predict", str(run), str(next(images.rglob("*.jpg")))],
            ["finetune", str(images), "--run", str(run), *finetune],
            *([["export", str(run)]] if generator.random() < 0.3 else []),
        ]
    )


def _answer(run: Path, words: list[str]) -> tuple[Any, str, dict[str, Any] | None]:
    """Returns the exit code, standard error, and the figures that were written."""
    output, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            code: Any = resnet_tf(words)
        except BaseException as reason:  # nothing may come out of a command
            code = f"{type(reason).__name__}: {reason}"
    metrics = run / "evaluation" / "val" / "metrics.json"
    figures = json.loads(metrics.read_text()) if metrics.is_file() else None
    return code, error.getvalue(), figures


def _wrong(verb: str, code: Any, error: str, figures: dict[str, Any] | None, right: dict[str, Any] | None) -> str:
    """Returns what is wrong with an answer, or ""."""
    if code not in (0, 1, 2):
        return f"ended with {code}"
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    if code == 2 and (len(lines) != 1 or "--debug shows where" in lines[0] or len(lines[0]) > 500):
        return f"said {error[:300]!r}"
    if verb == "evaluate" and code == 0:
        assert figures is not None
        assert right is not None
        changed = [name for name in FIGURES if figures[name] != right[name]]
        return f"gave other figures: {changed}" if changed else ""
    return ""


def _damage(run: Path, generator: random.Random) -> str:
    """Changes one file; returns what was done, in words."""
    name = generator.choice(FILES)
    path = run / name
    if path.is_dir():
        path = generator.choice(sorted(file for file in path.iterdir() if file.is_file()))
    kinds: list[Callable[[Path, random.Random], str]] = [_cut, _flip, _empty, _remove]
    if path.suffix == ".json":
        kinds += [_json_value] * 8
    if path.suffix == ".csv":
        kinds += [_rows] * 4
    return f"{path.name}: {generator.choice(kinds)(path, generator)}"


def _cut(path: Path, generator: random.Random) -> str:
    content = path.read_bytes()
    length = generator.randrange(len(content))
    path.write_bytes(content[:length])
    return f"cut to {length} of {len(content)} bytes"


def _flip(path: Path, generator: random.Random) -> str:
    content = bytearray(path.read_bytes())
    places = [generator.randrange(len(content)) for _ in range(generator.choice((1, 1, 4, 32)))]
    for place in places:
        content[place] ^= 1 << generator.randrange(8)
    path.write_bytes(content)
    return f"bits flipped at {places[:4]}"


def _empty(path: Path, generator: random.Random) -> str:
    path.write_bytes(b"")
    return "emptied"


def _remove(path: Path, generator: random.Random) -> str:
    path.unlink()
    return "removed"


def _json_value(path: Path, generator: random.Random) -> str:
    content = json.loads(path.read_text())
    places = [(content, key) for key in (content if isinstance(content, dict) else range(len(content)))]
    for holder, key in list(places):
        if isinstance(holder[key], dict):
            places += [(holder[key], inner) for inner in holder[key]]
    holder, key = generator.choice(places)
    if generator.random() < 0.4:
        del holder[key]
        what = "removed"
    else:
        holder[key] = generator.choice(VALUES)
        what = f"set to {str(holder[key])[:20]!r}"
    path.write_text(json.dumps(content))
    return f"{key!r} {what}"


def _rows(path: Path, generator: random.Random) -> str:
    lines = path.read_text().splitlines(keepends=True)
    place = generator.randrange(len(lines))
    kind = generator.choice(("removed", "twice", "swapped", "a cell changed"))
    if kind == "removed":
        del lines[place]
    elif kind == "twice":
        lines.insert(place, lines[place])
    elif kind == "swapped":
        other = generator.randrange(len(lines))
        lines[place], lines[other] = lines[other], lines[place]
    else:
        cells = lines[place].rstrip("\n").split(",")
        cells[generator.randrange(len(cells))] = generator.choice(("", "x", "-1", "../a", "test"))
        lines[place] = ",".join(cells) + "\n"
    path.write_text("".join(lines))
    return f"row {place} {kind}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finetune", default="--weights none", help="the options with which the run was made")
    arguments = parser.parse_args()
    codes, failures = campaign(arguments.run, arguments.images, arguments.count, arguments.seed, arguments.finetune)
    print("\n".join(failures))
    print(f"{arguments.count} trials: exit codes {dict(codes)}, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
