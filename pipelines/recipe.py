"""The fine-tuning policy: small pure functions from facts about the data to settings, as in BiT's hyper-rule
(Kolesnikov et al. 2020)."""

import math
from dataclasses import dataclass
from typing import Any

from pipelines.config import AUTO, FinetuneConfig
from resnet_tf.architectures import find_architecture

REFERENCE_BATCH = 32
WARMUP_SHARE = 0.1
# Where training all but the first stages begins to be worth its time. Measured at 1,000 to 1,350 images only, where
# it was not (docs/recipe.md); the number above that is a judgement.
FEW_IMAGES = 5000
# What the user may ask for; None leaves it to the recipe.
ASKED = ("epochs", "learning_rate", "label_smoothing")


@dataclass(frozen=True)
class Recipe:
    """All that training needs to know beyond the data.

    Args:
        head_first: Whether a head is fitted to the frozen backbone's features before.
        head_stages: How many of the last stages the head sees.
        head_pooling: How each is pooled, "avg" or "avg+max"; the head may leave the maxima out, see `fit_head`.
        refit_head: Whether the head that is kept was fitted to the validation images as well.
        frozen_stages: Stages that keep the variables of the weights.
        freeze_batch_norms: Whether batch norms keep the statistics of the weights.
        epochs: Passes in which the layers are trained together; with a plateau, at most.
        optimizer: "adamw", or "sgd" with Nesterov momentum 0.9.
        schedule: "cosine" to 0 (Loshchilov and Hutter 2016), or "plateau", see `pipelines.schedule`.
        plateau_patience: Epochs without a better validation until the rate leaves the plateau, 0 where there is none.
        learning_rate: Peak.
        warmup_steps: Linear from 0 to the peak, before the rest of the schedule.
        total_steps: Of all together; with a plateau, at most.
        weight_decay: Of kernels only, decoupled: per step a weight loses learning_rate × weight_decay of itself.
        label_smoothing: Share of the target spread over all classes.
        min_area: Smallest random crop, as a share of the image.
    """

    head_first: bool
    head_stages: int
    head_pooling: str
    refit_head: bool
    frozen_stages: tuple[str, ...]
    freeze_batch_norms: bool
    epochs: int
    optimizer: str
    schedule: str
    plateau_patience: int
    learning_rate: float
    warmup_steps: int
    total_steps: int
    weight_decay: float
    label_smoothing: float
    min_area: float


def decide(config: FinetuneConfig, images: int) -> Recipe:
    """The settings of a run. What the user asked for goes before what is decided here.

    Args:
        config: What the user asked for.
        images: For training.
    """
    parts = find_architecture(config.arch).parts
    batch = config.batch_size
    policy = pretrained_policy(batch, images, parts) if config.pretrained else scratch_policy(batch)
    asked = {name: getattr(config, name) for name in ASKED if getattr(config, name) not in (None, AUTO)}
    steps, epochs = math.ceil(images / batch), asked.get("epochs", policy["epochs"])
    settled = {**policy, "schedule": "cosine", "plateau_patience": 0, **asked}
    settled["warmup_steps"] = round(WARMUP_SHARE * steps * epochs)  # long enough for the optimizer's averages to fill
    if config.epochs == AUTO:
        settled |= open_ended_policy(epochs, policy["head_first"])
    return Recipe(**settled, total_steps=max(1, steps * settled["epochs"]))


def open_ended_policy(epochs: int, head_first: bool) -> dict[str, Any]:
    """With --epochs auto: a rate that stays at its peak while validation improves. A judgement: fine-tuning in a few
    epochs may go on for ten times as long, training from scratch twice; and a twelfth of the usual epochs without a
    better validation, two at least, are enough to wait.

    Args:
        epochs: Of the policy.
        head_first: Whether a head is fitted before.
    """
    return {
        "epochs": (10 if head_first else 2) * epochs,
        "schedule": "plateau",
        "plateau_patience": max(2, round(epochs / 12)),
    }


