"""Measures which near-identical pictures are found: planted copies, and the groups among pictures that have no copies.

    python benchmarks/near_identity.py [FOLDER …]

Drawn shots of a fixed camera are always measured; each FOLDER is a data set of class folders. Of 40 pictures of a set
three copies are planted: a JPEG of quality 60, one at two thirds of the size, and one that is 15 % brighter. The groups
are counted before anything is planted.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from pipelines.data.find import find_images
from pipelines.data.inspect import inspect_images
from pipelines.data.similar import similar_groups

SHOTS, PLANTED, SIDE = 300, 40, 256
COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 60": lambda picture: picture,
    "smaller": lambda picture: picture.resize((picture.width * 2 // 3, picture.height * 2 // 3)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
}
QUALITIES = {"JPEG 60": 60, "smaller": 85, "brighter": 90}
KINDS = ("marks", "objects", "changing light", "shaking camera", "marks, much noise")


def smooth(random: np.random.Generator, cells: int, amplitude: float) -> np.ndarray:
    """Returns smooth noise, [SIDE, SIDE]."""
    coarse = Image.fromarray(random.random((cells, cells)).astype(np.float32))
    return (np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) - 0.5) * amplitude


def draw_shots(kind: str, folder: Path) -> list[Path]:
    """Writes shots of one fixed camera; a mark is in each second of them, an object in each."""
    random = np.random.default_rng(KINDS.index(kind))
    scene = 128 + smooth(random, 5, 120) + smooth(random, 40, 40)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    files = []
    for number in range(SHOTS):
        shot = scene.copy()
        if kind == "changing light":
            slopes = random.normal(0, 10, 2)
            shot *= random.uniform(0.8, 1.1)
            shot += slopes[0] * (columns / SIDE - 0.5) + slopes[1] * (rows / SIDE - 0.5)
        row, column = random.uniform(40, SIDE - 40, 2)
        distance = np.hypot(rows - row, columns - column)
        if kind == "objects":
            shot = np.where(distance < random.uniform(18, 30), shot * 0.4 + random.uniform(40, 160), shot)
        elif kind == "shaking camera":
            shot = np.roll(shot, random.integers(-2, 3, 2), (0, 1))
        elif number % 2:
            shot = np.where(distance < random.uniform(4, 9), shot - 60, shot)
        shot += random.normal(0, 10 if "noise" in kind else 4, shot.shape)
        files.append(folder / f"{number:03}.jpg")
        Image.fromarray(np.clip(shot, 0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


def groups_of(files: list[Path]) -> np.ndarray:
    """Returns the number of each file's group."""
    facts = inspect_images(files, None, lambda results: results)
    return similar_groups([fact.thumbnail for fact in facts], [fact.sha256 for fact in facts])


def measure(files: list[Path], folder: Path) -> list[int]:
    """Returns how many groups there are, files in them and in the largest, and copies of each kind that are found."""
    sizes = np.bincount(groups_of(files))[1:]
    sources = np.random.default_rng(0).choice(len(files), PLANTED, replace=False)
    planted = []
    for source in sources:
        with Image.open(files[source]) as picture:
            for kind, change in COPIES.items():
                planted.append(folder / f"planted {source} {kind}.jpg")
                change(picture.convert("RGB")).save(planted[-1], quality=QUALITIES[kind])
    groups = groups_of([*files, *planted])
    copies = groups[len(files) :].reshape(PLANTED, len(COPIES))
    found = (copies > 0) & (copies == groups[sources][:, None])
    return [len(sizes), int(sizes.sum()), int(sizes.max(initial=0)), *map(int, found.sum(axis=0))]


def main() -> None:
    """Measures the drawn sets and those that are named, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    print(f"| set | pictures | groups | files in them | largest | {' | '.join(COPIES)} |\n|{'---|' * 8}")
    with tempfile.TemporaryDirectory() as temporary:
        for name in (*arguments.folders, *KINDS):
            folder = Path(temporary) / Path(name).name
            folder.mkdir()
            if isinstance(name, Path):
                files = [name / path for path in find_images(name).images["path"]]
            else:
                files = draw_shots(name, folder)
            row = [Path(name).name, len(files), *measure(files, folder)]
            print(f"| {' | '.join(map(str, row))} |", flush=True)


if __name__ == "__main__":
    main()
