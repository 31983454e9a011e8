"""The policy for weights that others trained: from facts about the data to settings."""

import math
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from resnet_tf.architectures import find_architecture

REFERENCE_BATCH = 32


# Where a fourth epoch and larger crops begin: a judgement, measured below it alone (docs/recipe.md).
FEW_IMAGES = 5000


def pretrained_policy(config: FinetuneConfig, images: int) -> dict[str, Any]:
    """Head first, then a small rate from there: Kumar et al. 2022, arXiv 2202.10054.

    The head sees three stages, since the features of other classes than the weights' stand in the middle of the
    network as well. AdamW, because its steps do not grow with the head's weights, which are large where the
    features are small. The rate grows with the square root of the batch, as Adam's do (Malladi et al. 2022, arXiv
    2205.10287). Labels are not smoothed, since the best model is chosen by log loss, which smoothing raises.

    Args:
        config: What the user asked for.
        images: For training.
    """
    return {
        "name": "pretrained",
        "head_first": True,
        "head_stages": 3,
        "head_pooling": "avg+max",
        "refit_head": True,
        "frozen_stages": frozen_stages(find_architecture(config.arch).parts),
        "freeze_batch_norms": True,
        "epochs": 3 if images < FEW_IMAGES else 4,
        "patience": 10,
        "optimizer": "adamw",
        "schedule": "cosine",
        "learning_rate": 1e-4 * math.sqrt(config.batch_size / REFERENCE_BATCH),
        "weight_decay": 0.05,
        "label_smoothing": 0.0,
        "augment": "light",
        "mix": "none",
        "min_area": 0.35 if images < FEW_IMAGES else 0.5,
    }


def frozen_stages(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Stages that stay as the weights have them: the stem and the first stage, whose edges and colours are the same
    everywhere (Yosinski et al. 2014, arXiv 1411.1792). More of them would save time, at a cost (docs/recipe.md).

    Args:
        parts: Of the architecture, from the input on.
    """
    return parts[:2]
