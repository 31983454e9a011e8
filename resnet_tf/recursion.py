"""Raises Python's recursion limit for Keras's recursion over the layers of very deep networks."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

# keras.src.ops.function.map_graph calls itself once per layer; cifar_resnet1202 has 4,200 layers.
_ENOUGH = 20_000


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Allows deep recursion inside the `with` block, in which a `keras.Model` is made or loaded."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _ENOUGH))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
