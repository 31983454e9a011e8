"""What a recipe has decided, and why, in words."""

from collections.abc import Callable

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decide import Recipe, decide
from pipelines.recipe.pretrained import FEW_IMAGES
from pipelines.recipe.scratch import HE, LONG_TRAINING, MANY_IMAGES

# Makes a line of what was decided, its reason, and the settings that it tells of.
_Line = Callable[..., str]


def explain(recipe: Recipe, config: FinetuneConfig, images: int, source: str = "") -> str:
    """The decisions and why, one per line.

    Args:
        recipe: What was decided.
        config: What the user asked for.
        images: For training.
        source: The file whose decisions it repeats, if any.
    """
    now = decide(config, images)

    def line(decision: str, reason: str, *settings: str) -> str:
        if any(getattr(config, name, None) is not None for name in settings):
            reason = "as asked"
        elif any(getattr(recipe, name) != getattr(now, name) for name in settings):
            reason = f"as in {source}" if source else "as given"
        return f"{decision}: {reason}"

    lines = _explain_pretrained if recipe.head_first else _explain_random
    return "\n  ".join(["recipe:", *lines(recipe, images, line)])


def _explain_pretrained(recipe: Recipe, images: int, line: _Line) -> list[str]:
    few = f"{images} training images are {'fewer than' if images < FEW_IMAGES else 'at least'} {FEW_IMAGES}"
    return [
        line(
            f"head first, on frozen features of the last {recipe.head_stages} stages",
            "a random head would damage the weights (Kumar et al. 2022)",
            "head_stages",
        ),
        line("maxima of the stages beside averages, and the regularization", "chosen on validation"),
        line(
            f"then {_frozen(recipe.frozen_stages)}",
            "edges are the same everywhere (Yosinski et al. 2014)",
            "frozen_stages",
        ),
        line("batch norms keep their statistics", "those of the weights come from more images", "freeze_batch_norms"),
        line(
            "the kept head is fitted to the validation images too",
            "no labelled image is wasted once the choice is made",
            "refit_head",
        ),
        *_epochs(recipe, few, line),
        line(_rate(recipe), "small, to stay near the weights", "learning_rate"),
        line(_smoothing(recipe), "the best model is chosen by log loss, which it raises", "label_smoothing"),
    ]


def _frozen(stages: tuple[str, ...]) -> str:
    return f"{stages[0]} to {stages[-1]} stay frozen" if stages else "all stages learn"


def _explain_random(recipe: Recipe, images: int, line: _Line) -> list[str]:
    curve = f"{images} training images, on a curve through He et al. 2015's 182 for 45,000 and 120 for 1.28 million"
    return [
        line("all layers from random weights", "as --weights none asks"),
        *_epochs(recipe, curve, line),
        *(_explain_he if recipe.name == HE else _explain_modern)(recipe, images, line),
        line(
            f"stops after {recipe.patience} epochs without a better validation",
            "longer than the rate stays the same",
            "patience",
        ),
    ]


def _explain_he(recipe: Recipe, images: int, line: _Line) -> list[str]:
    drops, shares = ", ".join(map(str, recipe.drop_steps)), "at fixed shares of the training"
    return [
        line("the recipe he", "He et al. 2015, sections 3.4 and 4.2", "name"),
        line(_rate(recipe), "the paper's, linear in the batch (Goyal et al. 2017)", "learning_rate"),
        *([line(f"the rate is divided by 10 after {drops} steps", shares, "drop_steps")] if drops else []),
        line(f"L2 penalty {recipe.weight_decay:g} of all variables", "the paper's", "weight_decay"),
        line(_smoothing(recipe), "the paper has none", "label_smoothing"),
        line(_images(recipe), "the paper's", "augment", "mix"),
    ]


def _explain_modern(recipe: Recipe, images: int, line: _Line) -> list[str]:
    long = f"{recipe.epochs} epochs are {'fewer than' if recipe.epochs < LONG_TRAINING else 'at least'} {LONG_TRAINING}"
    cosine = ", then a cosine to 0" if recipe.schedule == "cosine" else ""
    many = f"{images} training images are {'fewer than' if images < MANY_IMAGES else 'at least'} {MANY_IMAGES}"
    return [
        line("the recipe modern", "after He et al. 2018, Wightman et al. 2021 and torchvision's", "name"),
        line(f"{_rate(recipe)}{cosine}", "linear in the batch (Goyal et al. 2017)", "learning_rate"),
        line(f"weight decay {recipe.weight_decay:g} of kernels", many, "weight_decay"),
        line(_smoothing(recipe), "Szegedy et al. 2015", "label_smoothing"),
        line(_images(recipe), long, "augment", "mix"),
    ]


def _epochs(recipe: Recipe, reason: str, line: _Line) -> list[str]:
    optimizer = "sgd" if recipe.optimizer == "momentum" else recipe.optimizer
    if recipe.schedule != "plateau":
        return [line(f"{recipe.epochs} epochs of {optimizer}", reason, "epochs")]
    return [
        line(f"as many epochs of {optimizer} as help, {recipe.epochs} at most", reason, "epochs"),
        f"the rate stays at its peak until validation has not improved for {recipe.plateau_patience} epochs, and then "
        "goes to 0 over a fifth of all: as good as a cosine with a known end (Hägele et al. 2024)",
    ]


def _rate(recipe: Recipe) -> str:
    most = "at most " if recipe.schedule == "plateau" else ""
    return f"peak rate {recipe.learning_rate:g} after {recipe.warmup_steps} of {most}{recipe.total_steps} steps"


def _smoothing(recipe: Recipe) -> str:
    return f"label smoothing {recipe.label_smoothing:g}"


def _images(recipe: Recipe) -> str:
    return f"images: augment {recipe.augment}, mix {recipe.mix}"
