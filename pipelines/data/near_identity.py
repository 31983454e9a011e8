"""What --similar does about near-identical pictures: ignores them, ties them together, or leaves out the copies."""

import numpy as np
import pandas as pd

from pipelines.config.shared import SPLITS
from pipelines.console.terminal import say, warn
from resnet_tf.errors import UserError

# A group that holds more of a class than this share leaves little to divide.
LARGE_SHARE = 1 / 3
_SMALL_GROUP = 2  # images; two of five shots are nothing to speak of
ADVICE = "--similar keep ignores near-identity, and --group PATTERN says what belongs together"


def apply_similar(images: pd.DataFrame, rule: str) -> pd.DataFrame:
    """Returns the images that are used, and says what is done about near-identical ones.

    Args:
        images: Table of readable images with the columns path, label, split, similar and sha256.
        rule: Value of --similar.

    Raises:
        UserError: Leaving out copies leaves a class without images.
    """
    tied = images[images["similar"] > 0]
    if tied.empty:
        return images
    found = f"{tied['similar'].nunique()} groups of near-identical pictures ({len(tied)} images)"
    if rule == "keep":
        copies = int(images["sha256"].duplicated().sum())
        same = f"; {copies} of them are byte for byte a file that is there already" if copies else ""
        say(f"{found} may be divided between the splits (--similar keep){same}")
        return images
    if rule == "group":
        say(f"{found} stay together; --similar keep ignores them")
        for line in large_groups(images):
            warn(f"{line}; {ADVICE}")
        return images
    return _without_copies(images, found)


def large_groups(images: pd.DataFrame) -> list[str]:
    """Returns, in words, which group of near-identical pictures holds a large part of a class.

    Args:
        images: Table with the columns label and similar.
    """
    lines = []
    for label, members in images.groupby("label"):
        largest = members.loc[members["similar"] > 0, "similar"].value_counts().max()
        if largest > max(_SMALL_GROUP, LARGE_SHARE * len(members)):
            lines.append(
                f"one group of near-identical pictures holds {largest:.0f} of the {len(members)} images of the class "
                f"{str(label)!r}"
            )
    return lines


def kept_of(group: pd.DataFrame) -> pd.Series:
    """Returns the row of the picture of a group of one class that stays: one of the test, else of validation.

    So the results of earlier runs remain comparable.

    Args:
        group: Near-identical pictures, with the columns path and split.
    """
    split = next(split for split in reversed(("", *SPLITS)) if (group["split"] == split).any())
    return group[group["split"] == split].iloc[0]


def _without_copies(images: pd.DataFrame, found: str) -> pd.DataFrame:
    """Returns the images with one of each group, and with none of a group of several classes.

    Only a person knows which of the labels is right.
    """
    kept, conflicts = set(images.loc[images["similar"] == 0, "path"]), 0
    for _, group in images[images["similar"] > 0].groupby("similar"):
        if len(set(group["label"])) == 1:
            kept.add(kept_of(group)["path"])
        else:
            conflicts += len(group)
    rest = images[images["path"].isin(kept)].reset_index(drop=True)
    lost = sorted(set(images["label"]) - set(rest["label"]))
    if lost:
        raise UserError(
            f"--similar drop leaves no image of the class {lost[0]!r}: its pictures are in other classes as well; "
            "--similar keep ignores near-identity, `resnet-tf audit` names them"
        )
    both = f", {conflicts} of them in groups of several classes, of which none is used" if conflicts else ""
    say(f"{found}: {len(images) - len(rest)} images are left out (--similar drop){both}")
    return rest


def similar_ties(images: pd.DataFrame, rule: str) -> pd.Series:
    """Returns the number of each image's group of near-identical pictures where these stay together, otherwise 0."""
    return images["similar"] if rule == "group" else pd.Series(np.zeros(len(images), int), index=images.index)
