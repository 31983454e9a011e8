"""Finds the weights that a user asks for: `imagenet`, `drawn`, `timm:…`, `hf:…`, an address, or a file."""

import os
import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from resnet_tf.errors import UserError
from resnet_tf.source_kinds import DRAWN, DRAWN_ARCHITECTURE, KINDS, is_path
from resnet_tf.weights.catalogue import IMAGENET
from resnet_tf.weights.download import download
from resnet_tf.weights.hub import from_hub, is_hub_source
from resnet_tf.weights.readers import read_weights
from resnet_tf.weights.weight_file import WeightFile

ADDRESS_VARIABLE = "RESNET_TF_WEIGHTS_URL"


def find_weights(source: str, architecture: str, *, include_top: bool = True) -> WeightFile:
    """Reads weights, and downloads them first if necessary.

    Args:
        source: Source of the weights: "imagenet" for the published file of the architecture; "drawn" for the small
            file in this package, of resnet10_slim; a name such as
            "timm:resnet50.a1_in1k" or "hf:microsoft/resnet-50" for the Hugging Face hub, with "@revision" for a
            certain revision; an address that ends in "#sha256=" and the file's hash; or a path.
        architecture: Name of the architecture, as in `resnet_tf.build`.
        include_top: Whether the ImageNet classifier is wanted as well.

    Returns:
        The tensors, and the preprocessing that was published with them.

    Raises:
        UserError: There is no such file, no file is known for the architecture, the download failed, or the file is
            damaged.
    """
    if source == "imagenet":
        file = read_weights(_imagenet_file(architecture, include_top))
        return replace(file, preprocessing=IMAGENET[architecture].preprocessing, assumed=False, untold=False)
    if source == DRAWN:
        return read_weights(_drawn_file(architecture))
    if is_hub_source(source):
        path, preprocessing = from_hub(source, architecture)
        file = read_weights(path)
        return replace(
            file, preprocessing=preprocessing or file.preprocessing, assumed=file.assumed and preprocessing is None
        )
    if not is_path(source):
        return read_weights(_from_address(source))
    path = Path(source)
    if not path.exists() and not path.with_name(f"{path.name}.index").is_file():
        raise UserError(f"there is no weights file {source!r}; give {KINDS}")
    return read_weights(path)


def downloaded(architecture: str) -> bool:
    """Returns whether the ImageNet weights of an architecture, without their classifier, are on this machine."""
    published = IMAGENET[architecture]
    return (cache_folder() / (published.file_without_top or published.file).name).is_file()


def _imagenet_file(architecture: str, include_top: bool) -> Path:
    if architecture not in IMAGENET:
        raise UserError(
            f"no ImageNet file is known for {architecture!r}, only for {', '.join(IMAGENET)}; give another of {KINDS}"
        )
    published = IMAGENET[architecture]
    file = published.file if include_top or not published.file_without_top else published.file_without_top
    mirror = os.environ.get(ADDRESS_VARIABLE)
    url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
    try:
        return download(url, cache_folder() / file.name, file.digest, file.algorithm)
    except UserError as error:
        raise UserError(f"{error}; or name a mirror of these files in {ADDRESS_VARIABLE}") from error


def _drawn_file(architecture: str) -> Path:
    if architecture != DRAWN_ARCHITECTURE:
        raise UserError(
            f"the weights {DRAWN!r} are of {DRAWN_ARCHITECTURE}, not of {architecture}; give --arch "
            f"{DRAWN_ARCHITECTURE}, or other weights"
        )
    return Path(__file__).with_name(f"{DRAWN}.safetensors")


def _from_address(address: str) -> Path:
    url, _, fragment = address.partition("#")
    digest = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", fragment)
    if digest is None:
        raise UserError(f"an address must end in #sha256= and the 64 digits of the file's hash, received {address!r}")
    name = re.sub(r"[^\w.-]", "_", PurePosixPath(urlsplit(url).path).name) or "weights"
    return download(url, cache_folder() / f"{digest[1][:16].lower()}-{name}", digest[1])


def cache_folder() -> Path:
    """Returns the folder for downloads; keras.utils.get_file uses it too, so its files are not downloaded again."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
