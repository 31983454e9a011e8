"""The networks of the papers' experiments by short names: plain20 is the net of 20 layers without shortcuts."""

import re
from dataclasses import dataclass
from typing import Any

from resnet_tf.architectures import Shortcut
from resnet_tf.errors import UserError

_OPTIONS: dict[str, Shortcut] = {"": "A", "b": "B", "c": "C"}


@dataclass(frozen=True)
class Network:
    """One of the CIFAR-10 networks of He et al. 2015, section 4.2.

    Args:
        depth: Number of layers with weights, 6n + 2.
        shortcut: Shortcut option of the paper, None for the plain net.
    """

    depth: int
    shortcut: Shortcut = "A"

    @property
    def name(self) -> str:
        """Short name: "plain20", "resnet20", or "resnet20b" and "resnet20c" for the other shortcut options."""
        if self.shortcut is None:
            return f"plain{self.depth}"
        return f"resnet{self.depth}{'' if self.shortcut == 'A' else self.shortcut.lower()}"

    def build(self) -> Any:
        """Builds the network with random weights, for images [batch, 32, 32, 3], to logits [batch, 10]."""
        from resnet_tf.networks import build

        return build(f"cifar_resnet{self.depth}", classes=10, shortcut=self.shortcut, input_shape=(32, 32, 3))


def find_network(name: str) -> Network:
    """Returns the network with a short name.

    Raises:
        UserError: The name is not one.
    """
    match = re.fullmatch(r"(?:plain(\d{1,4})|resnet(\d{1,4})([bc]?))", name)
    if match is None:
        raise UserError(f"{name!r} is no network of the experiments; plain20, resnet20 and resnet20b are")
    plain, residual, option = match.groups()
    return Network(int(plain), None) if plain else Network(int(residual), _OPTIONS[option])
