"""The view as a part of an ONNX graph: pictures of any height and width become the network's images.

It is `pipelines.images.regions.evaluation_region` and its resampling, as one product of matrices for each axis. The
matrices come from the picture's height and width by whole numbers and a few operations in float32, so that runtimes
compute them alike.
"""

import numpy as np
from onnx import TensorProto

from pipelines.serving.onnx_graph import OnnxGraph
from pipelines.serving.plain_network import View

# As in `pipelines.images.regions`, which needs TensorFlow; a test compares the two.
MEAN_COLOUR = (124, 116, 104)
# Half the width of each kernel, in pixels of the larger of the two grids.
_HALF_WIDTH = {"bilinear": 1, "bicubic": 2}
# float32 rounds a place among thousands of pixels by no more than this.
_MOST_ROUNDED = 5e-4


def add_view(graph: OnnxGraph, images: str, view: View) -> str:
    """Adds the view to a graph.

    Args:
        graph: Graph to add to.
        images: Name of the pictures, uint8 [batch, height, width, 3].
        view: What the network sees of them.

    Returns:
        The name of the images, float32 [batch, 3, size, size], whole numbers in 0 … 255.
    """
    shape = graph.add("Shape", images)
    sides = [graph.add("Gather", shape, graph.constant(axis, np.int64), axis=0) for axis in (1, 2)]
    resized = _resized_sides(graph, sides, view)
    whole = graph.constant(view.size, np.int64)
    begins = [_half(graph, graph.add("Sub", side, whole)) for side in resized]
    if view.view == "pad":  # begin is below 0; ONNX rounds a quotient towards 0, as wanted here
        begins = [graph.add("Neg", _half(graph, graph.add("Sub", whole, side))) for side in resized]
    rows, columns = (
        _matrix(graph, side, other, begin, view) for side, other, begin in zip(sides, resized, begins, strict=True)
    )
    x = _resampled(graph, _float(graph, images), sides, rows, columns, view.size)
    return _padded(graph, x, resized, begins, view) if view.view == "pad" else x


def _half(graph: OnnxGraph, number: str) -> str:
    return graph.add("Div", number, graph.constant(2, np.int64))


def _resized_sides(graph: OnnxGraph, sides: list[str], view: View) -> list[str]:
    """Returns the height and width after the whole picture is resized, int64."""
    target = graph.constant(view.side, np.int64)
    if view.view == "squeeze":
        return [target, target]
    fitted = graph.add("Max" if view.view == "pad" else "Min", *sides)
    rounded = [_rounded_quotient(graph, graph.add("Mul", side, target), fitted) for side in sides]
    if view.view == "crop":
        return [graph.add("Max", side, target) for side in rounded]
    one = graph.constant(1, np.int64)
    return [graph.add("Min", graph.add("Max", side, one), target) for side in rounded]


def _rounded_quotient(graph: OnnxGraph, number: str, divisor: str) -> str:
    """Returns number / divisor, rounded; a half goes to the even neighbour, as in NumPy and TensorFlow."""
    one, two = graph.constant(1, np.int64), graph.constant(2, np.int64)
    doubled = graph.add("Add", graph.add("Mul", number, two), divisor)
    twice = graph.add("Mul", divisor, two)
    quotient = graph.add("Div", doubled, twice)
    rest = graph.add("Sub", doubled, graph.add("Mul", quotient, twice))
    odd = graph.add("Sub", quotient, graph.add("Mul", graph.add("Div", quotient, two), two))
    is_half = graph.add("Sub", one, graph.add("Min", rest, one))  # 1 where nothing is left, 0 elsewhere
    return graph.add("Sub", quotient, graph.add("Mul", is_half, odd))


def _matrix(graph: OnnxGraph, side: str, resized: str, begin: str, view: View) -> str:
    """Returns the weights of a picture's pixels in each of the image's, along one axis, float32 [size, side].

    The kernel is as wide as a pixel of the image or of the picture, whichever is larger. Its weights are divided by
    their sum, which is smaller at the edges.

    Distances are whole numbers before they are divided. OpenVINO computes in bfloat16 where a processor has it, with
    three digits, in which the numbers of neighbouring pixels are the same.
    """
    one, two = graph.constant(1, np.int64), graph.constant(2, np.int64)
    numbers = graph.add("Range", graph.constant(0, np.int64), side, one)
    sources = graph.add("Mul", graph.add("Add", graph.add("Mul", numbers, two), one), resized)
    places = graph.add(
        "Add", graph.constant(2 * np.arange(view.size)[:, None] + 1, np.int64), graph.add("Mul", begin, two)
    )
    centres = graph.add("Mul", places, side)  # in a unit of which a pixel of the picture has 2 · resized
    unit = graph.add("Mul", resized, two)
    apart = graph.add("Div", _float(graph, graph.add("Sub", sources, centres)), _float(graph, unit))
    apart = graph.add("Sub", apart, _rounding(graph, side, resized, begin, centres, view))
    width = graph.add("Div", _float(graph, graph.add("Max", side, resized)), _float(graph, resized))
    weights = _KERNELS[view.interpolation](graph, graph.add("Div", graph.add("Abs", apart), width))
    total = graph.add("ReduceSum", weights, graph.constant([1], np.int64), keepdims=1)
    if view.view == "pad":  # beyond the picture there are no weights, and what is computed there is not used
        total = graph.add("Max", total, graph.constant(1e-3))
    return graph.add("Div", weights, total)


