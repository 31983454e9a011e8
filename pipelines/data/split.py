"""Assigns images to the splits: for training, for choosing the best epoch, and for the final figures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.console.escapes import first_of
from pipelines.data.groups import tied_units
from resnet_tf.errors import UserError

# The splits take their share of a class in this order; training gets the rest.
_HELD_OUT = ("test", "val")


@dataclass(frozen=True)
class Fold:
    """One of the parts of a cross-validation. The parts do not depend on the number.

    Args:
        number: Number of the part, 0 … count - 1.
        count: Number of parts.
    """

    number: int
    count: int


def assign_splits(
    labels: pd.Series,
    given: pd.Series,
    val_fraction: float,
    test_fraction: float,
    seed: int,
    units: np.ndarray | None = None,
    fold: Fold | None = None,
) -> pd.Series:
    """Returns a stratified, seeded split, which divides each class by itself as far as images are not tied together.

    Splits that the data name are kept. If the data name any split, images without one go to training; if the data name
    no validation part, it is taken out of training.

    Args:
        labels: Class of each image.
        given: Split of each image: "train", "val", "test", or "" where the data do not say.
        val_fraction: Share of a class for validation.
        test_fraction: Share of a class for the test; unused with a fold, which is the test then.
        seed: Seed of the split; the same seed and images give the same split.
        units: Number of each image's unit; images with the same number stay in one split. None ties nothing.
        fold: Fold of a cross-validation that is the test, or None.

    Returns:
        "train", "val" or "test" for each image.

    Raises:
        UserError: A class has too few images, or too few groups of them, to have one in each split or fold.
    """
    units = np.arange(len(labels)) if units is None else units
    classes, codes = np.unique(labels.to_numpy(dtype=str), return_inverse=True)
    splits = given.to_numpy(dtype=object).copy()
    free = np.isin(splits, ("", "train"))
    shares = {"test": test_fraction, "val": val_fraction}
    if fold is not None:
        if (splits != "").any():
            raise UserError("the data name splits of their own, which --folds cannot divide again; leave it out")
        test = assign_folds(classes, codes, units, fold.count, seed) == fold.number
        splits[test], free, shares["test"] = "test", ~test, 0.0
    elif (splits != "").any():
        shares = {"test": 0.0, "val": 0.0 if (splits == "val").any() else val_fraction}
    _divide(splits, free, classes, codes, units, shares, seed)
    return pd.Series(splits, index=given.index, name=given.name, dtype=given.dtype)


def assign_folds(classes: np.ndarray, codes: np.ndarray, units: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """Assigns each image to one fold of a cross-validation, so that every fold has its share of every class.

    Args:
        classes: Names of the classes.
        codes: Class of each image, an index of `classes`.
        units: Number of each image's unit; images with the same number are in one fold.
        folds: Number of folds.
        seed: Seed of the folds; the same seed and images give the same folds.

    Returns:
        int [images], 0 … folds - 1.

    Raises:
        UserError: A class has no image for one of the folds.
    """
    result = np.full(len(codes), -1)
    load, sizes = np.zeros((len(classes), folds)), np.zeros(folds)

    def place(lot: np.ndarray) -> None:
        """Puts images into the fold with the fewest images of their classes; among equals, with the fewest images."""
        fold = np.lexsort((sizes, load[codes[lot]].sum(axis=0)))[0]
        result[lot] = fold
        sizes[fold] += len(lot)
        np.add.at(load, (codes[lot], fold), 1)

    for lot in _spanning(codes, units, np.ones(len(codes), bool), seed):
        place(lot)
    for code in range(len(classes)):
        for lot in sorted(_lots(np.flatnonzero((codes == code) & (result < 0)), units, [seed, code]), key=_smaller):
            place(lot)
    for code, label in enumerate(classes):
        if not load[code].all():
            raise UserError(f"the class {str(label)!r} has {_size(codes == code, units)}, too few for {folds} folds")
    return result


def _divide(
    splits: np.ndarray,
    free: np.ndarray,
    classes: np.ndarray,
    codes: np.ndarray,
    units: np.ndarray,
    shares: Mapping[str, float],
    seed: int,
) -> None:
    """Fills in the splits of all free images, in place."""
    wanted = {split: np.zeros(len(classes), int) for split in ("train", *_HELD_OUT)}
    for code, images in enumerate(np.bincount(codes[free], minlength=len(classes)).tolist()):
        parts = {split: _part(images, shares[split]) if images else 0 for split in _HELD_OUT}
        for split, number in {"train": images - sum(parts.values()), **parts}.items():
            wanted[split][code] = number
    _check_sizes(classes, wanted)

    decided = ~free
    have = {split: np.zeros(len(classes), int) for split in wanted}

    def decide(lot: np.ndarray, split: str) -> None:
        splits[lot], decided[lot] = split, True
        np.add.at(have[split], codes[lot], 1)

    for lot in _spanning(codes, units, free, seed):
        decide(lot, _neediest(codes[lot], wanted, have))
    for code in range(len(classes)):
        lots = _lots(np.flatnonzero(free & (codes == code)), units, [seed, code])
        lots = [lot for lot in lots if not decided[lot[0]]]
        for split in _HELD_OUT:
            later = (*_HELD_OUT[_HELD_OUT.index(split) + 1 :], "train")
            reserved = sum(wanted[other][code] > 0 == have[other][code] for other in later)
            taken = _take(lots, wanted[split][code], have[split][code], len(lots) - reserved)
            for number in taken:
                decide(lots[number], split)
            lots = [lot for number, lot in enumerate(lots) if number not in taken]
        for lot in lots:
            decide(lot, "train")
    for code, label in enumerate(classes):
        for split in wanted:
            if wanted[split][code] > 0 == have[split][code]:
                raise UserError(
                    f"the class {str(label)!r} has no image for {split}: it has "
                    f"{_size(free & (codes == code), units)}; add images, or try another --seed or --group"
                )


def _check_sizes(classes: np.ndarray, wanted: Mapping[str, np.ndarray]) -> None:
    """Checks that each class leaves an image for training.

    Args:
        classes: Names of the classes.
        wanted: Number of images of each class that each split is to have.

    Raises:
        UserError: A class has too few images; all such classes are counted, so that they are mended at one go.
    """
    images = np.sum(list(wanted.values()), axis=0)
    small = np.flatnonzero((images > 0) & (wanted["train"] < 1))
    if not len(small):
        return
    first, *others = small
    splits = 1 + sum(int(wanted[split][first] > 0) for split in _HELD_OUT)
    named = first_of([repr(str(classes[code])) for code in others])
    more = f"; the same holds for {len(others)} more classes ({named})" if others else ""
    raise UserError(
        f"the class {str(classes[first])!r} has {images[first]} image{'s' if images[first] > 1 else ''} to divide, too "
        f"few for one in each of {splits} splits{more}; add images or remove the class{'es' if others else ''}"
    )


def _take(lots: list[np.ndarray], wanted: int, have: int, most: int) -> set[int]:
    """Returns the numbers of the lots that a split takes to come closest to the wanted number of images.

    Lots are considered one after the other. A split that has no image yet takes at least one lot.
    """
    taken: set[int] = set()
    if wanted:
        for number, lot in enumerate(lots):
            if len(taken) < most and abs(have + len(lot) - wanted) < abs(have - wanted):
                taken.add(number)
                have += len(lot)
        if not have and most > 0:
            taken.add(min(range(len(lots)), key=lambda number: len(lots[number])))
    return taken


def _neediest(codes: np.ndarray, wanted: Mapping[str, np.ndarray], have: Mapping[str, np.ndarray]) -> str:
    """Returns the split that lacks the largest share of its wanted images of these classes.

    Training is chosen in a tie, and if no split wants images of all of these classes.
    """
    lacks = {
        split: float((1 - have[split][codes] / wanted[split][codes]).sum())
        for split in wanted
        if wanted[split][codes].all()
    }
    return max(lacks, key=lambda split: lacks[split]) if lacks else "train"


def _lots(members: np.ndarray, units: np.ndarray, seed: list[int]) -> list[np.ndarray]:
    """Returns the images in a random order, as lots that each hold one unit, at the place of the unit's first image."""
    order = np.random.default_rng(seed).permutation(members)
    _, first, inverse = np.unique(units[order], return_index=True, return_inverse=True)
    by_lot = np.argsort(first[inverse], kind="stable")
    return np.split(order[by_lot], np.flatnonzero(np.diff(first[inverse][by_lot])) + 1) if len(order) else []


