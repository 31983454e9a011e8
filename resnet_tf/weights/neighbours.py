"""Finds out which architecture a file is of, from what is said in it and beside it.

Some networks have the tensors of another one: pooling or blurring before a stride has none, and neither has an
activation. Their files are told by a name alone: in the metadata of a safetensors file, in a config.json beside the
file or on the hub, or in the file's own name.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_tf.architectures import ARCHITECTURES, StridePlace
from resnet_tf.errors import UserError

CONFIG = "config.json"
_MOST_BYTES = 2**20
# The keys that name an architecture; the last two may hold any name, and count where it looks like a network's.
_METADATA = {
    "architecture": r".*",
    "arch": r".*",
    "model_name": r".*(res|vgg)\w*?-?\d+.*",
    "base_model": r".*(res|vgg)\w*?-?\d+.*",
}
# What timm's `model_args` may say without another function of the same tensors.
_HARMLESS = {
    *("num_classes", "in_chans", "drop_rate", "drop_path_rate", "drop_block_rate", "pretrained", "checkpoint_path"),
    *("zero_init_last", "features_only", "img_size"),
}
_PLAIN_POOLINGS = ("avg", "", None)
# A network that a file's own name means, where its tensors may be those of one of ours.
_VARIANT = re.compile(
    r"(?<![a-z0-9])("
    r"\w*(?:res(?:net|next)|vgg)(?:aa|blur)\d+\w*"  # timm's resnetaa50, resnetblur18, seresnextaa101d_32x8d
    r"|\w*(?:res(?:net|next)|vgg)[-_]?\d+[a-z]?[-_]?(?:aa|blur(?:pool)?|lpf\d*|antialias\w*)"  # resnet50_lpf4
    r")(?![a-z])"
)
# Parts of a name that say who trained the network, or which of two strides it has.
_LEAVES_THE_SAME = re.compile(r"^(?:tv|ssl|swsl|gluon|tf|pt|torchvision)_|v1(?:\.5|b)?$")
_OURS = {re.sub(r"[-_]", "", name): name for name in ARCHITECTURES}
_OURS |= {name.removeprefix("cifar"): ours for name, ours in _OURS.items() if name.startswith("cifar")}
# Names that stand for a family; the tensors tell which of its networks it is.
_FAMILIES = {"resnet", "resnetv2", "vgg", "timmwrapper"}


@dataclass(frozen=True)
class Stated:
    """What is said of a file's architecture.

    Args:
        name: Name that is stated, such as "resnetaa50"; None where there is none.
        where: Place that states it, in words.
        stride_at: Place of a bottleneck's stride, where that is stated.
    """

    name: str | None = None
    where: str = ""
    stride_at: StridePlace | None = None


def stated_architecture(path: Path, metadata: Mapping[str, str] | None = None) -> Stated:
    """Returns what a file, its neighbours and its name say of its architecture.

    Args:
        path: Path of the file.
        metadata: Metadata of a safetensors file.

    Raises:
        UserError: It is a network that resnet_tf does not have, though its tensors may fit.
    """
    for name in (path.name, *_names_of_folders(path)):
        check_name(name, str(path))
    stated = [_of_metadata(path, metadata or {}), *_of_config_beside(path)]
    return next((one for one in stated if one.name), Stated())


def _names_of_folders(path: Path) -> list[str]:
    """Returns the name of the folder, and that of the repository in the hub's cache (models--OWNER--NAME)."""
    folders = path.absolute().parents
    in_cache = len(folders) > 2 and folders[1].name == "snapshots"
    return [folders[0].name, *([folders[2].name.rpartition("--")[2]] if in_cache else [])]


def of_config(config: Mapping[str, Any], where: str, source: str) -> Stated:
    """Returns what a config.json of timm or of Hugging Face transformers says.

    Args:
        config: Content of the file.
        where: The file, in words.
        source: Weights that it is about, for errors.

    Raises:
        UserError: It is a network that resnet_tf does not have.
    """
    name = config.get("architecture")
    if isinstance(name, str):
        _check_known(name, where, source)
    arguments = config.get("model_args")
    arguments = {**arguments} if isinstance(arguments, dict) else {}
    pooling = arguments.pop("global_pool", config.get("global_pool"))
    if pooling not in _PLAIN_POOLINGS:
        arguments["global_pool"] = pooling
    for argument, value in arguments.items():
        if argument not in _HARMLESS:
            raise UserError(
                f"{source!r} is not a network of resnet_tf: {where} builds it with {argument}={_short(value)}"
            )
    if config.get("model_type") == "resnet":
        return _of_transformers(config, where, source)
    return Stated(name if isinstance(name, str) else None, where)


def _of_transformers(config: Mapping[str, Any], where: str, source: str) -> Stated:
    plain = {"hidden_act": "relu", "downsample_in_first_stage": False}
    for argument, value in plain.items():
        if config.get(argument, value) != value:
            raise UserError(
                f"{source!r} is not a network of resnet_tf: {where} has {argument}={_short(config[argument])}"
            )
    on_first = config.get("downsample_in_bottleneck", False) is True
    place: StridePlace = "1x1" if on_first else "3x3"
    return Stated("resnet", where, place if config.get("layer_type", "bottleneck") == "bottleneck" else None)


def _of_metadata(path: Path, metadata: Mapping[str, str]) -> Stated:
    for key, pattern in _METADATA.items():
        name = metadata.get(key, "")
        if name and re.fullmatch(pattern, name.lower()):
            _check_known(name, f"its metadata ({key})", str(path))
            return Stated(name, f"its metadata ({key})")
    return Stated()


def _of_config_beside(path: Path) -> list[Stated]:
    beside = path.with_name(CONFIG)
    try:
        if path.is_dir() or not beside.is_file() or beside.stat().st_size > _MOST_BYTES:
            return []
        config = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [of_config(config, f"{CONFIG} beside it", str(path))] if isinstance(config, dict) else []


def check_name(name: str, source: str) -> None:
    """Checks the name of a file or a repository.

    Raises:
        UserError: It names a network whose tensors are those of one of ours, and which is another one.
    """
    variant = _VARIANT.search(name.lower())
    if variant:
        raise UserError(
            f"{source!r} is of {variant[1]!r} by its name, a network with other pooling that resnet_tf has not; "
            "its tensors do not show it. Rename it if its name is wrong"
        )


def _check_known(name: str, where: str, source: str) -> None:
    if known_as(name) is None and _plain(name) not in _FAMILIES:
        raise UserError(f"{source!r} is of the architecture {_short(name)}, says {where}, which resnet_tf has not")


def known_as(name: str) -> str | None:
    """Returns our name of a network under other people's spelling, such as "ResNet-50" or "tv_resnet50", or None."""
    return _OURS.get(_plain(name))


def _plain(name: str) -> str:
    name = name.lower().rpartition("/")[2].removesuffix("forimageclassification").replace("v1.5", "v1")
    name = re.sub(r"[-_ ]", "_", name.partition(".")[0])
    return _LEAVES_THE_SAME.sub("", _LEAVES_THE_SAME.sub("", name)).replace("_", "")


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
