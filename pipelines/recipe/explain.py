"""Explains the decisions of a recipe in words."""

from collections.abc import Callable, Iterable

from pipelines.console.clock import in_minutes
from pipelines.evaluation.score import LOG_LOSS
from pipelines.recipe.decision import NOTHING, Decision, Recipe, recipe_of
from pipelines.recipe.pretrained import REFERENCE_BATCH
from pipelines.recipe.scratch import HE


def explain(decisions: Iterable[Decision]) -> str:
    """Returns a line for each decision that a reader wants to know: what was decided, and why.

    Args:
        decisions: Decisions, one for each field of `Recipe`.
    """
    rows = {row.setting: row for row in decisions}
    recipe = recipe_of(rows.values())
    lines = []
    for setting, say in _WORDS.items():
        words = say(recipe)
        if words:
            told = [rows[name] for name in (setting, *_TOLD_WITH.get(setting, ()))]
            reason = next((row.reason for row in told if row.changed), told[0].reason)
            lines.append(f"{words}: {reason}")
    return "\n  ".join(["recipe:", *lines])


def batch_in_words(batch_size: int, images: int) -> str:
    """Returns a sentence about a batch that is larger than all training images together, or "" if it is not.

    The usual batch may be larger, since a step is the least that can be trained.

    Args:
        batch_size: Number of images per step.
        images: Number of training images.
    """
    if batch_size <= max(REFERENCE_BATCH, images):
        return ""
    return (
        f"a step has {batch_size} images, more than the {images} for training, so that it shows images several times; "
        "with a smaller --batch-size an epoch is shorter"
    )


def _head(recipe: Recipe) -> str:
    if recipe.head_first:
        return f"head first, on frozen features of the last {recipe.head_stages} stages"
    return "no head first" if recipe.pretrained else "all layers from random weights"


def _pooling(recipe: Recipe) -> str:
    if not recipe.head_first:
        return ""
    maxima = "maxima of the stages beside averages, and " if recipe.head_pooling == "avg+max" else ""
    return f"{maxima}the regularization"


def _frozen(recipe: Recipe) -> str:
    stages = recipe.frozen_stages
    if not recipe.pretrained:
        return ""
    return f"then {stages[0]} to {stages[-1]} stay frozen" if stages else "then all stages learn"


def _batch_norms(recipe: Recipe) -> str:
    if not recipe.pretrained:
        return ""
    return f"batch norms {'keep their statistics' if recipe.freeze_batch_norms else 'adapt their statistics'}"


def _refit(recipe: Recipe) -> str:
    return "the kept head is fitted to the validation images too" if recipe.refit_head else ""


def _epochs(recipe: Recipe) -> str:
    optimizer = "sgd" if recipe.optimizer == "momentum" else recipe.optimizer
    if recipe.minutes is not None:
        return f"as many epochs of {optimizer} as fit into {in_minutes(recipe.minutes)}"
    if recipe.schedule == "plateau" and recipe.choose_by != NOTHING:
        return f"as many epochs of {optimizer} as help, {recipe.epochs} at most"
    return f"{recipe.epochs} epoch{'' if recipe.epochs == 1 else 's'} of {optimizer}"


def _plateau(recipe: Recipe) -> str:
    if recipe.schedule != "plateau" or recipe.choose_by == NOTHING:
        return ""
    if recipe.minutes is not None:
        return (
            "the rate stays at its peak for two thirds of them, or until validation has not improved for "
            f"{recipe.plateau_patience} epochs, and then goes to 0"
        )
    return (
        f"the rate stays at its peak until validation has not improved for {recipe.plateau_patience} epochs, and then "
        "goes to 0 over a fifth of all"
    )


def _name(recipe: Recipe) -> str:
    return "" if recipe.pretrained else f"the recipe {recipe.name}"


def _rate(recipe: Recipe) -> str:
    if recipe.minutes is not None:
        return f"peak rate {recipe.learning_rate:g} after {recipe.warmup_steps} steps"
    most = "at most " if recipe.schedule == "plateau" else ""
    rate = f"peak rate {recipe.learning_rate:g} after {recipe.warmup_steps} of {most}{recipe.total_steps} steps"
    return f"{rate}, then a cosine to 0" if recipe.schedule == "cosine" and not recipe.pretrained else rate


def _drops(recipe: Recipe) -> str:
    drops = ", ".join(map(str, recipe.drop_steps))
    return f"the rate is divided by 10 after {drops} steps" if drops else ""


def _decay(recipe: Recipe) -> str:
    if recipe.pretrained:
        return ""
    if recipe.name == HE:
        return f"L2 penalty {recipe.weight_decay:g} of all variables"
    return f"weight decay {recipe.weight_decay:g} of kernels"


def _smoothing(recipe: Recipe) -> str:
    return f"label smoothing {recipe.label_smoothing:g}"


def _images(recipe: Recipe) -> str:
    return "" if recipe.pretrained else f"images: augment {recipe.augment}, mix {recipe.mix}"


def _size(recipe: Recipe) -> str:
    return f"images of {recipe.image_size} pixels"


def _view(recipe: Recipe) -> str:
    return {
        "crop": "the network sees the crop at the centre of each picture",
        "squeeze": "the network sees the whole of each picture, squeezed to a square",
        "pad": "the network sees the whole of each picture, padded to a square",
    }[recipe.view]


def _patience(recipe: Recipe) -> str:
    return (
        ""
        if recipe.pretrained or recipe.choose_by == NOTHING
        else f"stops after {recipe.patience} epochs without a better validation"
    )


def _choice(recipe: Recipe) -> str:
    if recipe.choose_by == NOTHING:
        return "nothing is chosen, and there is no validation"
    if recipe.choose_by == LOG_LOSS:
        return "the best model has the lowest log loss on validation"
    return "the best model has the lowest balanced log loss on validation, in which every class counts the same"


# The functions that explain the settings, in the order of the training. They return "" if there is nothing to say.
_WORDS: dict[str, Callable[[Recipe], str]] = {
    "image_size": _size,
    "view": _view,
    "head_first": _head,
    "head_pooling": _pooling,
    "frozen_stages": _frozen,
    "freeze_batch_norms": _batch_norms,
    "refit_head": _refit,
    "epochs": _epochs,
    "plateau_patience": _plateau,
    "name": _name,
    "learning_rate": _rate,
    "drop_steps": _drops,
    "weight_decay": _decay,
    "label_smoothing": _smoothing,
    "augment": _images,
    "patience": _patience,
    "choose_by": _choice,
}
# The settings that are explained in another setting's line.
_TOLD_WITH = {"head_first": ("head_stages",), "augment": ("mix",)}
