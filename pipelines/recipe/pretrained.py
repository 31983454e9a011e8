"""The policy for weights that others trained: from facts about the data to decisions."""

import math

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import DATA, PRETRAINED, Decision
from resnet_tf.architectures import find_architecture

REFERENCE_BATCH = 32
# Where a fourth epoch and larger crops begin. This is a judgement; it was measured below this number alone
# (docs/recipe.md).
FEW_IMAGES = 5000


def pretrained_policy(config: FinetuneConfig, images: int) -> list[Decision]:
    """The head first, then a small rate from there: Kumar et al. 2022, arXiv 2202.10054.

    The head sees three stages, since the features of other classes than the weights' stand in the middle of the
    network as well. AdamW is taken because its steps do not grow with the head's weights, which are large where the
    features are small. The rate grows with the square root of the batch, as Adam's do (Malladi et al. 2022, arXiv
    2205.10287). Labels are not smoothed, since the best model is chosen by log loss, which smoothing raises.

    Args:
        config: What the user asked for.
        images: Number of training images.

    Returns:
        A decision for every setting that does not follow from the number of steps.
    """
    few = images < FEW_IMAGES
    count = f"{images} training images are {'fewer than' if few else 'at least'} {FEW_IMAGES}"
    rate = 1e-4 * math.sqrt(config.batch_size / REFERENCE_BATCH)
    damage = "a random head would damage the weights (Kumar et al. 2022)"
    return [
        Decision("name", PRETRAINED, "the backbone starts from weights"),
        Decision("head_first", True, damage),
        Decision("head_stages", 3, damage),
        Decision("head_pooling", "avg+max", "chosen on validation"),
        Decision("refit_head", True, "no labelled image is wasted once the choice is made"),
        Decision(
            "frozen_stages",
            frozen_stages(find_architecture(config.arch).parts),
            "edges are the same everywhere (Yosinski et al. 2014)",
        ),
        Decision("freeze_batch_norms", True, "those of the weights come from more images"),
        Decision("epochs", 3 if few else 4, count, DATA),
        Decision("patience", 10, "longer than the usual training"),
        Decision("optimizer", "adamw", "its steps do not grow with the weights of the head"),
        Decision("schedule", "cosine", "the end is known"),
        Decision("plateau_patience", 0, "there is no plateau"),
        Decision("learning_rate", rate, "small, to stay near the weights"),
        Decision("weight_decay", 0.05, "usual with AdamW (Loshchilov and Hutter 2017)"),
        Decision("label_smoothing", 0.0, "the best model is chosen by log loss, which it raises"),
        Decision("augment", "light", "stronger changes are certainly worse in so few epochs (docs/recipe.md)"),
        Decision("mix", "none", "it is certainly worse in so few epochs (docs/recipe.md)"),
        Decision("min_area", 0.35 if few else 0.5, count, DATA),
    ]


def frozen_stages(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The stages that stay as the weights have them: the stem and the first stage, whose edges and colours are the same
    everywhere (Yosinski et al. 2014, arXiv 1411.1792). More of them would save time, at a cost (docs/recipe.md).

    Args:
        parts: Parts of the architecture, from the input on.
    """
    return parts[:2]