def _spanning(codes: np.ndarray, units: np.ndarray, free: np.ndarray, seed: int) -> list[np.ndarray]:
    """Returns the units with images of several classes, the largest first; no class can divide these by itself."""
    pairs = np.unique(np.stack([units[free], codes[free]]), axis=1)
    several, counts = np.unique(pairs[0], return_counts=True)
    members = np.flatnonzero(free & np.isin(units, several[counts > 1]))
    return sorted(_lots(members, units, [seed, len(codes)]), key=_smaller)


def _smaller(lot: np.ndarray) -> int:
    return -len(lot)


def _size(chosen: np.ndarray, units: np.ndarray) -> str:
    images, groups = int(chosen.sum()), len(np.unique(units[chosen]))
    return f"{images} images" + (f" in {groups} groups that stay together" if groups < images else "")


def _part(images: int, fraction: float) -> int:
    """Returns the number of a class's images for a fraction: at least one, unless the fraction is 0."""
    return max(1, round(images * fraction)) if fraction else 0


def with_test(manifest: pd.DataFrame, val_fraction: float, seed: int) -> pd.DataFrame:
    """Returns a manifest whose validation images are its test, if it has no test; training gives new ones.

    What has chosen a model flatters it, so that the only images that are held out judge it better than they choose.

    Args:
        manifest: Table of all images, divided into splits.
        val_fraction: Share of each class of the training images that is for validation then.
        seed: Seed of the split.

    Raises:
        UserError: A class has too few training images.
    """
    if (manifest["split"] != "val").all() or (manifest["split"] == "test").any():
        return manifest
    units = tied_units(manifest["similar"], manifest["group"])
    given = manifest["split"].replace("val", "test")
    return manifest.assign(split=assign_splits(manifest["label"], given, val_fraction, 0.0, seed, units))
