"""The fine-tuning policy: small pure functions from facts about the data to settings, as in BiT's hyper-rule
(Kolesnikov et al. 2020)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.shared import AUTO
from pipelines.recipe.pretrained import pretrained_policy
from pipelines.recipe.scratch import he_drops, he_warmup, random_policy
from resnet_tf.architectures import find_architecture

WARMUP_SHARE = 0.1
# What the user may ask for; None leaves it to the recipe.
ASKED = ("epochs", "learning_rate", "label_smoothing", "augment", "mix", "patience")
# What says how long a training goes on.
_ENDS = ("epochs", "patience", "schedule", "plateau_patience", "warmup_steps", "drop_steps", "total_steps")


@dataclass(frozen=True)
class Recipe:
    """All that training needs to know beyond the data.

    Args:
        name: "pretrained", or which of `pipelines.recipe.scratch`.
        head_first: Whether a head is fitted to the frozen backbone's features before.
        head_stages: How many of the last stages the head sees.
        head_pooling: How each is pooled, "avg" or "avg+max"; the head may leave the maxima out, see `fit_head`.
        refit_head: Whether the head that is kept was fitted to the validation images as well.
        frozen_stages: Stages that keep the variables of the weights.
        freeze_batch_norms: Whether batch norms keep the statistics of the weights.
        epochs: Passes in which the layers are trained together; with a plateau, at most.
        patience: Epochs without a better validation before training stops early.
        optimizer: "adamw"; "sgd" with Nesterov momentum 0.9; "momentum", 0.9 as well, with the papers' L2 penalty.
        schedule: "cosine" to 0 (Loshchilov and Hutter 2016), "steps", or "plateau", see `pipelines.recipe.schedule`.
        plateau_patience: Epochs without a better validation until the rate leaves the plateau, 0 where there is none.
        learning_rate: Peak.
        warmup_steps: Before "steps" at a tenth of the peak, else linear from 0 to it.
        drop_steps: Where the rate of "steps" is divided by 10.
        total_steps: Of all; with a plateau, at most.
        weight_decay: Decoupled, of kernels only: per step a weight loses learning_rate × weight_decay of itself. For
            "momentum" the factor of the penalty, of all variables, see `resnet_tf.optimizers`.
        label_smoothing: Share of the target spread over all classes.
        augment: What happens to each image, one of `pipelines.images.augment.AUGMENTATIONS`.
        mix: And to each batch, "none" or one of `pipelines.images.mix.MIXES`.
        min_area: Smallest random crop, as a share of the image.
    """

    name: str
    head_first: bool
    head_stages: int
    head_pooling: str
    refit_head: bool
    frozen_stages: tuple[str, ...]
    freeze_batch_norms: bool
    epochs: int
    patience: int
    optimizer: str
    schedule: str
    plateau_patience: int
    learning_rate: float
    warmup_steps: int
    drop_steps: tuple[int, ...]
    total_steps: int
    weight_decay: float
    label_smoothing: float
    augment: str
    mix: str
    min_area: float


def decide(config: FinetuneConfig, images: int, recorded: Mapping[str, Any] | None = None) -> Recipe:
    """The settings of a run. What the user asked for goes before what an earlier run has decided, and that before what
    is decided here. Steps follow from the number of images, and are the earlier run's where it had as many.

    Args:
        config: What the user asked for.
        images: For training.
        recorded: Decisions that are repeated, by name; see `pipelines.recipe.earlier`.
    """
    recorded = dict(recorded or {})
    asked = {name: getattr(config, name) for name in ASKED if getattr(config, name) not in (None, AUTO)}
    policy = pretrained_policy(config, images) if config.pretrained else random_policy(config, images)
    usual_epochs = policy["epochs"]
    if config.epochs == AUTO:
        policy |= open_ended_policy(usual_epochs, policy["head_first"])
    if (recorded.get("schedule") == "plateau") != (config.epochs == AUTO):  # another end is asked for now
        recorded = {name: value for name, value in recorded.items() if name not in _ENDS}
    chosen = {"plateau_patience": 0, **policy, **recorded, **asked}
    steps = math.ceil(images / config.batch_size)
    total = max(1, steps * chosen["epochs"])
    warming = steps * usual_epochs if chosen["schedule"] == "plateau" else total
    decided = schedule_steps(chosen["schedule"], config, warming) | {"total_steps": total}
    if recorded.get("total_steps") == total:
        decided |= {name: recorded[name] for name in decided if name in recorded}
    return Recipe(**{**chosen, **decided})


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


def schedule_steps(schedule: str, config: FinetuneConfig, steps: int) -> dict[str, Any]:
    """Where the rate changes.

    Args:
        schedule: "cosine", "steps" or "plateau".
        config: What the user asked for.
        steps: In all; with a plateau, those of the usual training.
    """
    row = find_architecture(config.arch)
    if schedule == "steps":
        drops = tuple(round(share * steps) for share in he_drops(row))
        return {"warmup_steps": he_warmup(row, config.batch_size, steps), "drop_steps": drops}
    return {"warmup_steps": round(WARMUP_SHARE * steps), "drop_steps": ()}  # for the optimizer's averages to fill
