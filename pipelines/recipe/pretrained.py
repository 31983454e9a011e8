"""The policy for pretrained weights, from facts about the data to decisions."""

import math

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import DATA, PRETRAINED, Decision
from pipelines.recipe.findings import USUAL_SIZE, Findings
from resnet_tf.architectures import find_architecture

REFERENCE_BATCH = 32
# The number of training images from which on there is a fourth epoch and crops are larger. It is a judgement, because
# all measurements are below this number (docs/ablation.md).
FEW_IMAGES = 5000
# The share of the uncertainty about a class from which on the weights count as far from the pictures. The frozen
# features leave less than 0.3 of it on photos, textures and small pictures, and more than 0.6 on photos of tiles whose
# defects are a few pixels wide (docs/ablation.md).
FAR = 0.45


def pretrained_policy(config: FinetuneConfig, images: int, findings: Findings | None = None) -> list[Decision]:
    """Returns the decisions for a training that starts from pretrained weights.

    The head is fitted first, and all layers are trained from there with a small rate (Kumar et al. 2022, arXiv
    2202.10054). The head sees three stages, because the features of classes that the weights do not know are also in
    the middle of the network. AdamW is taken because its steps do not grow with the head's weights, which are large
    where the features are small. The rate grows with the square root of the batch size, as Adam's rates do (Malladi et
    al. 2022, arXiv 2205.10287). Labels are not smoothed, because the best model is chosen by log loss, which smoothing
    raises.

    Args:
        config: Settings that the user asked for.
        images: Number of training images.
        findings: What a look at the pictures has shown; None counts as near to the weights, with the usual view.

    Returns:
        A decision for every setting that does not follow from the number of steps.
    """
    few = images < FEW_IMAGES
    count = f"{images} training images are {'fewer than' if few else 'at least'} {FEW_IMAGES}"
    damage = "a random head would damage the weights (Kumar et al. 2022)"
    return [
        Decision("name", PRETRAINED, "the backbone starts from weights"),
        Decision("head_first", True, damage),
        Decision("head_stages", 3, damage),
        Decision("head_pooling", "avg+max", "chosen on validation"),
        Decision("patience", 10, "longer than the usual training"),
        Decision("optimizer", "adamw", "its steps do not grow with the weights of the head"),
        Decision("schedule", "cosine", "the end is known"),
        Decision("plateau_patience", 0, "there is no plateau"),
        Decision("weight_decay", 0.05, "usual with AdamW (Loshchilov and Hutter 2017)"),
        Decision("label_smoothing", 0.0, "the best model is chosen by log loss, which it raises"),
        Decision("augment", "light", "stronger changes are certainly worse in so few epochs (docs/ablation.md)"),
        Decision("mix", "none", "it is certainly worse in so few epochs (docs/ablation.md)"),
        Decision("min_area", 0.35 if few else 0.5, count, DATA),
        view_decision(findings),
        size_decision(findings),
        *(far_policy(config, findings) if is_far(findings) else near_policy(config, few, count)),
    ]


def view_decision(findings: Findings | None) -> Decision:
    """Returns the decision on the view, which is the usual one if nobody has looked at the pictures."""
    if findings is None:
        return Decision("view", "crop", "the weights were made for it")
    return Decision("view", findings.view, findings.in_words(findings.views), DATA)


def size_decision(findings: Findings | None) -> Decision:
    """Returns the decision on the image size, the usual one if it shows enough or if no other was tried."""
    if findings is None or findings.image_size is None:
        return Decision("image_size", USUAL_SIZE, "most weights were trained at this size")
    size, reason = findings.image_size, findings.in_words(findings.sizes)
    if size > USUAL_SIZE:
        reason = f"{reason}; training and prediction take {(size / USUAL_SIZE) ** 2:.1f} times as long"
    return Decision("image_size", size, reason, DATA)


def is_far(findings: Findings | None) -> bool:
    """Returns whether the weights know little of what matters in the pictures."""
    return findings is not None and findings.uncertainty > FAR


def near_policy(config: FinetuneConfig, few: bool, count: str) -> list[Decision]:
    """Returns the decisions where the frozen features know the classes already: a few gentle epochs.

    Args:
        config: Settings that the user asked for.
        few: Whether there are few training images.
        count: How many there are, in words.
    """
    edges = "edges are the same everywhere (Yosinski et al. 2014)"
    return [
        Decision("refit_head", True, "no labelled image is wasted once the choice is made"),
        Decision("frozen_stages", frozen_stages(find_architecture(config.arch).parts), edges),
        Decision("freeze_batch_norms", True, "those of the weights come from more images"),
        Decision("epochs", 3 if few else 4, count, DATA),
        Decision("learning_rate", adam_rate(1e-4, config.batch_size), "small, to stay near the weights"),
    ]


def far_policy(config: FinetuneConfig, findings: Findings | None) -> list[Decision]:
    """Returns the decisions where the frozen features say little of the classes: all layers learn, at a real rate.

    Args:
        config: Settings that the user asked for.
        findings: What a look at the pictures has shown.
    """
    assert findings is not None
    left = f"the frozen features leave {findings.uncertainty:.0%} of the uncertainty about the class"
    return [
        Decision("refit_head", False, "the features change too much for a head that was fitted before", DATA),
        Decision("frozen_stages", (), left, DATA),
        Decision("freeze_batch_norms", False, "these pictures have statistics of their own", DATA),
        Decision("epochs", 12, left, DATA),
        Decision("learning_rate", adam_rate(3e-4, config.batch_size), left, DATA),
    ]


def adam_rate(rate: float, batch_size: int) -> float:
    """Returns a peak rate of Adam, which is given for a batch of 32, for another batch size."""
    return rate * math.sqrt(batch_size / REFERENCE_BATCH)


def frozen_stages(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the stages that keep the values of the weights: the stem and the first stage.

    Their edges and colours are the same everywhere (Yosinski et al. 2014, arXiv 1411.1792). More frozen stages would
    save time, at a cost (docs/ablation.md).

    Args:
        parts: Names of the architecture's parts, from the input on.
    """
    return parts[:2]
