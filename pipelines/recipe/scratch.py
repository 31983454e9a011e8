"""The recipes for training from random weights: He et al. 2015's and a modern one, as small pure functions from facts
about the data and the network to decisions."""

from dataclasses import replace
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import DATA, USER, Decision
from resnet_tf.architectures import Architecture, find_architecture

HE, MODERN = "he", "modern"
# Which is taken where the user does not say; measured in docs/recipe.md.
DEFAULT_RECIPE = MODERN

# Epochs from which on there are mixed images and TrivialAugment: those of the shortest training with such in Wightman
# et al. 2021 (arXiv 2110.00476, table 2, A3). Shorter ones have no time to fit what is made so hard.
LONG_TRAINING = 100
# Between CIFAR-10 and ImageNet, whose usual settings differ; where between is a judgement.
MANY_IMAGES = 100_000


def scratch_epochs(images: int) -> int:
    """The power of the number of images that goes through the two trainings of He et al. 2015: 64,000 steps of 128 of
    CIFAR-10's 45,000 images are 182 epochs (section 4.2), 600,000 of 256 of ImageNet's 1.28 million are 120 (section
    3.4). Fewer images get more epochs, though fewer steps.

    Args:
        images: For training.
    """
    return round(182 * (45_000 / images) ** (1 / 8))


def scratch_patience(epochs: int) -> int:
    """Half of the epochs: longer than the rate stays the same, since validation may stand still until it falls.

    Args:
        epochs: In all.
    """
    return max(10, epochs // 2)


def he_policy(row: Architecture, batch_size: int, images: int, epochs: int) -> list[Decision]:
    """He et al. 2015, arXiv 1512.03385, section 3.4, and section 4.2 for the nets for 32×32 images.

    SGD with momentum 0.9 and an L2 penalty of 1e-4 whose gradient goes through the momentum, of all variables, as
    Caffe's solver has it. Neither dropout nor smoothed labels.

    Args:
        row: The architecture.
        batch_size: Images per step.
        images: For training.
        epochs: In all.
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
    """0.1 for a step of 256 images, of 128 in the nets for 32×32 images, linear in the batch (Goyal et al. 2017, arXiv
    1706.02677). A VGG has a tenth of it (Simonyan and Zisserman 2014, arXiv 1409.1556, section 3.1).

    Args:
        row: The architecture.
        batch_size: Images per step.
    """
    rate = 0.01 if row.family == "vgg" else 0.1
    return rate * batch_size / (128 if row.family == "cifar" else 256)


def he_drops(row: Architecture) -> tuple[float, ...]:
    """The shares of the training after which the rate is divided by 10. Section 4.2 has 32,000 and 48,000 of 64,000
    steps. Section 3.4 waits for a plateau of the error, which is for a person to see; Goyal et al. 2017 (section 5.1)
    put it at epochs 30, 60 and 80 of 90.

    Args:
        row: The architecture.
    """
    return (1 / 2, 3 / 4) if row.family == "cifar" else (1 / 3, 2 / 3, 8 / 9)


def he_warmup(row: Architecture, batch_size: int, steps: int) -> int:
    """Steps at a tenth of the rate, without which 110 layers do not begin to converge: until the training error is
    below 80 %, "about 400 iterations" of 128 images (section 4.2). A short training has a tenth of its steps.

    Args:
        row: The architecture.
        batch_size: Images per step.
        steps: In all.
    """
    if row.family != "cifar" or row.depth < 110:
        return 0
    return min(round(400 * 128 / batch_size), steps // 10)


def modern_policy(row: Architecture, batch_size: int, images: int, epochs: int) -> list[Decision]:
    """After He et al. 2018 ("Bag of tricks", arXiv 1812.01187), Wightman et al. 2021 ("ResNet strikes back", arXiv
    2110.00476) and torchvision's recipe (Vryniotis 2021, "How to train state-of-the-art models using TorchVision's
    latest primitives"): a cosine after a warm-up, smoothed labels (Szegedy et al. 2015), no decay of batch norms and
    biases, in a long training TrivialAugment and CutMix. SGD, as in the first and the third; LAMB is for batches of
    2,048. What is left out of theirs, and why, stands in docs/recipe.md.

    Args are as for `he_policy`.
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
    """0.02 for 32 images, linear in the batch; torchvision's recipe has 0.5 for 1,024, 0.0156 for 32. A VGG has a tenth
    of it, as in `he_rate`.

    Args:
        row: The architecture.
        batch_size: Images per step.
    """
    return (0.002 if row.family == "vgg" else 0.02) * batch_size / 32


def modern_decay(images: int) -> float:
    """Decoupled (Loshchilov and Hutter 2017, arXiv 1711.05101). Under momentum 0.9, which sums ten gradients, an L2
    penalty of λ takes as much as a decoupled decay of 10 λ; 5e-4 is usual for CIFAR (Zagoruyko and Komodakis 2016,
    arXiv 1605.07146), 1e-4 for ImageNet.

    Args:
        images: For training.
    """
    return 5e-3 if images < MANY_IMAGES else 1e-3


POLICIES = {HE: he_policy, MODERN: modern_policy}


# A new head on the last stage, and all layers and batch norms with it from the first step.
ALL_AT_ONCE: dict[str, Any] = {
    "head_first": False,
    "head_stages": 1,
    "head_pooling": "avg",
    "refit_head": False,
    "frozen_stages": (),
    "freeze_batch_norms": False,
}


def random_policy(config: FinetuneConfig, images: int) -> list[Decision]:
    """All layers from random weights, by one of the recipes above.

    Args:
        config: What the user asked for.
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
        *recipe,
    ]
