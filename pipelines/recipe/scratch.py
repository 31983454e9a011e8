"""The recipes for training from random weights: that of He et al. 2015, and a modern one.

They are small pure functions from facts about the data and the network to decisions.
"""

from dataclasses import replace
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import DATA, USER, Decision
from resnet_tf.architectures import Architecture, find_architecture

HE, MODERN = "he", "modern"
# The recipe that is taken if the user does not choose one; docs/ablation.md has the measurements.
DEFAULT_RECIPE = MODERN

# The number of epochs from which on images are mixed and changed by TrivialAugment. The shortest training of Wightman
# et al. 2021 has as many (arXiv 2110.00476, table 2, A3). Shorter ones have no time to fit such difficult images.
LONG_TRAINING = 100
# A number of images between CIFAR-10 and ImageNet, whose usual settings differ. Its exact place is a judgement.
MANY_IMAGES = 100_000


def scratch_epochs(images: int) -> int:
    """Returns the number of epochs for training from scratch, a power of the number of images.

    The curve goes through the two trainings of He et al. 2015: 64,000 steps of 128 of CIFAR-10's 45,000 images are 182
    epochs (section 4.2), and 600,000 steps of 256 of ImageNet's 1.28 million images are 120 epochs (section 3.4). Fewer
    images get more epochs, but fewer steps.

    Args:
        images: Number of training images.
    """
    return round(182 * (45_000 / images) ** (1 / 8))


