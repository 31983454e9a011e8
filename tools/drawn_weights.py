"""Makes the weights `drawn`: a small ResNet, trained on drawn pictures of other classes than the built-in sample's.

    python tools/drawn_weights.py resnet_tf/weights/drawn.safetensors

It draws 390 classes, 26 outlines in 15 patterns. Neither an outline nor a pattern is one of the sample's 30 classes.
The file has float16 tensors, Keras's names, and a description, as `resnet-tf convert` writes it.
"""

import argparse
import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import resnet_tf
from pipelines.data.drawing import draw_thing
from pipelines.data.outlines import OTHER_OUTLINES
from pipelines.data.patterns import OTHER_PATTERNS
from resnet_tf.weights.preprocessing import CIFAR
from resnet_tf.weights.weight_file import DESCRIPTION
from resnet_tf.weights.writers import write_weights

ARCHITECTURE = "resnet10_slim"
DRAWN, SEEN = 72, 64  # pixels: pictures are drawn larger than the network sees them, for random crops
CLASSES = [(outline, pattern) for outline in OTHER_OUTLINES for pattern in OTHER_PATTERNS]
HELD_OUT = 4  # pictures of each class that say how good the network is
BATCH, RATE, DECAY = 128, 2e-3, 0.05


def pictures(per_class: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws pictures of all classes.

    Returns:
        uint8 [images, height, width, 3] and int [images, 2], the numbers of each one's outline and pattern.
    """
    drawn = np.empty((len(CLASSES) * per_class, DRAWN, DRAWN, 3), np.uint8)
    for place in range(len(drawn)):
        outline, pattern = CLASSES[place % len(CLASSES)]
        random = np.random.default_rng([seed, place])
        drawn[place] = draw_thing(OTHER_OUTLINES[outline], OTHER_PATTERNS[pattern], DRAWN, random)
    classes = np.arange(len(drawn)) % len(CLASSES)
    return drawn, np.stack(np.divmod(classes, len(OTHER_PATTERNS)), axis=1)


def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the cross-entropies of outline and pattern together.

    Both are told apart by logits of their own, since 390 classes at once teach a network much more slowly.
    """
    of_outline, of_pattern = tf.split(logits, (len(OTHER_OUTLINES), len(OTHER_PATTERNS)), axis=1)
    entropy = keras.losses.sparse_categorical_crossentropy
    return entropy(labels[:, 0], of_outline, from_logits=True) + entropy(labels[:, 1], of_pattern, from_logits=True)


def both_right(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns for each picture whether outline and pattern are both found."""
    found = [tf.argmax(part, axis=1) for part in tf.split(logits, (len(OTHER_OUTLINES), len(OTHER_PATTERNS)), axis=1)]
    return tf.reduce_all(tf.stack(found, axis=1) == tf.cast(labels, tf.int64), axis=1)


def batches(images: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Returns endless batches of random crops, flipped and turned by quarters."""

    def change(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (SEEN, SEEN, 3)))
        return tf.image.rot90(image, tf.random.uniform((), 0, 4, tf.int32)), label

    data = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat()
    return data.map(change, num_parallel_calls=2).batch(BATCH).prefetch(2)


def train(per_class: int, epochs: int) -> keras.Model:
    """Trains the network on all classes, and prints how well it knows them."""
    keras.utils.set_random_seed(0)
    images, labels = pictures(per_class, seed=1)
    held_out, theirs = pictures(HELD_OUT, seed=2)
    edge = (DRAWN - SEEN) // 2
    held_out = held_out[:, edge : edge + SEEN, edge : edge + SEEN]
    outputs = len(OTHER_OUTLINES) + len(OTHER_PATTERNS)
    model = resnet_tf.build_classifier(ARCHITECTURE, outputs, preprocessing=CIFAR)
    steps = math.ceil(len(images) / BATCH)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps * epochs, warmup_target=RATE, warmup_steps=steps)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=DECAY), loss, metrics=[both_right])
    model.fit(
        batches(images, labels),
        steps_per_epoch=steps,
        epochs=epochs,
        validation_data=(held_out, theirs),
        validation_batch_size=256,
        validation_freq=5,
        verbose=2,
    )
    return model


def write(model: keras.Model, path: Path) -> None:
    """Writes the network without its head, in float16."""
    write_weights(model, path, CIFAR, image_size=SEEN)
    with safe_open(path, framework="numpy") as opened:
        text = opened.metadata()[DESCRIPTION]
    halves = {name: tensor.astype(np.float16) for name, tensor in load_file(path).items() if "predictions" not in name}
    save_file(halves, path, metadata={DESCRIPTION: text})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="file to write, .safetensors")
    parser.add_argument("--per-class", type=int, default=50, help="pictures of each class")
    parser.add_argument("--epochs", type=int, default=24)
    arguments = parser.parse_args()
    write(train(arguments.per_class, arguments.epochs), arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")
