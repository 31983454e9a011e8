"""Evidence: which positions of a picture a classifier's logit comes from.

The head of a ResNet here is linear in averages and maxima over the positions of its last stages. So a logit can be
divided over the positions exactly, and without gradients: an average gives each position its share, and a maximum gives
all of its share to the position that it is taken from. The map's sum and the bias are the logit. For an average of the
last stage alone, this is the class activation map of Zhou et al. 2016 (arXiv 1512.04150).

Where the head is not linear, as with the hidden layers of a VGG, there is no such division. There the map is Grad-CAM
(Selvaraju et al. 2017, arXiv 1610.02391), which shows where the logit is sensitive, and adds up to nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from resnet_tf.classifier import head
from resnet_tf.recursion import deep_recursion

EXACT, GRAD_CAM = "exact", "Grad-CAM"
# Stages of more pixels at a time would take gigabytes.
_PIXELS_AT_ONCE = 16 * 224 * 224


@dataclass(frozen=True)
class Evidence:
    """Maps of the evidence for classes in a batch of images.

    Args:
        maps: float32 [images, classes asked for, height, width]; positive where a position speaks for the class.
        logits: float32 [images, classes], all logits.
        bias: float32 [images, classes asked for], the part of each logit that belongs to no position. It is NaN for
            Grad-CAM, whose maps are not parts of a logit.
        features: float32 [images, channels], what the head sees.
    """

    maps: np.ndarray
    logits: np.ndarray
    bias: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class _Pooled:
    """One of the parts that the head's input is put together from.

    Args:
        source: Tensor [batch, height, width, channels] that is pooled.
        maximum: Whether the pooling takes the maximum; otherwise it takes the average.
        begin: Number of its first feature.
    """

    source: Any
    maximum: bool
    begin: int


class Explainer:
    """Divides a classifier's logits over the positions of its images.

    Args:
        model: Classifier from uint8 images [batch, height, width, 3] to logits, with a dense last layer.
    """

    def __init__(self, model: keras.Model) -> None:
        last = head(model)
        self.kernel, self.intercept = np.asarray(last.kernel), np.asarray(last.bias)
        self.parts = _pooled_parts(last.input)
        self.method = EXACT if self.parts is not None else GRAD_CAM
        with deep_recursion():
            if self.parts is not None:
                outputs = [model.output, last.input, *(part.source for part in self.parts)]
                self._network = keras.Model(model.input, outputs)
            else:
                frontier = _maps_below(last.input)
                self._network = keras.Model(model.input, frontier)
                self._rest = keras.Model(frontier, [model.output, last.input])

    @cached_property
    def _graph(self) -> Callable[[Any], Any]:
        network = self._network
        return tf.function(lambda images: network(images, training=False), reduce_retracing=True)

    def features(self, images: Any) -> np.ndarray:
        """Returns what the head sees of images, float32 [images, channels]."""
        outputs = self._graph(tf.convert_to_tensor(images))
        if self.parts is not None:
            return np.asarray(outputs[1], np.float32)
        return np.asarray(self._rest(outputs)[1], np.float32)

    def __call__(self, images: Any, classes: np.ndarray) -> Evidence:
        """Returns the evidence for some classes in each image.

        Args:
            images: uint8 [images, height, width, 3], as the network sees them.
            classes: int [images, k], the classes of each image that are asked for.
        """
        step = max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
        parts = [
            self._explained(images[begin : begin + step], classes[begin : begin + step])
            for begin in range(0, len(images), step)
        ]
        names = ("maps", "logits", "bias", "features")
        return Evidence(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def _explained(self, images: Any, classes: np.ndarray) -> Evidence:
        outputs = self._graph(tf.convert_to_tensor(images))
        if self.parts is None:
            return self._grad_cam(outputs, classes)
        logits, features, *sources = (np.asarray(value, np.float32) for value in outputs)
        maps = self._divided(sources, classes)
        return Evidence(maps, logits, self.intercept[classes], features)

    def _divided(self, sources: list[np.ndarray], classes: np.ndarray) -> np.ndarray:
        """Divides logits over the positions of the finest stage that the head sees."""
        assert self.parts is not None
        finest = max((source.shape[1:3] for source in sources), key=lambda shape: shape[0] * shape[1])
        total = np.zeros((*classes.shape, *finest), np.float32)
        for part, source in zip(self.parts, sources, strict=True):
            weights = self.kernel[part.begin : part.begin + source.shape[-1]].T[classes]  # [images, k, channels]
            shares = _shares_of_maxima(source) if part.maximum else source / np.prod(source.shape[1:3])
            total += spread(np.einsum("nkc,nhwc->nkhw", weights, shares, optimize=True), finest)
        return total

    def _grad_cam(self, frontier: Any, classes: np.ndarray) -> Evidence:
        tensors = frontier if isinstance(frontier, list | tuple) else [frontier]
        last = tensors[-1]
        maps = np.zeros((*classes.shape, *last.shape[1:3]), np.float32)
        logits, features = self._rest(frontier)
        for place in range(classes.shape[1]):
            with tf.GradientTape() as tape:
                tape.watch(last)
                chosen = tf.gather(self._rest(frontier)[0], tf.constant(classes[:, place]), batch_dims=1)
            importance = tf.reduce_mean(tape.gradient(chosen, last), axis=(1, 2), keepdims=True)
            maps[:, place] = tf.nn.relu(tf.reduce_sum(importance * last, axis=-1)).numpy()
        nothing = np.full(classes.shape, np.nan, np.float32)
        return Evidence(maps, np.asarray(logits, np.float32), nothing, np.asarray(features, np.float32))


def spread(maps: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Spreads maps over another grid so that their sums stay the same, each position by the area that it covers.

    Args:
        maps: float [..., height, width].
        shape: Height and width of the other grid, which may be finer or coarser.
    """
    if maps.shape[-2:] == tuple(shape):
        return maps
    rows, columns = (_overlaps(old, new) for old, new in zip(maps.shape[-2:], shape, strict=True))
    return np.einsum("ah,...hw,bw->...ab", rows, maps, columns, optimize=True).astype(maps.dtype)


