"""The policy for pretrained weights, from facts about the data to decisions."""

import math

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import DATA, PRETRAINED, Decision
from pipelines.recipe.findings import UNCERTAIN, USUAL_SIZE, Findings
from resnet_tf.architectures import find_architecture

REFERENCE_BATCH = 32
# The number of training images from which on there is a fourth epoch and crops are larger. It is a judgement, because
# all measurements are below this number (docs/ablation.md).
FEW_IMAGES = 5000
# The number of epochs where the frozen features tell the classes apart, and where they leave much uncertain. The best
# of them is kept, so that more cost nothing but time (docs/recipe.md).
EPOCHS, EPOCHS_IF_UNCERTAIN = 3, 8


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
        findings: What a look at the pictures has shown, or None if nobody has looked.

    Returns:
        A decision for every setting that does not follow from the number of steps.
    """
    few = images < FEW_IMAGES
    count = f"{images} training images are {'fewer than' if few else 'at least'} {FEW_IMAGES}"
    rate = 1e-4 * math.sqrt(config.batch_size / REFERENCE_BATCH)
    edges = "edges are the same everywhere (Yosinski et al. 2014)"
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
        Decision("refit_head", True, "no labelled image is wasted once the choice is made"),
        Decision("frozen_stages", frozen_stages(find_architecture(config.arch).parts), edges),
        Decision("freeze_batch_norms", True, "those of the weights come from more images"),
        Decision("learning_rate", rate, "small, to stay near the weights"),
        epochs_decision(images, findings),
        view_decision(findings),
        size_decision(findings),
    ]


def epochs_decision(images: int, findings: Findings | None) -> Decision:
    """Returns the decision on the number of epochs.

    Args:
        images: Number of training images.
        findings: What a look at the pictures has shown, or None if nobody has looked.
    """
    if findings is not None and findings.uncertainty > UNCERTAIN:
        left = f"the frozen features leave {findings.uncertainty:.0%} of the uncertainty about a class"
        return Decision("epochs", EPOCHS_IF_UNCERTAIN, left, DATA)
    few = images < FEW_IMAGES
    count = f"{images} training images are {'fewer than' if few else 'at least'} {FEW_IMAGES}"
    return Decision("epochs", EPOCHS if few else EPOCHS + 1, count, DATA)


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


def frozen_stages(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the stages that keep the values of the weights: the stem and the first stage.

    Their edges and colours are the same everywhere (Yosinski et al. 2014, arXiv 1411.1792). More frozen stages would
    save time, at a cost (docs/ablation.md).

    Args:
        parts: Names of the architecture's parts, from the input on.
    """
    return parts[:2]
