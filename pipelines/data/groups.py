"""Finds the images that must stay in one split: near-identical pictures, and files that the user ties together."""

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipelines.data.similar import connected
from resnet_tf.errors import UserError


@dataclass(frozen=True)
class Ties:
    """What ties images together, so that they stay in one split.

    Args:
        group: Value of --group, or None.
        similar: Value of --similar.
    """

    group: str | None = None
    similar: str = "group"


def name_groups(images: pd.DataFrame, pattern: str | None) -> pd.Series:
    """Returns the name that ties each image to others, such as that of an object, a patient or a shop.

    Args:
        images: Table with the columns path and group.
        pattern: Regular expression with one group, searched in each path; the text that the group matches is the
            name. A path without a match is tied to nothing. None returns the column group unchanged.

    Returns:
        Name of each image's group, "" for an image that is tied to nothing.

    Raises:
        UserError: A pattern is given although the column has groups already, or no path matches it.
    """
    if pattern is None:
        return images["group"]
    if (images["group"] != "").any():
        raise UserError(f"the CSV has groups of its own in its column 'group'; leave out --group {pattern!r}")
    names = images["path"].str.extract(re.compile(pattern), expand=False).fillna("")
    if (names == "").all():
        raise UserError(f"--group {pattern!r} matches none of the paths, such as {images['path'].iloc[0]!r}")
    return names


def tied_units(similar: pd.Series, group: pd.Series) -> np.ndarray:
    """Numbers the sets of images that must stay together because of either kind of tie.

    Ties are transitive: a picture that is near-identical to an image of a group belongs to the group.

    Args:
        similar: Number of each image's group of near-identical pictures, 0 for none.
        group: Name of each image's group, "" for none.

    Returns:
        int [images], the same number for images that stay together.
    """
    units = np.arange(len(similar))
    for names, none in ((similar.to_numpy(), 0), (group.to_numpy(), "")):
        tied = np.flatnonzero(names != none)
        _, first, inverse = np.unique(names[tied].astype(str), return_index=True, return_inverse=True)
        units = connected(units, tied, tied[first[inverse]])
    return units


def divisible(units: np.ndarray) -> np.ndarray:
    """Returns units of which there are several: where all images are of a single one, each image is one of its own.

    Args:
        units: int [images], the same number for images that stay together.
    """
    return units if len(np.unique(units)) > 1 else np.arange(len(units))
