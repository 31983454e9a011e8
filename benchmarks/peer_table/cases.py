"""The six kinds of data, their folds, and the folders of links in which other tools expect a divided data set."""

import csv
import os
import re
import shutil
import zipfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peer_table.locks import locked
from pipelines.data.groups import tied_units
from pipelines.data.manifest import COLUMNS, class_names, data_root, look_at_images
from pipelines.data.split import Fold, assign_splits
from pipelines.runs.files import write_csv

PHOTOS = ("natural30", "grocery30", "flowers12", "steel6")
TILES, CIFAR = "tiles6", "cifar10"
CASES = (*PHOTOS, TILES, CIFAR)
CIFAR_ARCHIVE = "cifar10.zip"
VAL_FRACTION = 0.15  # the default of `resnet-tf finetune`
TABLE = "images.csv"
# Exposures of one tile have numbers that follow each other closely, and the next tile's begin far above them: of the
# gaps between the sorted numbers a sixth are above 100, and the runs between these have six pictures as a rule.
TILE_GAP = 100
_TILE_NUMBER = re.compile(r"exp\d+_num_(\d+)\.")


@dataclass(frozen=True)
class DividedCase:
    """One fold of a data set.

    Args:
        name: Name of the data set.
        fold: Number of the fold, which is the test.
        data: Folder or CSV of the images.
        folder: Folder of the fold, with the manifest, the links and their listing.
    """

    name: str
    fold: int
    data: Path
    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "manifest.csv"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def listing(self) -> Path:
        return self.folder / "images.csv"

    def classes(self) -> list[str]:
        """Returns the names of the classes, in sorted order."""
        return class_names(pd.read_csv(self.listing, keep_default_na=False, dtype=str))


def prepare_case(name: str, root: Path, folder: Path, cifar_per_class: int = 100) -> Path:
    """Returns the folder or the CSV of a data set, which is made if it is not among the data as it is needed.

    Args:
        name: Name of the data set, one of `CASES`.
        root: Folder of all data.
        folder: Folder for what is made.
        cifar_per_class: Images of each class that are drawn from the training part of CIFAR-10.

    Raises:
        FileNotFoundError: The data are not there.
    """
    source = root / (CIFAR_ARCHIVE if name == CIFAR else name)
    if not source.exists():
        raise FileNotFoundError(f"there is no {source.name} in {root}")
    if name in PHOTOS:
        return source.resolve()
    made = folder / name
    result = made if name == CIFAR else made / TABLE
    with locked(made, wait=True):
        if made.exists():
            return result.resolve()
        half = folder / f".{name}"
        shutil.rmtree(half, ignore_errors=True)
        if name == CIFAR:
            _draw_from_cifar(source, half, cifar_per_class)
        else:
            shutil.copytree(source, half, copy_function=shutil.copyfile)
            _write_groups(half, tile_of([path.relative_to(half).as_posix() for path in sorted(half.glob("*/*.jpg"))]))
        half.rename(made)
    return result.resolve()


def tile_of(paths: list[str]) -> dict[str, str]:
    """Returns the name of the tile that each picture shows, from the numbers in the names of all pictures.

    Args:
        paths: Paths such as "crack/exp1_num_85781.jpg".
    """
    found = {path: _TILE_NUMBER.search(path) for path in paths}
    numbers = {path: int(match[1]) for path, match in found.items() if match}
    tiles: dict[str, str] = {}
    before, tile = -np.inf, 0
    for path, number in sorted(numbers.items(), key=lambda pair: (pair[1], pair[0])):
        tile += number - before > TILE_GAP
        tiles[path], before = f"tile {tile}", number
    return {path: tiles.get(path, "") for path in paths}


def prepare_fold(name: str, data: Path, folder: Path, fold: Fold) -> DividedCase:
    """Divides a data set and lays out the folders, unless that has been done.

    Near-identical pictures stay in one split. Pictures of a fixed camera are near-identical all over, so that of the
    tiles only those of one tile stay together.

    Args:
        name: Name of the data set.
        data: Folder or CSV of the images.
        folder: Folder of all data sets' folds.
        fold: Fold that is the test.

    Raises:
        UserError: The data cannot be divided into as many folds.
    """
    case = DividedCase(name, fold.number, data, folder / name / f"fold-{fold.number}-of-{fold.count}")
    with locked(case.folder, wait=True):
        if case.listing.exists():
            return case
        table = look_at_images(data).images
        images = table[table["readable"]].reset_index(drop=True)
        similar = images["similar"] * (name != TILES)
        units = tied_units(similar, images["group"])
        given = pd.Series("", index=images.index, name="split", dtype=images["split"].dtype)
        images["split"] = assign_splits(images["label"], given, VAL_FRACTION, 0.0, 0, units, fold)
        case.folder.mkdir(parents=True, exist_ok=True)
        write_csv(case.manifest, images[list(COLUMNS)])
        _lay_out(case, images, units)
    return case


def _lay_out(case: DividedCase, images: pd.DataFrame, units: np.ndarray) -> None:
    """Makes the links, and then the listing, which says that all of them are there."""
    shutil.rmtree(case.images, ignore_errors=True)
    root = data_root(case.data).resolve()
    rows = []
    for number, row in enumerate(images.itertuples()):
        link = case.images / str(row.split) / str(row.label) / f"{number:06d}{Path(str(row.path)).suffix.lower()}"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(root / str(row.path), link)
        rows.append((str(link.absolute()), row.path, row.label, row.split, int(units[number])))
    write_csv(case.listing, pd.DataFrame(rows, columns=["file", "path", "label", "split", "unit"]))


def _write_groups(folder: Path, groups: dict[str, str]) -> None:
    with open(folder / TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "group"])
        writer.writerows((path, path.partition("/")[0], group) for path, group in groups.items())


def _draw_from_cifar(archive: Path, folder: Path, per_class: int) -> None:
    random = np.random.default_rng(0)
    with zipfile.ZipFile(archive) as zipped:
        names: dict[str, list[str]] = defaultdict(list)
        for name in sorted(zipped.namelist()):
            parts = name.split("/")
            if len(parts) == 4 and parts[1] == "train" and parts[3]:
                names[parts[2]].append(name)
        for label, members in sorted(names.items()):
            (folder / label).mkdir(parents=True)
            for number in sorted(random.permutation(len(members))[:per_class]):
                (folder / label / Path(members[number]).name).write_bytes(zipped.read(members[number]))
