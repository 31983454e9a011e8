"""Downloads weights from the Hugging Face hub with huggingface_hub, an optional extra (requirements-hub.txt)."""

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from resnet_tf.errors import UserError
from resnet_tf.weights.neighbours import CONFIG, check_name, known_as, of_config
from resnet_tf.weights.preprocessing import Preprocessing

WEIGHTS = "model.safetensors"
MADE_BY = "resnet_tf"  # in the config.json of a repository that `resnet-tf push` has made: our version
_SOURCE = re.compile(r"(?:timm:(?P<timm>[\w.-]+)|hf:(?P<hf>[\w.-]+/[\w.-]+))(?:@(?P<revision>[\w./-]+))?")
_INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # PIL.Image.Resampling


def is_hub_source(source: str) -> bool:
    """Returns whether a source is "timm:NAME" or "hf:OWNER/NAME"."""
    return source.startswith(("timm:", "hf:"))


def from_hub(source: str, architecture: str) -> tuple[Path, Preprocessing | None]:
    """Downloads a repository's weights, in safetensors, and reads its preprocessing.

    Args:
        source: Repository, "timm:NAME" or "hf:OWNER/NAME", with "@revision" for a certain revision.
        architecture: Name of the architecture, as in `resnet_tf.build`.

    Returns:
        The file in huggingface_hub's cache, and the preprocessing, or None if the repository states none beside the
        file, as those of `resnet-tf push`.

    Raises:
        UserError: huggingface_hub is not installed, the download failed, or the repository holds a different
            architecture.
    """
    match = _SOURCE.fullmatch(source)
    if match is None:
        raise UserError(f"a hub source is timm:NAME or hf:OWNER/NAME, with @REVISION if wanted; received {source!r}")
    repository = match["hf"] or f"timm/{match['timm']}"
    config = _json(repository, CONFIG, match["revision"], source)
    theirs = config.get("architecture", architecture)
    if theirs != architecture and known_as(str(theirs)) != architecture:
        raise UserError(f"{source!r} holds the architecture {theirs!r}, not {architecture!r}")
    check_name(repository, source)
    of_config(config, f"its {CONFIG}", source)
    try:
        preprocessing = _of_timm(config["pretrained_cfg"]) if "pretrained_cfg" in config else None
        if preprocessing is None and match["hf"] and MADE_BY not in config:
            preprocessing = _of_transformers(_json(repository, "preprocessor_config.json", match["revision"], source))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"the preprocessing of {source!r} is not understood: {error!r}") from error
    path = _fetch(repository, WEIGHTS, match["revision"], source)
    _check_hash(path, source)
    return path, preprocessing


def _of_timm(config: dict[str, Any]) -> Preprocessing:
    return _preprocessing(config["mean"], config["std"], config["crop_pct"], config["interpolation"])


def _of_transformers(config: dict[str, Any]) -> Preprocessing:
    interpolation = _INTERPOLATIONS.get(config.get("resample", 2), "bilinear")
    return _preprocessing(config["image_mean"], config["image_std"], config.get("crop_pct", 0.875), interpolation)


def _preprocessing(mean: list[float], std: list[float], crop: float, interpolation: str) -> Preprocessing:
    return Preprocessing(
        mean=_scaled(mean), deviation=_scaled(std), crop_fraction=float(crop), interpolation=str(interpolation)
    )


def _scaled(numbers: list[float]) -> tuple[float, float, float]:
    red, green, blue = (255.0 * float(number) for number in numbers)
    return red, green, blue


def _json(repository: str, name: str, revision: str | None, source: str) -> dict[str, Any]:
    path = _fetch(repository, name, revision, source)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{name} of {source!r} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{name} of {source!r} is not a JSON object")
    return content


def _fetch(repository: str, name: str, revision: str | None, source: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(
            f"{source!r} needs huggingface_hub: pip install 'resnet-tf[hub]', "
            "or download the file by hand and give its path"
        ) from None
    endpoint = os.environ.get("HF_ENDPOINT")
    try:
        return Path(hf_hub_download(repository, name, revision=revision, endpoint=endpoint))
    except Exception as error:  # errors of huggingface_hub, of its HTTP library, or of the file system
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"could not download {name} of {source!r} from {endpoint or 'https://huggingface.co'} ({reason}); "
            "download it by hand and give its path"
        ) from error


def _check_hash(path: Path, source: str) -> None:
    """Checks a file's SHA-256, by which the hub's cache names a large file without computing it."""
    blob = path.resolve()
    if re.fullmatch(r"[0-9a-f]{64}", blob.name) is None:
        return
    with blob.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != blob.name:
        blob.unlink()
        path.unlink(missing_ok=True)
        raise UserError(f"{WEIGHTS} of {source!r} has the hash {digest}, not {blob.name}; it is not kept, try again")
