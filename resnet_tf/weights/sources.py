"""Where weights come from: the official ImageNet files by name, or a file that the user has."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from resnet_tf.errors import UserError

KERAS_ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
ADDRESS_VARIABLE = "RESNET_TF_WEIGHTS_URL"
STALLED_SECONDS = 60.0


@dataclass(frozen=True)
class ImageNetFile:
    """An official file of Keras, with its MD5 (keras.applications.resnet, WEIGHTS_HASHES)."""

    name: str
    md5: str


def _keras_files(name: str, md5: str, md5_without_top: str) -> dict[bool, ImageNetFile]:
    stem = f"{name}_weights_tf_dim_ordering_tf_kernels"
    return {True: ImageNetFile(f"{stem}.h5", md5), False: ImageNetFile(f"{stem}_notop.h5", md5_without_top)}


IMAGENET_FILES = {
    "resnet50": _keras_files("resnet50", "2cb95161c43110f7111970584f804107", "4d473c1dd8becc155b73f8504c6f6626"),
    "resnet101": _keras_files("resnet101", "f1aeb4b969a6efcfb50fad2f0c20cfc5", "88cf7a10940856eca736dc7b7e228a21"),
    "resnet152": _keras_files("resnet152", "100835be76be38e30d865e96f2aaae62", "ee4c566cf9a93f14d82f913c2dc6dd0c"),
}


def resolve_weights(weights: str, architecture: str, *, include_top: bool = True, address: str | None = None) -> Path:
    """The local file behind what the user asked for; downloads it where it must.

    Args:
        weights: "imagenet" or a path.
        architecture: As in `resnet_tf.build`.
        include_top: Whether the ImageNet classifier is wanted as well.
        address: Folder to download from, for a mirror; by default the environment variable
            RESNET_TF_WEIGHTS_URL, else Keras's own.

    Returns:
        A file that exists.

    Raises:
        UserError: There is no such file, none is known for the architecture, or the download failed.
    """
    if weights != "imagenet":
        if not Path(weights).is_file():
            raise UserError(f"there is no weights file {weights!r}; give a path, or 'imagenet', or 'none'")
        return Path(weights)
    if architecture not in IMAGENET_FILES:
        raise UserError(
            f"no official ImageNet file is known for {architecture!r}, only for {', '.join(IMAGENET_FILES)}; "
            "give a file of your own"
        )
    address = address or os.environ.get(ADDRESS_VARIABLE) or KERAS_ADDRESS
    return _download(IMAGENET_FILES[architecture][include_top], address.rstrip("/") + "/")


def _download(file: ImageNetFile, address: str) -> Path:
    import keras

    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)  # keras.utils.get_file goes to /tmp where it is missing
    except OSError as error:
        raise UserError(f"cannot keep weights in {str(home)!r}: {error.strerror}; set KERAS_HOME") from error
    target = home / "models" / file.name
    url = address + file.name
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_SECONDS)  # keras.utils.get_file waits for ever on a silent server
    try:
        got = keras.utils.get_file(file.name, url, file_hash=file.md5, cache_subdir="models", cache_dir=str(home))
    except Exception as error:  # keras.utils.get_file raises a bare Exception for network errors
        target.unlink(missing_ok=True)  # it leaves a file of the wrong hash where the good one belongs
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"could not download {url} ({reason}); fetch that file by hand, put it at {target}, and run this again,"
            f" or name a mirror in {ADDRESS_VARIABLE}"
        ) from error
    finally:
        socket.setdefaulttimeout(patience)
    return Path(got)
