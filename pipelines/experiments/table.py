"""The experiments as data: which networks, how long, from how many random starts, and what the papers say."""

from dataclasses import dataclass
from typing import Literal

from pipelines.experiments.recipe import PAPER_STEPS

HE_2015 = "He et al. 2015, arXiv 1512.03385"
HE_2016 = "He et al. 2016, arXiv 1603.05027"
LI_2018 = "Li et al. 2018, arXiv 1712.09913"


@dataclass(frozen=True)
class Scale:
    """How large an experiment is.

    Args:
        iterations: Steps of each training.
        train_images: Number of CIFAR-10's images to train on, None for all 50,000.
        test_images: Number of images to judge by, None for all 10,000.
        batch_size: Images in a step; the paper has 128.
        seeds: Trainings of each network where --seeds does not say it.
    """

    iterations: int
    train_images: int | None
    test_images: int | None
    batch_size: int
    seeds: int


SCALES = {
    "quick": Scale(390, 5_000, 1_000, batch_size=64, seeds=1),
    "half": Scale(PAPER_STEPS // 4, None, None, batch_size=128, seeds=2),
    "paper": Scale(PAPER_STEPS, None, None, batch_size=128, seeds=5),
}


@dataclass(frozen=True)
class Experiment:
    """An experiment of a paper.

    Args:
        title: What it is about, as a heading.
        claim: What the paper says.
        source: Where it says so.
        networks: Networks that are trained for it, by the scale; none where nothing is trained.
        in_paper: What the paper measured, as rows of a table: what it is of, and its value in words.
        data: When it needs images of CIFAR-10: "always", "for the training", "optional", or "never"; or "photos" of
            the user's own.
        trains: Whether its networks are trained.
    """

    title: str
    claim: str
    source: str
    networks: dict[str, tuple[str, ...]]
    in_paper: tuple[tuple[str, str], ...]
    data: Literal["always", "for the training", "optional", "never", "photos"] = "for the training"
    trains: bool = True


_ENDS = ("plain20", "plain56", "resnet20", "resnet56")
_DEPTHS = tuple(f"{kind}{depth}" for kind in ("plain", "resnet") for depth in (20, 32, 44, 56, 110))

EXPERIMENTS = {
    "degradation": Experiment(
        title="Do deeper nets train better?",
        claim="With more layers a plain net has a higher training error, so that it is not overfitting. A residual net "
        "of the same layers has a lower one.",
        source=f"{HE_2015}, figures 1 and 6, table 6",
        networks={"quick": _ENDS, "half": _ENDS, "paper": _DEPTHS},
        in_paper=(
            ("plain nets of 20 to 56 layers", "curves only (figure 6, left): the error grows with the depth"),
            ("ResNet-20, test error", "8.75 %"),
            ("ResNet-32, test error", "7.51 %"),
            ("ResNet-44, test error", "7.17 %"),
            ("ResNet-56, test error", "6.97 %"),
            ("ResNet-110, test error, mean of 5", "6.61 % ± 0.16"),
        ),
    ),
    "shortcuts": Experiment(
        title="Which shortcuts are needed?",
        claim="All three options are much better than the plain net; B is a little better than A, and C than B. The "
        "differences are small, so that projections are not essential.",
        source=f"{HE_2015}, table 3 (34 layers, ImageNet)",
        networks={
            "quick": ("plain20", "resnet20", "resnet20b", "resnet20c"),
            "half": ("plain56", "resnet56", "resnet56b", "resnet56c"),
            "paper": ("plain56", "resnet56", "resnet56b", "resnet56c"),
        },
        in_paper=(
            ("plain-34, top-1 error", "28.54 %"),
            ("ResNet-34 A, top-1 error", "25.03 %"),
            ("ResNet-34 B, top-1 error", "24.52 %"),
            ("ResNet-34 C, top-1 error", "24.19 %"),
        ),
    ),
    "depth": Experiment(
        title="Do gradients vanish with depth, and is the loss rough?",
        claim="The paper says that vanishing gradients are an unlikely cause, since gradients have healthy norms with "
        "batch norm. Li et al. find that shortcuts make the surface of the loss smooth.",
        source=f"{HE_2015}, section 4.1; {LI_2018}, figures 1 and 5",
        networks=dict.fromkeys(("quick", "half", "paper"), _ENDS),
        in_paper=(
            ("gradients of plain nets with batch norm", '"healthy norms", without figures'),
            ("loss around ResNet-56 without shortcuts", "sharp and far from convex (Li et al., figure 1)"),
            ("loss around ResNet-56", "smooth and nearly convex"),
        ),
        data="optional",
    ),
    "responses": Experiment(
        title="How much does each layer respond?",
        claim="The outputs of the 3×3 layers have smaller standard deviations in residual nets, and the more layers "
        "there are, the smaller they are: each changes the signal less.",
        source=f"{HE_2015}, section 4.2, figure 7",
        networks=dict.fromkeys(("quick", "half", "paper"), _ENDS),
        in_paper=(("standard deviations", "curves only: plain above residual, ResNet-20 above 56 above 110"),),
        data="always",
    ),
    "bottleneck": Experiment(
        title="What do bottlenecks cost?",
        claim="Blocks of 1×1, 3×3 and 1×1 convolutions make a net of 50 layers with about as many multiply-adds as the "
        "34 layers of basic blocks.",
        source=f"{HE_2015}, table 1 and table 3",
        networks=dict.fromkeys(("quick", "half", "paper"), ("resnet18", "resnet34", "resnet50")),
        in_paper=(
            ("ResNet-18, multiply-adds", "1.8 × 10⁹"),
            ("ResNet-34, multiply-adds; top-1 error (option B)", "3.6 × 10⁹; 24.52 %"),
            ("ResNet-50, multiply-adds; top-1 error", "3.8 × 10⁹; 22.85 %"),
        ),
        data="never",
        trains=False,
    ),
    "identity-mappings": Experiment(
        title="Do identity mappings train better?",
        claim="With batch norm and ReLU before the convolutions, shortcuts are identities throughout; very deep nets "
        "then train more easily and have lower errors.",
        source=f"{HE_2016}, tables 2 and 3",
        networks=dict.fromkeys(("quick", "half", "paper"), ("resnet110", "preact110")),
        in_paper=(
            ("ResNet-110, test error, of their own training", "6.61 %"),
            ("pre-activation ResNet-110, test error", "6.37 %"),
            ("ResNet-164 (bottlenecks), test error", "5.93 %"),
            ("pre-activation ResNet-164, test error", "5.46 %"),
        ),
    ),
    "thirty-classes": Experiment(
        title="Thirty classes, from scratch and from ImageNet weights",
        claim="Residual nets have lower errors than VGG nets for less computation, and features that were learned on "
        "ImageNet carry over to other data.",
        source=f"{HE_2015}, sections 4.1 and 4.3",
        networks=dict.fromkeys(("quick", "half", "paper"), ("vgg16", "resnet18", "resnet50")),
        in_paper=(
            ("VGG-16, top-1 error on ImageNet, 10 crops", "28.07 % (table 3)"),
            ("ResNet-50, top-1 error on ImageNet, 10 crops", "22.85 % (table 3)"),
            ("the thirty classes", "no paper has this table"),
        ),
        data="photos",
        trains=False,
    ),
}
