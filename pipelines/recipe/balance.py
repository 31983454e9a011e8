"""Decides what is done about classes of unequal size, and says it."""

import pandas as pd

from pipelines.evaluation.score import BALANCED_LOG_LOSS, LOG_LOSS
from pipelines.recipe.decision import DATA, USER, Decision

# From this ratio of the largest class to the smallest on, every class counts the same unless the user says otherwise.
UNEQUAL = 5


def balance_decision(imbalance: float) -> Decision:
    """Returns the decision on what is done about classes of unequal size.

    Where they are far from equal, the log loss over all images is lowest for models that give up the rare classes
    (docs/recipe.md).

    Args:
        imbalance: Number of training images of the largest class over that of the smallest.
    """
    largest = f"the largest class has {imbalance:.3g} times as many training images as the smallest"
    if imbalance < UNEQUAL:
        return Decision("balance", "none", f"{largest}, less than {UNEQUAL}", DATA)
    return Decision("balance", "logits", largest, DATA)


def choice_of_model(balance: Decision) -> Decision:
    """Returns the decision on the figure by which the best model is chosen.

    Args:
        balance: Decision on what is done about classes of unequal size.
    """
    if balance.value == "none":
        return Decision("choose_by", LOG_LOSS, "every image counts the same, and every probability is used")
    reason = f"as --balance {balance.value} asks" if balance.decided_by == USER else f"the balance is {balance.value}"
    return Decision("choose_by", BALANCED_LOG_LOSS, reason, balance.decided_by)


def imbalance_of(sizes: pd.Series) -> float:
    """Returns the number of images of the largest class over that of the smallest.

    Args:
        sizes: Number of images of each class.
    """
    return float(sizes.max() / sizes.min()) if len(sizes) else 1.0


def imbalance_in_words(sizes: pd.Series, balance: str) -> str:
    """Returns a sentence about classes that are far from equal and what is optimized, or "" if they are not.

    Args:
        sizes: Number of training images of each class.
        balance: Value of --balance that is used.
    """
    if imbalance_of(sizes) < UNEQUAL:
        return ""
    how_many = f"classes have {sizes.min()} to {sizes.max()} training images"
    if balance == "none":
        return f"{how_many}; every image counts the same, so rare classes count little; --balance logits changes that"
    return (
        f"{how_many}; every class counts the same, by --balance {balance}, which finds more of the rare ones and gets "
        "fewer of the images right; --balance none makes every image count the same"
    )
