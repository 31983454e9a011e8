"""Compares our networks with others that have the same random weights, and prints the table in docs/parity.md.

    .venv/bin/python benchmarks/parity.py > docs/parity.md

The others are keras.applications in both directions, PyTorch (`make torch`), and Caffe's layers in NumPy. All variables
are random numbers, also the batch norms' statistics. A relative error is the largest difference of a logit divided by
the largest logit.
"""

import platform
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import keras
import numpy as np

import resnet_tf
from resnet_tf.weights import CAFFE, load_weights, write_weights
from tests.conftest import randomize, relative_error
from tests.resnet_tf.caffe_reference import WIDTH, CaffeNet

CLASSES = 100
BATCH = 4
HEADER = f"""\
`python benchmarks/parity.py > docs/parity.md` makes this page. The networks have {CLASSES} classes, random weights and
random batch-norm statistics, and they see {BATCH} images of noise with 224 × 224 pixels. The relative error is the
largest difference of a logit, divided by the largest logit. In every row the five best classes are the same, in the
same order, for every image.
"""
STRIDES = ("3x3", "1x1")
KERAS = ("ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2", "ResNet152V2", "VGG16", "VGG19")
TORCH = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
    "resnet152": ((3, 8, 36, 3), True),
}
TORCH_VGG = {
    "vgg16": ((2, 2, 3, 3, 3), False),
    "vgg19": ((2, 2, 4, 4, 4), False),
    "vgg16_bn": ((2, 2, 3, 3, 3), True),
    "vgg19_bn": ((2, 2, 4, 4, 4), True),
}


def main() -> None:
    """Prints the table."""
    print("# The same weights, the same logits\n")
    print(HEADER)
    print(f"TensorFlow's Keras {keras.__version__}, NumPy {np.__version__}, Python {platform.python_version()}.\n")
    print("| network | source of the weights | file | largest relative error |")
    print("|---|---|---|---|")
    for network, source, file, error in chain(against_keras(), against_torch(), against_caffe()):
        print(f"| {network} | {source} | {file} | {error:.1e} |", flush=True)


def images() -> np.ndarray:
    """Returns noise with the standard deviation of a normalized photo."""
    return np.random.default_rng(7).normal(0, 1, (BATCH, 224, 224, 3)).astype("float32")


def against_keras() -> Iterator[tuple[str, str, str, float]]:
    """Compares keras.applications' weights in our networks, and ours in keras.applications."""
    for name in KERAS:
        keras.backend.clear_session()
        shape = (224, 224, 3)
        theirs = getattr(keras.applications, name)(
            weights=None, input_shape=shape, classes=CLASSES, classifier_activation=None
        )
        ours = getattr(resnet_tf, name)(input_shape=shape, classes=CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            for file in ("x.weights.h5", "x.h5", "x.keras"):
                randomize(theirs, seed=len(file))
                path = Path(folder) / file
                (theirs.save_weights if file == "x.weights.h5" else theirs.save)(path)
                load_weights(ours, path, verbose=False)
                yield ours.name, f"keras.applications.{name}", file[1:], error(ours(images()), theirs(images()))
            randomize(ours, seed=9)
            path = Path(folder) / "ours.weights.h5"
            write_weights(ours, path, CAFFE)
            theirs.load_weights(path)
        yield f"keras.applications.{name}", ours.name, ".weights.h5", error(theirs(images()), ours(images()))


def against_torch() -> Iterator[tuple[str, str, str, float]]:
    """Compares weights in torchvision's names, from files that PyTorch wrote."""
    import torch

    from tests.resnet_tf.torch_reference import VGG, ResNet, logits_of, randomize_torch

    rows = [
        (name, stride, ResNet(*row, CLASSES, stride_at=stride)) for name, row in TORCH.items() for stride in STRIDES
    ]
    rows = [row for row in rows if row[0] not in ("resnet18", "resnet34") or row[1] == "3x3"]
    rows += [(name, None, VGG(*row, CLASSES)) for name, row in TORCH_VGG.items()]
    for name, stride, network in rows:
        keras.backend.clear_session()
        randomize_torch(network)
        with tempfile.NamedTemporaryFile(suffix=".pth") as file:
            torch.save(network.state_dict(), file.name)
            ours = resnet_tf.build(name, input_shape=(224, 224, 3), classes=CLASSES, stride_at=stride)
            load_weights(ours, file.name, verbose=False)
        place = f", stride on {stride}" if stride else ""
        yield name, f"PyTorch{place}", ".pth", error(ours(images()), logits_of(network, images()))


def against_caffe() -> Iterator[tuple[str, str, str, float]]:
    """Compares weights in Kaiming He's layout, at a sixteenth of the width because NumPy evaluates them."""
    for name in ("resnet50", "resnet101"):
        net = CaffeNet(name, CLASSES)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.caffemodel"
            net.write(path)
            ours = resnet_tf.build(name, input_shape=(224, 224, 3), classes=CLASSES, width=WIDTH, weights=str(path))
        expected = net.logits(images().transpose(0, 3, 1, 2))
        yield f"{name}, width {WIDTH}", "Caffe's layers in NumPy", ".caffemodel", error(ours(images()), expected)


def error(found: object, expected: object) -> float:
    """Returns the relative error of logits.

    Raises:
        AssertionError: The five best classes differ.
    """
    ours, theirs = np.asarray(found), np.asarray(expected)
    np.testing.assert_array_equal(np.argsort(-ours)[:, :5], np.argsort(-theirs)[:, :5])
    return relative_error(ours, theirs)


if __name__ == "__main__":
    main()
