"""The networks of the papers' experiments by short names: plain20 is the net of 20 layers without shortcuts."""

import re
from dataclasses import dataclass
from typing import Any

from resnet_tf.architectures import ARCHITECTURES, Shortcut, choose_options, find_architecture
from resnet_tf.errors import UserError

_OPTIONS: dict[str, Shortcut] = {"": "A", "b": "B", "c": "C"}
_SHAPE = (32, 32, 3)
_CLASSES = 10


@dataclass(frozen=True)
class Network:
    """One of the CIFAR-10 networks of He et al. 2015, section 4.2, or of He et al. 2016.

    Args:
        depth: Number of layers with weights, 6n + 2.
        shortcut: Shortcut option of the paper, None for the plain net.
        preactivated: Whether batch norm and ReLU come before the convolutions, so that shortcuts are identities
            throughout (He et al. 2016, arXiv 1603.05027).
    """

    depth: int
    shortcut: Shortcut = "A"
    preactivated: bool = False

    def build(self) -> Any:
        """Builds the network with random weights, for images [batch, 32, 32, 3], to logits [batch, 10].

        Raises:
            UserError: The project has no network of that depth.
        """
        from resnet_tf.networks import build

        name = f"cifar_resnet{self.depth}"
        if self.preactivated:
            return _build_preactivated(name)
        return build(name, classes=_CLASSES, shortcut=self.shortcut, input_shape=_SHAPE)


def find_network(name: str) -> Network:
    """Returns the network with a short name: plain20, resnet20, resnet20b and resnet20c, or preact20.

    Raises:
        UserError: The name is not one.
    """
    match = re.fullmatch(r"(plain|resnet|preact)(\d{1,4})([bc]?)", name)
    if match is None or (match[1] != "resnet" and match[3]) or f"cifar_resnet{match[2]}" not in ARCHITECTURES:
        raise UserError(f"{name!r} is no network of the experiments; plain20, resnet20, resnet20b and preact20 are")
    kind, depth, option = match.groups()
    return Network(int(depth), None if kind == "plain" else _OPTIONS[option], kind == "preact")


def _build_preactivated(name: str) -> Any:
    """Builds the network of the row `name` with its blocks in the form of He et al. 2016."""
    import keras

    from resnet_tf.blocks import convolution
    from resnet_tf.heads import classifier_head
    from resnet_tf.recursion import deep_recursion
    from resnet_tf.resnetv2 import preactivated_stages

    row = find_architecture(name)
    inputs = keras.Input(_SHAPE)
    x = convolution(inputs, row.stem, 3, 1, False, "conv1")
    stages = preactivated_stages(x, row, choose_options(row))
    outputs = classifier_head(stages, row, _CLASSES)
    with deep_recursion():
        return keras.Model(inputs, outputs)
