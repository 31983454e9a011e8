"""Reads the pickles of PyTorch's checkpoints with a small machine that can only describe tensors.

`pickle.Unpickler` is not used, even with a `find_class` of our own, because a damaged index makes its memo fill the
memory.
"""

import pickletools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from resnet_tf.errors import UserError

# A checkpoint of ResNet-152 with its optimizer has fewer than 100,000; this many need less than a gigabyte of memory.
_MAX_OPCODES = 5_000_000
_MAX_ARGUMENTS = 8  # _rebuild_tensor_v2 has seven
_MAX_DIMENSIONS = 64  # NumPy's limit

_LITERALS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
BFLOAT16 = "torch.BFloat16Storage"  # NumPy lacks this type: it is read as two bytes, then converted to ml_dtypes' type
STORAGE_TYPES = {
    "torch.DoubleStorage": "f8",
    "torch.FloatStorage": "f4",
    "torch.HalfStorage": "f2",
    BFLOAT16: "u2",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
}


@dataclass(frozen=True)
class Global:
    """A name that the pickle asks for; it is never looked up in Python."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A sequence of numbers in the file; `kind` is a name of `STORAGE_TYPES`, `count` the number of elements."""

    kind: str
    key: str
    count: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage; offset and strides are in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    strides: tuple[int, ...]


def unpickle(stream: BinaryIO, path: Path, storages: dict[str, Storage]) -> Any:
    """Reads one pickle from the current position of a stream.

    Args:
        stream: Open file; its position is after the pickle when this returns.
        path: Path that errors name.
        storages: Dictionary to which the storages that the pickle mentions are added.

    Returns:
        The content: numbers, text, tuples, lists and dictionaries, and a `Tensor` in place of each tensor.

    Raises:
        UserError: The pickle asks for something that tensors do not need.
        ValueError: The pickle is malformed.
    """
    position = stream.tell()
    try:
        return _run(stream, path, storages)
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"the pickle at byte {position} makes no sense") from error


def _run(stream: BinaryIO, path: Path, storages: dict[str, Storage]) -> Any:
    """Runs the machine, which knows the operations that `torch.save` writes with pickle's protocols 2 to 5."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}

    def pop_to_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    operations: Iterable[tuple[Any, Any, Any]] = pickletools.genops(stream)
    for number, (operation, argument, _) in enumerate(operations):
        if number > _MAX_OPCODES:
            raise UserError(
                f"the pickle in {str(path)!r} has over {_MAX_OPCODES:,} operations; save model.state_dict()"
            )
        match operation.name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(operation.name == "NEWTRUE")
            case literal if literal in _LITERALS:
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                length = int(operation.name[-1])
                stack[-length:] = [tuple(stack[-length:])]
            case "APPEND":
                item = stack.pop()
                stack[-1].append(item)
            case "APPENDS":
                items = pop_to_mark()
                stack[-1].extend(items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                _set_items(stack[-1], [(key, value)])
            case "SETITEMS":
                items = pop_to_mark()
                _set_items(stack[-1], zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_known(argument.replace(" ", ".", 1), path))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_known(".".join((module, name)), path))
            case "BINPERSID":
                storage = _to_storage(stack.pop())
                storages[storage.key] = storage
                stack.append(storage)
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_FUNCTIONS[function.name](*arguments[:_MAX_ARGUMENTS]))
            case "BUILD":  # sets attributes, such as the versions that come with a state dict
                stack.pop()
            case _:
                raise UserError(
                    f"{str(path)!r} asks for pickle's {operation.name}, which weights do not need; save "
                    "model.state_dict() alone"
                )
    (content,) = stack
    return content


def _known(name: str, path: Path) -> Global:
    if name not in _FUNCTIONS and name not in STORAGE_TYPES:
        raise UserError(
            f"{str(path)!r} asks for {ascii(name)[1:-1][:100]}, which weights do not need; it is not executed. "
            "If this is a whole model or carries other objects, save model.state_dict() alone"
        )
    return Global(name)


def _set_items(target: dict[Any, Any], items: Iterable[Any]) -> None:
    for key, value in items:
        if isinstance(key, str | int):  # nothing else names a tensor, and hashing a nested tuple can take forever
            target[key] = value


def _to_storage(identifier: Any) -> Storage:
    match identifier:
        # The older layout has a sixth entry, which was used for views of storages before 0.4 and has been None since.
        case ("storage", Global(kind), str(key), _, int(count)) | (
            "storage",
            Global(kind),
            str(key),
            _,
            int(count),
            None,
        ) if kind in STORAGE_TYPES:
            return Storage(kind, key, count)
    raise TypeError("a persistent identifier that is no storage")


def _ordered_dict(*items: list[Any]) -> dict[Any, Any]:
    """Makes a dictionary; pickles of Python 2 pass a list of the items, later ones pass nothing."""
    result: dict[Any, Any] = {}
    for pairs in items:
        _set_items(result, pairs)
        pairs.clear()  # otherwise a short pickle could copy a long list many times
    return result


def _size(sizes: Any) -> Any:
    return sizes


def _rebuild_tensor(storage: Any, offset: Any, size: Any, strides: Any, *_rest: Any) -> Tensor:
    match storage, size, strides:
        case Storage(), tuple(), tuple() if len(size) == len(strides) <= _MAX_DIMENSIONS:
            if all(isinstance(number, int) and number >= 0 for number in (offset, *size, *strides)):
                return Tensor(storage, offset, size, strides)
    raise TypeError("a tensor that is no view of a storage")


def _rebuild_parameter(data: Any, *_rest: Any) -> Any:
    return data


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
}
