"""Reads Keras's HDF5 files, in the old and in the new layout."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import BATCH_NORM, KERNEL_AND_BIAS, shown
from resnet_tf.weights.unnamed_layers import unnamed_key
from resnet_tf.weights.weight_file import DESCRIPTION

# cifar_resnet1202 has 12,000 links, and a file of Keras has groups six deep for each model inside of a model.
_MOST_LINKS, _DEEPEST = 200_000, 64
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
        UserError: A tensor is stored outside the file, two have the same name, texts stand in place of numbers, or
            there are too many groups.
    """
    import h5py

    tensors: dict[str, np.ndarray] = {}
    with h5py.File(file, "r") as root:
        found = list(_datasets(root))
        for name, dataset in found:
            if dataset.external or dataset.is_virtual:
                raise UserError(
                    f"the weights have a tensor outside of their file, {shown(name)!r}; that is not followed"
                )
            if dataset.dtype.hasobject:  # texts and lists of any length, which no size says
                raise UserError(f"the weights have texts or lists in {shown(name)!r} where numbers should be")
        check_size(sum(dataset.nbytes for _, dataset in found))
        for name, dataset in found:
            key = _key(name, dataset)
            if key is None:
                continue
            if key in tensors and dataset.dtype.kind in "fV":  # random generators have integers, and often one name
                raise UserError(
                    f"the weights have two tensors of the name {shown(key)!r}, the second in {shown(name)!r}"
                )
            tensors[key] = _numbers(dataset)
        description = _text(root.attrs, DESCRIPTION)
    return tensors, description


def _datasets(root: Any) -> Iterator[tuple[str, Any]]:
    """Yields (path, dataset) of what is no optimizer's; neither soft nor external links are followed.

    h5py's own walk calls itself for each group inside a group, and looks each up from the root again.

    Raises:
        UserError: There are too many groups, or they lie too deep.
    """
    import h5py

    waiting: list[tuple[str, Any]] = [("", root)]
    seen = {h5py.h5o.get_info(root.id).addr}
    links = 0
    while waiting:
        path, group = waiting.pop()
        if path.count("/") > _DEEPEST:
            raise UserError(f"the weights have groups inside of groups, more than {_DEEPEST} deep")
        inner = []
        for name in group:
            links += 1
            if links > _MOST_LINKS:
                raise UserError(f"the weights have more than {_MOST_LINKS:,} groups and tensors")
            place = f"{path}/{name}" if path else name
            if place.startswith("optimizer") or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:  # a link back, or a second name of one object
                continue
            seen.add(address)
            if isinstance(item, h5py.Group):
                inner.append((place, item))
            elif isinstance(item, h5py.Dataset):
                yield place, item
        waiting += reversed(inner)


def _numbers(dataset: Any) -> np.ndarray:
    """Reads an array; Keras writes bfloat16 as bytes, with an attribute that says so."""
    numbers = dataset[()]
    if _text(dataset.attrs, "dtype") == "bfloat16":
        import ml_dtypes

        return numbers.view(ml_dtypes.bfloat16)
    return numbers


def _text(attributes: Any, name: str) -> str | None:
    """Returns an attribute that is one text, or None."""
    if name not in attributes or attributes.get_id(name).shape != ():
        return None
    value = attributes[name]
    value = value.decode() if isinstance(value, bytes) else value
    return value if isinstance(value, str) else None


def _key(name: str, dataset: Any) -> str | None:
    parts = name.split("/")
    if len(parts) < 2:
        return None
    if parts[-2] != "vars":
        return f"{parts[-2]}/{parts[-1].partition(':')[0]}"
    layer = _text(dataset.parent.attrs, "name")
    if layer is None:
        return unnamed_key(parts)
    variables = BATCH_NORM if len(dataset.parent) == len(BATCH_NORM) else KERNEL_AND_BIAS
    index = int(parts[-1])
    return f"{layer}/{variables[index]}" if index < len(variables) else None