def scratch_patience(epochs: int) -> int:
    """Returns the patience in epochs, half of all epochs and at least 10.

    This is longer than the rate stays the same, because validation may stand still until the rate falls.

    Args:
        epochs: Number of epochs in all.
    """
    return max(10, epochs // 2)


def he_policy(row: Architecture, batch_size: int, images: int, epochs: int) -> list[Decision]:
    """Returns the decisions of He et al. 2015, arXiv 1512.03385.

    They are those of section 3.4, and of section 4.2 for the nets for 32×32 images. The optimizer is SGD with momentum
    0.9 and an L2 penalty of 1e-4 on all variables, whose gradient goes through the momentum, as in Caffe's solver.
    There is neither dropout nor label smoothing.

    Args:
        row: Row of the architecture.
        batch_size: Number of images per step.
        images: Number of training images.
        epochs: Number of epochs in all.
    """
    paper, none = "the paper's", "the paper has none"
    return [
        Decision("name", HE, "He et al. 2015, sections 3.4 and 4.2"),
        Decision("optimizer", "momentum", paper),
        Decision("schedule", "steps", paper),
        Decision("learning_rate", he_rate(row, batch_size), "the paper's, linear in the batch (Goyal et al. 2017)"),
        Decision("weight_decay", 1e-4, paper),
        Decision("label_smoothing", 0.0, none),
        Decision("augment", "cifar" if row.family == "cifar" else "paper", paper),
        Decision("mix", "none", none),
        Decision("min_area", 1.0, none),
    ]


def he_rate(row: Architecture, batch_size: int) -> float:
    """Returns the peak learning rate, linear in the batch size (Goyal et al. 2017, arXiv 1706.02677).

    It is 0.1 for a step of 256 images, and for one of 128 images in the nets for 32×32 images. A VGG has a tenth of it
    (Simonyan and Zisserman 2014, arXiv 1409.1556, section 3.1).

    Args:
        row: Row of the architecture.
        batch_size: Number of images per step.
    """
    rate = 0.01 if row.family == "vgg" else 0.1
    return rate * batch_size / (128 if row.family == "cifar" else 256)


def he_drops(row: Architecture) -> tuple[float, ...]:
    """Returns the shares of the training after which the rate is divided by 10.

    Section 4.2 divides it after 32,000 and 48,000 of 64,000 steps. Section 3.4 waits for a plateau of the error, which
    a person has to see; Goyal et al. 2017 (section 5.1) divide the rate at epochs 30, 60 and 80 of 90.

    Args:
        row: Row of the architecture.
    """
    return (1 / 2, 3 / 4) if row.family == "cifar" else (1 / 3, 2 / 3, 8 / 9)


def he_warmup(row: Architecture, batch_size: int, steps: int) -> int:
    """Returns the number of warm-up steps, which have a tenth of the rate.

    Without a warm-up, 110 layers do not begin to converge. The paper's lasts until the training error is below 80 %,
    "about 400 iterations" of 128 images (section 4.2). In a short training it lasts a tenth of the steps.

    Args:
        row: Row of the architecture.
        batch_size: Number of images per step.
        steps: Number of steps in all.
    """
    if row.family != "cifar" or row.depth < 110:
        return 0
    return min(round(400 * 128 / batch_size), steps // 10)


def modern_policy(row: Architecture, batch_size: int, images: int, epochs: int) -> list[Decision]:
    """Returns the decisions of the modern recipe.

    It follows He et al. 2018 ("Bag of tricks", arXiv 1812.01187), Wightman et al. 2021 ("ResNet strikes back", arXiv
    2110.00476) and torchvision's recipe (Vryniotis 2021, "How to train state-of-the-art models using TorchVision's
    latest primitives"). It has a cosine after a warm-up, smoothed labels (Szegedy et al. 2015), and no decay of batch
    norms and biases; a long training also has TrivialAugment and CutMix. The optimizer is SGD, as in the first and the
    third; Wightman et al.'s LAMB is for batches of 2,048. docs/ablation.md says what is left out of these recipes, and
    why.

    Args:
        row: Row of the architecture.
        batch_size: Number of images per step.
        images: Number of training images.
        epochs: Number of epochs in all.
    """
    long, many = epochs >= LONG_TRAINING, images >= MANY_IMAGES
    length = f"{epochs} epochs are {'at least' if long else 'fewer than'} {LONG_TRAINING}"
    count = f"{images} training images are {'at least' if many else 'fewer than'} {MANY_IMAGES}"
    return [
        Decision("name", MODERN, "after He et al. 2018, Wightman et al. 2021 and torchvision's"),
        Decision("optimizer", "sgd", "as in He et al. 2018 and torchvision's"),
        Decision("schedule", "cosine", "He et al. 2018, section 5.1"),
        Decision("learning_rate", modern_rate(row, batch_size), "linear in the batch (Goyal et al. 2017)"),
        Decision("weight_decay", modern_decay(images), count, DATA),
        Decision("label_smoothing", 0.1, "Szegedy et al. 2015"),
        Decision("augment", "trivial" if long else "light", length, DATA),
        Decision("mix", "cutmix" if long else "none", length, DATA),
        Decision("min_area", 0.08 if many else 0.35, count, DATA),
    ]


def modern_rate(row: Architecture, batch_size: int) -> float:
    """Returns the peak learning rate, linear in the batch size.

    It is 0.02 for 32 images; torchvision's recipe has 0.5 for 1,024 images, which is 0.0156 for 32. A VGG has a tenth
    of it, as in `he_rate`.

    Args:
        row: Row of the architecture.
        batch_size: Number of images per step.
    """
    return (0.002 if row.family == "vgg" else 0.02) * batch_size / 32


def modern_decay(images: int) -> float:
    """Returns the weight decay, which is decoupled (Loshchilov and Hutter 2017, arXiv 1711.05101).

    With momentum 0.9, which sums ten gradients, an L2 penalty of λ takes as much as a decoupled decay of 10 λ. The
    usual penalties are 5e-4 for CIFAR (Zagoruyko and Komodakis 2016, arXiv 1605.07146) and 1e-4 for ImageNet.

    Args:
        images: Number of training images.
    """
    return 5e-3 if images < MANY_IMAGES else 1e-3


POLICIES = {HE: he_policy, MODERN: modern_policy}


# The head is new and sees the last stage. All layers and batch norms are trained with it from the first step.
ALL_AT_ONCE: dict[str, Any] = {
    "head_first": False,
    "head_stages": 1,
    "head_pooling": "avg",
    "refit_head": False,
    "frozen_stages": (),
    "freeze_batch_norms": False,
}


def random_policy(config: FinetuneConfig, images: int) -> list[Decision]:
    """Returns the decisions for training all layers from random weights, by one of the recipes above.

    Args:
        config: Settings that the user asked for.
        images: Number of training images.

    Returns:
        A decision for every setting that does not follow from the number of steps.
    """
    row = find_architecture(config.arch)
    epochs = config.epochs if isinstance(config.epochs, int) else scratch_epochs(images)
    curve = f"{images} training images, on a curve through He et al. 2015's 182 for 45,000 and 120 for 1.28 million"
    recipe = POLICIES[config.recipe or DEFAULT_RECIPE](row, config.batch_size, images, epochs)
    if config.recipe is not None:
        name, *others = recipe
        recipe = [replace(name, reason="as asked", decided_by=USER), *others]
    return [
        *(Decision(name, value, "as --weights none asks") for name, value in ALL_AT_ONCE.items()),
        Decision("epochs", epochs, curve, DATA),
        Decision("plateau_patience", 0, "there is no plateau"),
        Decision("patience", scratch_patience(epochs), "longer than the rate stays the same"),
        Decision("image_size", 224, "usual since Krizhevsky et al. 2012, section 2"),
        Decision("view", "crop", "usual since Krizhevsky et al. 2012, section 2"),
        *recipe,
    ]