def smoothed(maps: np.ndarray, side: int) -> np.ndarray:
    """Returns maps as people see them: on a coarse grid, and each position shared with its neighbours.

    A maximum is taken from one position of a fine grid, which could hardly be seen. The sums stay the same.

    Args:
        maps: float [..., height, width].
        side: Positions along each side.

    Returns:
        float [..., side, side].
    """
    coarse = spread(maps, (side, side))
    share = np.diag(np.full(side, 0.5)) + np.diag(np.full(side - 1, 0.25), 1) + np.diag(np.full(side - 1, 0.25), -1)
    share[0, 0] = share[-1, -1] = 0.75  # what would go beyond the edge stays
    return (share @ coarse @ share).astype(maps.dtype)


def _overlaps(old: int, new: int) -> np.ndarray:
    """Returns which share of each of the old intervals lies in each of the new ones, [new, old]; columns sum to 1."""
    starts, fresh = np.arange(old) / old, np.arange(new) / new
    begin = np.maximum(starts[None], fresh[:, None])
    end = np.minimum(starts[None] + 1 / old, fresh[:, None] + 1 / new)
    return np.clip(end - begin, 0.0, None) * old


def _shares_of_maxima(source: np.ndarray) -> np.ndarray:
    """Returns each position's share of the maximum; positions with the same largest value share it equally."""
    largest = source.max(axis=(1, 2), keepdims=True)
    at = source == largest
    return np.where(at, largest / at.sum(axis=(1, 2), keepdims=True), 0.0).astype(np.float32)


def _pooled_parts(features: Any) -> list[_Pooled] | None:
    """Returns what the head's input is put together from, or None where it is not from averages and maxima alone."""
    operation = _operation_of(features)
    while isinstance(operation, keras.layers.Dropout):
        operation = _operation_of(operation.input)
    parts: list[_Pooled] = []
    begin = 0
    for tensor in (
        keras.tree.flatten(operation.input) if isinstance(operation, keras.layers.Concatenate) else [features]
    ):
        pooling = _operation_of(tensor)
        while isinstance(pooling, keras.layers.Dropout):
            pooling = _operation_of(pooling.input)
        if not isinstance(pooling, keras.layers.GlobalAveragePooling2D | keras.layers.GlobalMaxPooling2D):
            return None
        parts.append(_Pooled(pooling.input, isinstance(pooling, keras.layers.GlobalMaxPooling2D), begin))
        begin += int(tensor.shape[-1])
    return parts


def _maps_below(features: Any) -> list[Any]:
    """Returns the nearest tensors of a head's input that still have positions; last what hidden layers see."""
    pooled, flattened, waiting = [], [], [features]
    while waiting:
        operation = _operation_of(waiting.pop())
        for tensor in keras.tree.flatten(operation.input):
            if len(tensor.shape) != 4:
                waiting.append(tensor)
            elif isinstance(operation, keras.layers.Flatten):
                flattened.append(tensor)
            else:
                pooled.append(tensor)
    return list({id(tensor): tensor for tensor in pooled + flattened}.values())


def _operation_of(tensor: Any) -> Any:
    return tensor._keras_history.operation
