"""Residual networks on Keras: builders, weights, layers.

    import resnet_tf
    model = resnet_tf.ResNet50(classes=30, weights="imagenet")
    report = resnet_tf.load_weights(model, "resnet50.safetensors")
    classifier = resnet_tf.load("runs/flowers")

The package imports Keras when a name that needs it is used, and not before, so that a command line built on it
answers at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from resnet_tf.registration import register_with_keras

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resnet_tf.classifier import build_classifier as build_classifier
    from resnet_tf.networks import VGG16 as VGG16
    from resnet_tf.networks import VGG16BN as VGG16BN
    from resnet_tf.networks import VGG19 as VGG19
    from resnet_tf.networks import VGG19BN as VGG19BN
    from resnet_tf.networks import CifarResNet20 as CifarResNet20
    from resnet_tf.networks import CifarResNet32 as CifarResNet32
    from resnet_tf.networks import CifarResNet44 as CifarResNet44
    from resnet_tf.networks import CifarResNet56 as CifarResNet56
    from resnet_tf.networks import CifarResNet110 as CifarResNet110
    from resnet_tf.networks import CifarResNet1202 as CifarResNet1202
    from resnet_tf.networks import ResNet10Slim as ResNet10Slim
    from resnet_tf.networks import ResNet18 as ResNet18
    from resnet_tf.networks import ResNet34 as ResNet34
    from resnet_tf.networks import ResNet50 as ResNet50
    from resnet_tf.networks import ResNet50V2 as ResNet50V2
    from resnet_tf.networks import ResNet101 as ResNet101
    from resnet_tf.networks import ResNet101V2 as ResNet101V2
    from resnet_tf.networks import ResNet152 as ResNet152
    from resnet_tf.networks import ResNet152V2 as ResNet152V2
    from resnet_tf.networks import build as build
    from resnet_tf.saved import Classifier as Classifier
    from resnet_tf.saved import load as load
    from resnet_tf.weights import load_weights as load_weights

_NETWORKS = (
    "CifarResNet20",
    "CifarResNet32",
    "CifarResNet44",
    "CifarResNet56",
    "CifarResNet110",
    "CifarResNet1202",
    "ResNet10Slim",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "ResNet101",
    "ResNet152",
    "ResNet50V2",
    "ResNet101V2",
    "ResNet152V2",
    "VGG16",
    "VGG19",
    "VGG16BN",
    "VGG19BN",
)
_HOME_OF = {
    "build": "resnet_tf.networks",
    **dict.fromkeys(_NETWORKS, "resnet_tf.networks"),
    "build_classifier": "resnet_tf.classifier",
    "Classifier": "resnet_tf.saved",
    "load": "resnet_tf.saved",
    "load_weights": "resnet_tf.weights",
}
__all__ = ["__version__", *_HOME_OF]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'resnet_tf' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


register_with_keras()
