"""Reads Keras's HDF5 files, in the old and in the new layout."""

from collections.abc import Callable
from typing import Any

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import BATCH_NORM, KERNEL_AND_BIAS
from resnet_tf.weights.unnamed_layers import unnamed_key
from resnet_tf.weights.weight_file import DESCRIPTION

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def read_hdf5(file: Any, check_size: Callable[[int], None]) -> tuple[dict[str, np.ndarray], str | None]:
    """Reads the variables of the layers, without those of an optimizer.

    In the old layout, a variable is at …/layer/kernel:0. In the new layout, it is at layers/conv2d_3/vars/0, and since
    Keras 3.6 `vars` has an attribute with the layer's name. A tensor of an older file has an `unnamed_key` (see
    `resnet_tf.weights.unnamed_layers`).

    Args:
        file: Path, or an open file.
        check_size: Function that receives the number of bytes before they are read.

    Returns:
        Dictionary from "layer/variable" to an array, and the file's description if it has one.

    Raises:
        UserError: A tensor is stored outside the file.
    """
    import h5py

    tensors: dict[str, np.ndarray] = {}
    with h5py.File(file, "r") as root:
        found: list[tuple[str, h5py.Dataset]] = []

        def collect(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and not name.startswith("optimizer"):
                found.append((name, item))

        root.visititems(collect)  # follows neither soft nor external links
        check_size(sum(dataset.nbytes for _, dataset in found))
        for name, dataset in found:
            if dataset.external or dataset.is_virtual:
                raise UserError(f"the weights have a tensor outside of their file, {name!r}; that is not followed")
            key = _key(name, dataset)
            if key is not None:
                tensors[key] = _numbers(dataset)
        description = root.attrs.get(DESCRIPTION)
    return tensors, description


def _numbers(dataset: Any) -> np.ndarray:
    """Reads an array; Keras writes bfloat16 as bytes, with an attribute that says so."""
    numbers = dataset[()]
    if dataset.attrs.get("dtype") == "bfloat16":
        import ml_dtypes

        return numbers.view(ml_dtypes.bfloat16)
    return numbers


def _key(name: str, dataset: Any) -> str | None:
    parts = name.split("/")
    if len(parts) < 2:
        return None
    if parts[-2] != "vars":
        return f"{parts[-2]}/{parts[-1].partition(':')[0]}"
    layer = dataset.parent.attrs.get("name")
    if layer is None:
        return unnamed_key(parts)
    variables = BATCH_NORM if len(dataset.parent) == len(BATCH_NORM) else KERNEL_AND_BIAS
    index = int(parts[-1])
    return f"{layer}/{variables[index]}" if index < len(variables) else None
