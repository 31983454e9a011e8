"""Pretrained weights: where they come from, how their names are mapped, and how they are checked."""

from resnet_tf.weights.loading import LoadReport, load_weights
from resnet_tf.weights.preprocessing import CAFFE, CIFAR, TENSORFLOW, TORCH, Preprocessing
from resnet_tf.weights.readers import read_weights
from resnet_tf.weights.sources import find_weights
from resnet_tf.weights.structure import Structure
from resnet_tf.weights.weight_file import WeightFile
from resnet_tf.weights.writers import KerasWriter, write_weights

__all__ = [
    "CAFFE",
    "CIFAR",
    "TENSORFLOW",
    "TORCH",
    "KerasWriter",
    "LoadReport",
    "Preprocessing",
    "Structure",
    "WeightFile",
    "find_weights",
    "load_weights",
    "read_weights",
    "write_weights",
]
