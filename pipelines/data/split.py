"""Which images are for training, which for choosing the best epoch, which for the final figures."""

import numpy as np
import pandas as pd

from resnet_tf.errors import UserError


def assign_splits(
    labels: pd.Series, given: pd.Series, val_fraction: float, test_fraction: float, seed: int
) -> pd.Series:
    """A stratified, seeded split: each class is divided alike, by itself.

    A split that the data name is kept as it is. If they name any, images without one go to training, and only a
    missing validation part is taken out of it.

    Args:
        labels: Class of each image.
        given: "train", "val", "test", or "" where the data do not say.
        val_fraction: Share of a class for validation.
        test_fraction: Share of a class for the test.
        seed: The same seed and images give the same split.

    Returns:
        "train", "val" or "test" for each image.

    Raises:
        UserError: A class has too few images to have one in each split.
    """
    splits = given.copy()
    if (given != "").any():
        test_fraction = 0.0
        val_fraction = 0.0 if (given == "val").any() else val_fraction
    for number, label in enumerate(sorted(labels.unique())):
        free = np.flatnonzero((labels == label).to_numpy() & given.isin(["", "train"]).to_numpy())
        if not len(free):
            continue
        order = np.random.default_rng([seed, number]).permutation(free)
        test, val = (_part(len(free), fraction) for fraction in (test_fraction, val_fraction))
        if len(free) - test - val < 1:
            raise UserError(
                f"the class {label!r} has {len(free)} images to divide, too few for one in each of "
                f"{1 + (test > 0) + (val > 0)} splits; add images or remove the class"
            )
        splits.iloc[order[:test]] = "test"
        splits.iloc[order[test : test + val]] = "val"
        splits.iloc[order[test + val :]] = "train"
    return splits


def _part(images: int, fraction: float) -> int:
    """How many of a class's images make up a fraction: at least one, unless the fraction is 0."""
    return max(1, round(images * fraction)) if fraction else 0
