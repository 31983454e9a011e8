"""The names of ImageNet's 1000 classes (ILSVRC 2012), in the order of the outputs of networks trained on them."""

from importlib.resources import files

CLASSES = 1000


def imagenet_classes() -> list[str]:
    """Returns torchvision's names of the classes, each once; their licence is in imagenet_classes.LICENSE.txt."""
    text = files("resnet_tf.weights").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return text.splitlines()