def _rounding(graph: OnnxGraph, side: str, resized: str, begin: str, centres: str, view: View) -> str:
    """Returns how much TensorFlow's float32 rounds the centres of the image's pixels up, float32 [size, 1].

    It is a hundred-thousandth of a pixel, which decides to which of two gray levels one pixel in a hundred goes. The
    steps are those of TensorFlow's ScaleAndTranslate, which sees the window that `Region.window` cuts out. OpenVINO's
    quotients are not rounded as exactly, so that a few more of its pixels differ by one gray level. Where a runtime
    computes in bfloat16 the steps mean nothing, and are cut off.
    """
    two = graph.constant(2, np.int64)
    radius = graph.constant(_HALF_WIDTH[view.interpolation], np.int64)
    before = graph.add("Sub", graph.add("Mul", begin, side), graph.add("Mul", radius, graph.add("Max", side, resized)))
    window = graph.add("Div", graph.add("Max", before, graph.constant(0, np.int64)), resized)
    scale = graph.add("Div", _float(graph, resized), _float(graph, side))
    moved = graph.add("Sub", graph.add("Mul", window, resized), graph.add("Mul", begin, side))
    translation = graph.add("Div", _float(graph, moved), _float(graph, side))
    pixel = graph.add("Div", graph.constant(1.0), scale)
    scaled = graph.add("Mul", graph.constant(np.arange(view.size)[:, None] + 0.5), pixel)
    # Abs changes nothing, and keeps OpenVINO from multiplying and adding at once, which rounds only once.
    sample = graph.add("Sub", graph.add("Abs", scaled), graph.add("Mul", pixel, translation))
    unit = graph.add("Mul", resized, two)
    whole = graph.add("Div", centres, unit)
    rest = graph.add("Sub", centres, graph.add("Mul", whole, unit))
    exact = graph.add("Div", _float(graph, rest), _float(graph, unit))
    error = graph.add("Sub", graph.add("Sub", sample, _float(graph, graph.add("Sub", whole, window))), exact)
    return graph.add("Clip", error, graph.constant(-_MOST_ROUNDED), graph.constant(_MOST_ROUNDED))


def _float(graph: OnnxGraph, number: str) -> str:
    return graph.cast(number, TensorProto.FLOAT)


def _triangle(graph: OnnxGraph, distance: str) -> str:
    return graph.add("Relu", graph.add("Sub", graph.constant(1.0), distance))


def _keys_cubic(graph: OnnxGraph, distance: str) -> str:
    """Returns Keys's kernel with -0.5 (1981), in two pieces: up to 1, and from there to 2, beyond which it is 0."""
    x = graph.add("Min", distance, graph.constant(2.0))

    def polynomial(*factors: float) -> str:
        value = graph.constant(factors[0])
        for factor in factors[1:]:
            value = graph.add("Add", graph.add("Mul", value, x), graph.constant(factor))
        return value

    inner, outer = polynomial(1.5, -2.5, 0.0, 1.0), polynomial(-0.5, 2.5, -4.0, 2.0)
    return graph.add("Where", graph.add("Less", x, graph.constant(1.0)), inner, outer)


_KERNELS = {"bilinear": _triangle, "bicubic": _keys_cubic}


def _resampled(graph: OnnxGraph, x: str, sides: list[str], rows: str, columns: str, size: int) -> str:
    """Returns [batch, 3, size, size] of [batch, height, width, 3] and the matrices of both axes.

    A bicubic kernel has negative parts and can overshoot. The columns are the first axis of their product, and not the
    last, because OpenVINO 2026.4 would fuse what follows with a product whose last axis is the image's, which it cannot
    where it computes in bfloat16 and 8 bits.
    """
    zero, white = graph.constant(0.0), graph.constant(255.0)
    batch, colours = graph.constant([0], np.int64), graph.constant([3], np.int64)
    one = graph.constant([0], np.int64)
    height, width = (graph.add("Unsqueeze", side, one) for side in sides)
    lines = graph.add("Concat", batch, height, graph.constant([-1], np.int64), axis=0)
    x = graph.add("MatMul", rows, graph.add("Reshape", x, lines))
    pixels = graph.add("Concat", batch, graph.constant([size], np.int64), width, colours, axis=0)
    x = graph.add("Transpose", graph.add("Reshape", x, pixels), perm=[0, 3, 2, 1])
    x = graph.add("Round", graph.add("Clip", graph.add("MatMul", columns, x), zero, white))
    return graph.add("Transpose", x, perm=[0, 1, 3, 2])


def _padded(graph: OnnxGraph, x: str, resized: list[str], begins: list[str], view: View) -> str:
    """Puts the mean colour where an image shows nothing of the picture."""
    numbers = graph.constant(np.arange(view.size), np.int64)
    shown = []
    for side, begin in zip(resized, begins, strict=True):
        place = graph.add("Add", numbers, begin)
        not_before = graph.add("GreaterOrEqual", place, graph.constant(0, np.int64))
        shown.append(graph.add("And", not_before, graph.add("Less", place, side)))
    rows, columns = (
        graph.add("Unsqueeze", each, graph.constant([at], np.int64)) for each, at in zip(shown, (1, 0), strict=True)
    )
    colour = graph.constant(np.reshape(MEAN_COLOUR, (1, 3, 1, 1)))
    return graph.add("Where", graph.add("And", rows, columns), x, colour)
