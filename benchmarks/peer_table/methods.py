"""The methods of the table: what trains them, in which environment, and which rows they make."""

from dataclasses import dataclass, field
from typing import Any

OURS = "recipe"
MIRRORED = "-mirror"  # what the name of a second row ends with, whose predictions are averaged over views


@dataclass(frozen=True)
class Method:
    """One training, which makes one row of the table, or two that predict differently.

    Args:
        worker: Name of the script in this folder.
        title: First cell of the row.
        environment: Name of the environment, one of `ENVIRONMENTS`, or None for that of this repository.
        options: Settings that the script gets.
        averaged: Name of the output of a second row, whose predictions are averages over several views, or None.
        averaged_title: First cell of that row.
    """

    worker: str
    title: str
    environment: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    averaged: str | None = None
    averaged_title: str = ""

    def rows(self, name: str) -> dict[str, tuple[str, str]]:
        """Returns for each row's name the output with its predictions and its title."""
        rows = {name: ("plain", self.title)}
        if self.averaged:
            rows[name + MIRRORED] = (self.averaged, self.averaged_title)
        return rows


# What pip installs. Python 3.11's wheel of PyTorch for processors alone is enough where pip finds one.
_TORCH = ("torch==2.13.0", "torchvision==0.28.0", "safetensors")
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "fastai": (*_TORCH, "fastai==2.8.12"),
    "timm": (*_TORCH, "timm==1.0.31"),
    "ultralytics": (*_TORCH, "ultralytics==8.4.190"),
    "autogluon": (*_TORCH, "autogluon.multimodal==1.6.3"),
}


def recipe(title: str, words: list[str]) -> Method:
    """Returns our recipe with more words on the command line of `resnet-tf finetune`."""
    return Method("our_recipe", title, None, {"words": words}, "mirror", f"{title}, `--mirror`")


def _plain_sgd(epochs: int, frozen_norms: bool) -> Method:
    norms = "frozen" if frozen_norms else "adapting"
    options = {"function": "train_with_plain_sgd", "epochs": epochs, "frozen_norms": frozen_norms}
    return Method("our_network", f"plain SGD of all layers, {norms} batch norms, {epochs} epochs", None, options)


def _fastai(epochs: int) -> Method:
    title = f"fastai, `fine_tune({epochs})`"
    return Method("with_fastai", title, "fastai", {"epochs": epochs}, "averaged", f"{title}, `tta`")


def _timm(epochs: int) -> Method:
    return Method("with_timm", f"timm's train.py, {epochs} epochs", "timm", {"epochs": epochs})


METHODS: dict[str, Method] = {
    OURS: recipe("the recipe", []),
    "logistic": Method("our_network", "logistic regression on frozen features"),
    "guide": Method("our_network", "the Keras guide's two phases", None, {"function": "train_with_guide"}),
    "sgd10": _plain_sgd(10, False),
    "sgd10-frozen": _plain_sgd(10, True),
    "sgd20": _plain_sgd(20, False),
    "sgd20-frozen": _plain_sgd(20, True),
    "fastai-schedule": Method(
        "our_network", "fastai's schedule, in our network", None, {"function": "train_with_fastai_schedule"}
    ),
    "fastai4": _fastai(4),
    "fastai10": _fastai(10),
    "timm10": _timm(10),
    "timm20": _timm(20),
    "ultralytics20": Method(
        "with_ultralytics", "Ultralytics' `yolo classify train`, 20 epochs", "ultralytics", {"epochs": 20}
    ),
    "autogluon": Method("with_autogluon", "AutoGluon's MultiModalPredictor", "autogluon"),
}


def place_of(row: str) -> tuple[int, bool]:
    """Returns where a row stands in a table: variants of our recipe behind it, and a mirrored row behind its own."""
    name = row.removesuffix(MIRRORED)
    names = list(METHODS)
    return (2 * names.index(name) if name in names else 1), row != name