def pretrained_policy(batch_size: int, images: int, parts: tuple[str, ...]) -> dict[str, Any]:
    """Head first, then a small rate from there: Kumar et al. 2022, arXiv 2202.10054.

    The head sees three stages, since the features of other classes than the weights' stand in the middle of the
    network as well. AdamW, because its steps do not grow with the head's weights, which are large where the
    features are small. The rate grows with the square root of the batch, as Adam's do (Malladi et al. 2022, arXiv
    2205.10287). Labels are not smoothed, since the best model is chosen by log loss, which smoothing raises.

    Args:
        batch_size: Images per step.
        images: For training.
        parts: Of the architecture, from the input on.
    """
    return {
        "head_first": True,
        "head_stages": 3,
        "head_pooling": "avg+max",
        "refit_head": True,
        "frozen_stages": frozen_stages(images, parts),
        "freeze_batch_norms": True,
        "epochs": 3 if images < FEW_IMAGES else 4,
        "optimizer": "adamw",
        "learning_rate": 1e-4 * math.sqrt(batch_size / REFERENCE_BATCH),
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "min_area": 0.35 if images < FEW_IMAGES else 0.5,
    }


def frozen_stages(images: int, parts: tuple[str, ...]) -> tuple[str, ...]:
    """Stages that stay as the weights have them: all but the last where images are few, which halves the work of a
    step and loses nothing there (docs/recipe.md); else the stem and the first stage, whose edges and colours are the
    same everywhere (Yosinski et al. 2014, arXiv 1411.1792).

    Args:
        images: For training.
        parts: Of the architecture, from the input on.
    """
    return parts[:-1] if images < FEW_IMAGES else parts[:2]


def scratch_policy(batch_size: int) -> dict[str, Any]:
    """He et al. 2015's SGD with a cosine in place of its steps.

    Their L2 penalty of 1e-4 under momentum 0.9 is a decoupled decay of 1e-3; the small sets of this job want
    five times that. The rate is linear in the batch (Goyal et al. 2017). Labels are smoothed as in Szegedy et al. 2015.
    """
    return {
        "head_first": False,
        "head_stages": 1,
        "head_pooling": "avg",
        "refit_head": False,
        "frozen_stages": (),
        "freeze_batch_norms": False,
        "epochs": 60,
        "optimizer": "sgd",
        "learning_rate": 0.02 * batch_size / REFERENCE_BATCH,
        "weight_decay": 5e-3,
        "label_smoothing": 0.1,
        "min_area": 0.35,
    }


def explain(recipe: Recipe, config: FinetuneConfig, images: int) -> str:
    """The decisions and why, one per line.

    Args:
        recipe: What was decided.
        config: What the user asked for.
        images: For training.
    """

    def why(setting: str, reason: str) -> str:
        return "as asked" if getattr(config, setting) is not None else reason

    few = f"{images} training images are {'fewer than' if images < FEW_IMAGES else 'at least'} {FEW_IMAGES}"
    if not recipe.head_first:
        lines = ["all layers from random weights, as --weights none asks"]
        rate, smoothing = "He et al.'s for this batch", "Szegedy et al. 2015"
    else:
        frozen = recipe.frozen_stages
        lines = [
            f"head first, on frozen features of the last {recipe.head_stages} stages: a random head would damage the "
            "weights (Kumar et al. 2022)",
            "maxima of the stages beside averages, and the regularization: chosen on validation",
            f"then {frozen[0]} to {frozen[-1]} stay frozen: {few}",
            "batch norms keep their statistics: those of the weights come from more images",
            "the kept head is fitted to the validation images too: no labelled image is wasted once the choice is made",
        ]
        rate, smoothing = "small, to stay near the weights", "the best model is chosen by log loss, which it raises"
    most = "at most " if recipe.schedule == "plateau" else ""
    return "\n  ".join(
        [
            "recipe:",
            *lines,
            *_explain_epochs(recipe, why("epochs", few)),
            f"peak rate {recipe.learning_rate:g} after {recipe.warmup_steps} of {most}{recipe.total_steps} steps: "
            f"{why('learning_rate', rate)}",
            f"label smoothing {recipe.label_smoothing:g}: {why('label_smoothing', smoothing)}",
        ]
    )


def _explain_epochs(recipe: Recipe, reason: str) -> list[str]:
    if recipe.schedule != "plateau":
        return [f"{recipe.epochs} epochs of {recipe.optimizer}: {reason}"]
    return [
        f"as many epochs of {recipe.optimizer} as help, {recipe.epochs} at most: {reason}",
        f"the rate stays at its peak until validation has not improved for {recipe.plateau_patience} epochs, and then "
        "goes to 0 over a fifth of all: as good as a cosine with a known end (Hägele et al. 2024)",
    ]
