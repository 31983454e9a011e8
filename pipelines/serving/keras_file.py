"""Writes a plain network as a .keras file of Keras's own layers, from images of the network's size to probabilities.

`export` runs this in a process of its own: python -m pipelines.serving.keras_file NETWORK FILE PRECISION. The file has
export.json beside Keras's own members: the names of the classes, the view and the temperature.
"""

import json
import sys
import zipfile
from pathlib import Path

import keras
from keras import layers

from pipelines.serving.plain_keras import keras_network
from pipelines.serving.plain_network import INPUT, PROBABILITIES, PlainNetwork
from resnet_tf.recursion import deep_recursion

METADATA = "export.json"  # Keras has a metadata.json of its own


def keras_model(network: PlainNetwork, precision: str) -> keras.Model:
    """Returns a model from uint8 images [batch, size, size, 3] to probabilities, float32 [batch, classes]."""
    logits = keras_network(network, precision)
    softmax = layers.Softmax(dtype="float32", name="softmax" if network.mirror else PROBABILITIES)
    with deep_recursion():
        if not network.mirror:
            return keras.Model(logits.input, softmax(logits.output), name="resnet_tf")
        images = keras.Input(logits.input_shape[1:], dtype="uint8", name=INPUT)
        both = [softmax(logits(view)) for view in (images, keras.ops.flip(images, axis=2))]
        return keras.Model(images, layers.Average(dtype="float32", name=PROBABILITIES)(both), name="resnet_tf")


def main(folder: str, target: str, precision: str) -> None:
    network = PlainNetwork.load(Path(folder))
    keras_model(network, precision).save(target)
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(METADATA, json.dumps(network.facts(), ensure_ascii=False, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
