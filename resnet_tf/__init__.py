"""Residual networks on Keras: builders, weights, layers.

    import resnet_tf
    model = resnet_tf.ResNet50(classes=30, weights="imagenet")
    report = resnet_tf.load_weights(model, "resnet50.safetensors")

Nothing here imports Keras before a name that needs it is used, so that a command line built on this package
answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resnet_tf.classifier import build_classifier as build_classifier
    from resnet_tf.resnet import ResNet18 as ResNet18
    from resnet_tf.resnet import ResNet34 as ResNet34
    from resnet_tf.resnet import ResNet50 as ResNet50
    from resnet_tf.resnet import ResNet101 as ResNet101
    from resnet_tf.resnet import ResNet152 as ResNet152
    from resnet_tf.resnet import build as build
    from resnet_tf.weights import load_weights as load_weights

_HOME_OF = {
    "build": "resnet_tf.resnet",
    "ResNet18": "resnet_tf.resnet",
    "ResNet34": "resnet_tf.resnet",
    "ResNet50": "resnet_tf.resnet",
    "ResNet101": "resnet_tf.resnet",
    "ResNet152": "resnet_tf.resnet",
    "build_classifier": "resnet_tf.classifier",
    "load_weights": "resnet_tf.weights",
}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'resnet_tf' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
