"""Changes a file's tensors so that a model computes what the file's network computed, and says what was changed."""

import math

import keras
import numpy as np

from resnet_tf.weights.names import BATCH_NORM, FIRST_KERNELS, HEAD, batch_norm_of

Tensors = dict[str, np.ndarray]


def fit_to(model: keras.Model, tensors: Tensors) -> tuple[Tensors, list[str], list[str]]:
    """Returns a file's tensors in a form that suits a model.

    The model may have convolution biases and batch norms where the file has none, or the reverse; its images may have
    another number of channels; and a VGG's file may be for images of another size.

    Args:
        model: Network from `resnet_tf.build` or `resnet_tf.build_classifier`.
        tensors: Arrays by "layer/variable".

    Returns:
        The tensors, sentences about what was changed, and the names of the tensors that were fitted to another shape.
    """
    tensors = dict(tensors)
    layers = {layer.name: layer for layer in model.layers}
    notes = _fit_biases(layers, tensors)
    fitted = {name: note for fit in (_fit_first_kernel, _fit_hidden_layer) for name, note in fit(layers, tensors)}
    return tensors, notes + list(fitted.values()), list(fitted)


def _fit_biases(layers: dict[str, keras.layers.Layer], tensors: Tensors) -> list[str]:
    moved = folded = zeroed = 0
    for name, layer in layers.items():
        kernel, bias = f"{name}/kernel", f"{name}/bias"
        batch_norm = batch_norm_of(name)
        if not isinstance(layer, keras.layers.Conv2D) or kernel not in tensors or batch_norm not in layers:
            continue
        if bias in tensors and not any(f"{batch_norm}/{variable}" in tensors for variable in BATCH_NORM):
            tensors |= _identity_batch_norm(layers[batch_norm], batch_norm, tensors.pop(bias))
            folded += 1
        elif bias in tensors and not layer.use_bias and f"{batch_norm}/moving_mean" in tensors:
            # batch norm of (x + bias) with mean m is batch norm of x with mean m - bias
            tensors[f"{batch_norm}/moving_mean"] = tensors[f"{batch_norm}/moving_mean"] - tensors.pop(bias)
            moved += 1
        if bias not in tensors and layer.use_bias:
            tensors[bias] = np.zeros(layer.filters, np.float32)
            zeroed += 1
    notes = []
    if folded:
        notes.append(
            f"{folded} batch norms are folded into their convolutions in the file: "
            "they become identities with the bias, to be used with frozen statistics"
        )
    if moved:
        notes.append(f"{moved} convolution biases went into the moving means behind them")
    if zeroed:
        notes.append(f"{zeroed} convolution biases that the file does not have are zero")
    return notes


def _identity_batch_norm(layer: keras.layers.BatchNormalization, name: str, bias: np.ndarray) -> Tensors:
    """Returns the tensors of a batch norm that only adds the bias; its epsilon is taken into account."""
    ones = np.ones_like(bias)
    return {
        f"{name}/gamma": ones * np.sqrt(np.float32(1.0 + layer.epsilon)),
        f"{name}/beta": bias,
        f"{name}/moving_mean": np.zeros_like(bias),
        f"{name}/moving_variance": ones,
    }


def _fit_first_kernel(layers: dict[str, keras.layers.Layer], tensors: Tensors) -> list[tuple[str, str]]:
    """Fits the first kernel to images with another number of channels, as timm does (`adapt_input_conv`).

    For gray images, the kernel is summed over the channels. For more channels it is repeated, and scaled by their
    ratio. Images whose channels are all the same then give what they gave.
    """
    for name in FIRST_KERNELS:
        layer, kernel = layers.get(name.partition("/")[0]), tensors.get(name)
        if layer is None or kernel is None or kernel.ndim != 4:
            continue
        height, width, channels, filters = layer.kernel.shape
        theirs = kernel.shape[2]
        if theirs in (channels, 0) or kernel.shape != (height, width, theirs, filters):
            continue
        if channels == 1:
            tensors[name], how = kernel.sum(axis=2, keepdims=True), "summed over them"
        else:
            repeated = np.tile(kernel, (1, 1, math.ceil(channels / theirs), 1))[:, :, :channels]
            tensors[name], how = repeated * np.float32(theirs / channels), f"repeated and scaled by {theirs}/{channels}"
        note = f"{name} is for images of {theirs} channels, and the model's have {channels}: it is {how}"
        return [(name, note)]
    return []


def _fit_hidden_layer(layers: dict[str, keras.layers.Layer], tensors: Tensors) -> list[tuple[str, str]]:
    """Fits the first hidden layer of a VGG from images of another size.

    Here, the layer sees 7×7 pixels at every size of the image, as in torchvision; a VGG of keras.applications sees
    n×n for images of 32n pixels. The pooling to 7×7 is a matrix P for each axis, and the kernel is multiplied by its
    pseudoinverse. Where n is below 7, this undoes P, and images of that size give the same logits.
    """
    kernel, layer = tensors.get("fc1/kernel"), layers.get("fc1")
    if kernel is None or layer is None or kernel.ndim != 2 or f"{HEAD}/kernel" not in tensors:
        return []
    pixels, channels = 7 * 7, layer.kernel.shape[0] // (7 * 7)
    size = math.isqrt(kernel.shape[0] // channels)
    if size * size * channels != kernel.shape[0] or size * size == pixels or kernel.shape[1] != layer.units:
        return []
    inverse = np.linalg.pinv(pooling_matrix(size, 7)).astype(np.float32)  # [size, 7]
    maps = kernel.reshape(size, size, channels, -1)
    fitted = np.einsum("hwcu,hi,wj->ijcu", maps, inverse, inverse, optimize=True)
    tensors["fc1/kernel"] = fitted.reshape(-1, kernel.shape[1])
    how = f"images of {32 * size} pixels give the same" if size < 7 else "this is an approximation"
    note = f"fc1 is for images of {32 * size} pixels, {size} × {size} before it, and is fitted to 7 × 7: {how}"
    return [("fc1/kernel", note)]


def pooling_matrix(size: int, pooled: int) -> np.ndarray:
    """Returns the matrix [pooled, size] of an adaptive average pooling along one axis, as torch and Keras define it."""
    matrix = np.zeros((pooled, size))
    for row in range(pooled):
        first, end = row * size // pooled, math.ceil((row + 1) * size / pooled)
        matrix[row, first:end] = 1.0 / (end - first)
    return matrix
