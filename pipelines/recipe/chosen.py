"""What a run has chosen, and the recipe that repeats it on all images, where nothing is left to choose by."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from pipelines.recipe.decision import EARLIER_RUN, NOTHING, Decision, recipe_of


@dataclass(frozen=True)
class Chosen:
    """What a run has chosen on its validation images.

    Args:
        run: Path of the run.
        use_all: Value of --use-all, "val" or "test".
        model: Name of the model that was kept, in words.
        epochs: Number of epochs that it was trained.
        share: Share of the trained weights in it; 0 is the head on frozen features.
        head_strength: Inverse regularization of the head on frozen features; None without such a head.
        head_channels: Number of features that this head uses, from the first on; None without such a head.
        plateau_epochs: Number of epochs before the learning rate went down, with --epochs auto; 0 if it did not.
    """

    run: str
    use_all: str
    model: str
    epochs: int
    share: float
    head_strength: float | None = None
    head_channels: int | None = None
    plateau_epochs: int = 0


def everything(manifest: pd.DataFrame, use_all: str) -> pd.DataFrame:
    """Returns the manifest in which the images for validation, and with "test" those of the test, are for training.

    Args:
        manifest: Table of all images, divided into splits.
        use_all: Value of --use-all, "val" or "test".
    """
    moved = manifest["split"].isin(("val", use_all))
    return manifest.assign(split=manifest["split"].mask(moved, "train"))


def repeated_decisions(
    decisions: Iterable[Decision], chosen: Chosen, steps_before: int, steps_now: int
) -> tuple[Decision, ...]:
    """Returns the decisions of the run that has chosen, changed to what it has chosen.

    The learning rate changes at the same epochs as in that run. If an earlier epoch than the last one was kept, the
    training ends after that epoch, at the rate that it had there.

    Args:
        decisions: Decisions of the run that has chosen.
        chosen: What it has chosen.
        steps_before: Number of its steps per epoch.
        steps_now: Number of steps per epoch with all images.
    """
    decisions = tuple(decisions)
    recipe, by = recipe_of(decisions), f"as {chosen.run} has chosen"
    in_step = f"the same parts of an epoch as in {chosen.run}"
    rows = [
        Decision("epochs", chosen.epochs, _epochs_in_words(chosen, recipe.epochs, recipe.schedule)),
        Decision("refit_head", False, "it is fitted to all images at once"),
        Decision("choose_by", NOTHING, f"{chosen.run} has chosen everything"),
        Decision("warmup_steps", _stretched(recipe.warmup_steps, steps_before, steps_now), in_step),
        Decision("drop_steps", tuple(_stretched(step, steps_before, steps_now) for step in recipe.drop_steps), in_step),
        Decision("total_steps", max(1, _stretched(recipe.total_steps, steps_before, steps_now)), in_step),
    ]
    if chosen.head_strength is not None:
        head = f"{chosen.head_channels} features, inverse regularization {chosen.head_strength:g}"
        rows.append(Decision("head_pooling", recipe.head_pooling, f"{head}, {by}"))
    changed = {row.setting: Decision(row.setting, row.value, row.reason, EARLIER_RUN) for row in rows}
    return tuple(changed.get(row.setting, row) for row in decisions)


def _stretched(step: int, steps_before: int, steps_now: int) -> int:
    return round(step * steps_now / steps_before)


def _epochs_in_words(chosen: Chosen, planned: int, schedule: str) -> str:
    words = f"those of the model that {chosen.run} has kept ({chosen.model})"
    if schedule == "plateau":
        falls = 0 < chosen.plateau_epochs < chosen.epochs
        return f"{words}; the rate falls after epoch {chosen.plateau_epochs}, as there" if falls else words
    cut = 0 < chosen.epochs < planned
    return f"{words}; the rate is that of the first {chosen.epochs} of {planned} epochs" if cut else words
