"""Chooses the weights to start from where nobody has named any: ImageNet's if they can be had, the drawn ones else."""

import os
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from resnet_tf.architectures import find_architecture
from resnet_tf.errors import UserError
from resnet_tf.source_kinds import DRAWN, DRAWN_ARCHITECTURE
from resnet_tf.weights.catalogue import IMAGENET
from resnet_tf.weights.sources import ADDRESS_VARIABLE, downloaded

USUAL = "resnet50"
_SECONDS = 3.0  # after which a network that does not answer counts as none
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Start:
    """The network and the weights that a training starts from.

    Args:
        arch: Name of the architecture.
        weights: Source of the weights.
        reason: Why these, in words.
    """

    arch: str
    weights: str
    reason: str


def choose_start(arch: str | None, weights: str | None) -> Start:
    """Returns what was asked for, and what is sensible on this machine where something was left open.

    Args:
        arch: Architecture that was asked for, or None.
        weights: Weights that were asked for, or None.

    Raises:
        UserError: The architecture that was asked for has no weights that can be had here.
    """
    if weights is not None:
        return Start(arch or (DRAWN_ARCHITECTURE if weights == DRAWN else USUAL), weights, "as asked")
    if arch == DRAWN_ARCHITECTURE:
        return Start(arch, DRAWN, "the only ones for it by name")
    wanted = find_architecture(arch or USUAL).name
    if wanted in IMAGENET and downloaded(wanted):
        return Start(wanted, "imagenet", "downloaded before")
    if wanted in IMAGENET and _answers(_address(wanted)):
        return Start(wanted, "imagenet", "they know the most, and are downloaded once")
    if arch is not None:
        raise UserError(f"no weights of {arch} can be had here; give --weights FILE, or --weights none")
    for name in IMAGENET:
        if downloaded(name):
            return Start(name, "imagenet", f"no network, and {name}'s were downloaded before")
    return Start(
        DRAWN_ARCHITECTURE,
        DRAWN,
        "no network. They have seen drawn pictures alone, and know far less of photos than ImageNet's: "
        "`--weights FILE --arch NAME` takes better ones",
    )


def _address(arch: str) -> str:
    return os.environ.get(ADDRESS_VARIABLE) or IMAGENET[arch].file.url


def _answers(address: str) -> bool:
    """Returns whether a server, or the proxy before it, takes a connection."""
    scheme = urlsplit(address).scheme
    parts = urlsplit(os.environ.get(f"{scheme}_proxy") or os.environ.get(f"{scheme.upper()}_PROXY") or address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or _PORTS[parts.scheme]), _SECONDS):
            return True
    except (OSError, KeyError, ValueError):
        return False
