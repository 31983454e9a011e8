"""Where weights come from, how their names map, how they are checked."""

from resnet_tf.weights.loading import LoadReport, load_weights
from resnet_tf.weights.preprocessing import CAFFE, TORCH, Preprocessing
from resnet_tf.weights.readers import WeightFile, read_weights
from resnet_tf.weights.sources import resolve_weights

__all__ = [
    "CAFFE",
    "TORCH",
    "LoadReport",
    "Preprocessing",
    "WeightFile",
    "load_weights",
    "read_weights",
    "resolve_weights",
]
