"""Other projects' recipes and plain SGD, with our network, its weights and the images of a manifest."""

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.manifest import class_names, data_root, label_numbers, load_manifest
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.images.stream import ImageSource, InputSpec, Order, evaluation_stream, steps_per_epoch, training_stream
from resnet_tf.classifier import build_classifier, freeze_batch_norms, head
from resnet_tf.distribution import choose_precision
from resnet_tf.optimizers import PenalizedSGD
from resnet_tf.weights import find_weights, load_weights

GUIDE_EPOCHS = (20, 10)  # epochs of a new head alone, and of all layers
GUIDE_RATES = (1e-3, 1e-5)
FASTAI_EPOCHS = (1, 4)  # epochs of a new head alone, and of all layers
FASTAI_RATE = 2e-3
FASTAI_BATCH_SIZE = 64
SGD_RATE, SGD_PENALTY, SGD_BATCH_SIZE = 0.01, 1e-4, 32
SGD_WARM_UP = 0.1  # share of the steps in which the rate rises
FASTAI_GROUPS = {"conv1": 0, "conv2": 0, "conv3": 0, "conv4": 1, "conv5": 1}  # the head is the third group


class Task:
    """The images, the network with its weights, and the clock, which starts when this is made.

    Args:
        data: Folder or CSV of the images.
        manifest: Path of the manifest with the split.
        weights: Path of the weights.
        architecture: Name of the architecture, as in `resnet_tf.build`.
        image_size: Height and width of the images, in pixels.
        seed: Seed of everything that is random.
        watch: Whether to look at the test images after each epoch, and not only at the end.
    """

    def __init__(
        self,
        data: Path,
        manifest: Path,
        weights: Path,
        architecture: str,
        image_size: int,
        seed: int,
        watch: bool = True,
    ) -> None:
        keras.utils.set_random_seed(seed)
        table, self.root, self.seed = load_manifest(manifest), data_root(str(data)), seed
        self.classes = class_names(table)
        self.rows = {split: table[table["split"] == split] for split in ("train", "val", "test")}
        self.labels = label_numbers(self.rows["test"], self.classes)
        self.input_spec, self.watch = InputSpec(image_size), watch
        self._started, self._looking = time.perf_counter(), 0.0
        found = find_weights(str(weights), architecture, include_top=False)
        precision = choose_precision("auto")  # that of `resnet-tf finetune`, which is the faster one
        self.network = build_classifier(
            architecture, len(self.classes), preprocessing=found.preprocessing, precision=precision
        )
        load_weights(self.network, found)

    def images(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split as evaluation sees them, in batches of 32."""
        return evaluation_stream(ImageSource(self.rows[split], self.root, self.classes), self.input_spec, 32)

    def look(self, inference: Inference, epoch: int) -> tuple[float, np.ndarray]:
        """Computes the probabilities of the test images; prints time and accuracy.

        Returns:
            Seconds since the start, without those spent here, and the probabilities.
        """
        began = time.perf_counter()
        seconds = began - self._started - self._looking
        probabilities = softmax(outputs(inference, images_of(self.images("test")), len(self.labels), 32, "test"))
        accuracy = np.mean(probabilities.argmax(axis=1) == self.labels)
        print(f"epoch {epoch}, {seconds / 60:.1f} minutes: test accuracy {accuracy:.4f}", file=sys.stderr)
        self._looking += time.perf_counter() - began
        return seconds, probabilities


def train_with_guide(task: Task) -> tuple[float, np.ndarray]:
    """Trains as in keras.io/guides/transfer_learning.

    First, a new head with dropout learns on the frozen base, with flips and rotations. Then, all layers learn at a
    small rate. The result is that of the last epoch.

    Returns:
        Seconds, and the probabilities of the test's images.
    """
    x = keras.layers.Dropout(0.2)(head(task.network).input)
    network = keras.Model(task.network.input, keras.layers.Dense(len(task.classes), name="new_head")(x))
    inference = Inference(network)
    looks: list[tuple[float, np.ndarray]] = []
    change = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)])
    images = task.images("train").cache().unbatch().shuffle(len(task.rows["train"]), seed=task.seed)
    images = images.batch(32).prefetch(2)
    images = images.map(lambda x, y: (tf.cast(tf.round(change(x, training=True)), tf.uint8), y))

    def look(epoch: int, logs: Any) -> None:
        if task.watch or epoch + 1 == sum(GUIDE_EPOCHS):
            looks.append(task.look(inference, epoch + 1))

    def fit(done: int, epochs: int, rate: float) -> None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        network.compile(keras.optimizers.Adam(rate), loss)
        watch = keras.callbacks.LambdaCallback(on_epoch_end=look)
        network.fit(images, initial_epoch=done, epochs=done + epochs, verbose=2, callbacks=[watch])

    for layer in network.layers:
        layer.trainable = layer.name == "new_head"
    fit(0, GUIDE_EPOCHS[0], GUIDE_RATES[0])
    for layer in network.layers:  # in the guide, the base runs in inference mode, so that batch norms stay frozen
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    fit(GUIDE_EPOCHS[0], GUIDE_EPOCHS[1], GUIDE_RATES[1])
    return looks[-1]


def train_with_fastai_schedule(task: Task) -> tuple[float, np.ndarray]:
    """Trains like fastai 2's `vision_learner(...).fine_tune(4)`.

    fastai's head and all batch norms learn for one epoch, then all layers learn for four. Each part is a cycle of the
    rate, which is a tenth for each group of layers further from the head. The optimizer is Adam with decoupled decay of
    all kernels. Two things differ: the images are those of our training, and Adam's momentum has no cycle.

    Returns:
        Seconds, and the probabilities of the test's images.
    """
    last = task.network.get_layer("avg_pool").input
    x = keras.layers.Concatenate()(
        [keras.layers.GlobalMaxPooling2D()(last), keras.layers.GlobalAveragePooling2D()(last)]
    )
    x = keras.layers.Dropout(0.25)(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    x = keras.layers.Dense(512, use_bias=False, activation="relu")(x)
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))
    network = keras.Model(task.network.input, keras.layers.Dense(len(task.classes), use_bias=False)(x))
    inference = Inference(network)

    for layer in network.layers:
        is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = is_batch_norm or _group(layer.name) == 2
    _fit_one_cycle(task, network, FASTAI_EPOCHS[0], (FASTAI_RATE / 10, FASTAI_RATE / 10, FASTAI_RATE), 0.99, 25.0)
    if task.watch:
        task.look(inference, FASTAI_EPOCHS[0])
    for layer in network.layers:
        layer.trainable = True
    rate = FASTAI_RATE / 2
    _fit_one_cycle(task, network, FASTAI_EPOCHS[1], (rate / 100, rate / 10, rate), 0.3, 5.0)
    return task.look(inference, sum(FASTAI_EPOCHS))


def train_with_plain_sgd(task: Task, epochs: int, frozen_norms: bool) -> tuple[float, np.ndarray]:
    """Trains all layers and a new head together by SGD with momentum, and takes the result of the last epoch.

    The rate rises to 0.01 and falls to 0 by a cosine. Validation is not needed, so its images are learned as well.

    Args:
        task: Images, network and clock.
        epochs: Number of epochs.
        frozen_norms: Whether batch norms keep the statistics, scales and shifts of the weights.

    Returns:
        Seconds, and the probabilities of the test's images.
    """
    network, inference = task.network, Inference(task.network)
    if frozen_norms:
        freeze_batch_norms(network)
    rows = pd.concat([task.rows["train"], task.rows["val"]])
    steps = epochs * steps_per_epoch(len(rows), SGD_BATCH_SIZE)
    warm_up = round(SGD_WARM_UP * steps)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps - warm_up, warmup_target=SGD_RATE, warmup_steps=warm_up)
    network.compile(
        PenalizedSGD(rate, SGD_PENALTY, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    order = Order(SGD_BATCH_SIZE, task.seed, epochs=epochs)
    batches = training_stream(ImageSource(rows, task.root, task.classes), task.input_spec, order)
    network.fit(batches, epochs=epochs, steps_per_epoch=steps // epochs, verbose=2)
    return task.look(inference, epochs)


def _group(layer: str) -> int:
    return FASTAI_GROUPS.get(layer.partition("_")[0], 2)


def _fit_one_cycle(
    task: Task, network: keras.Model, epochs: int, rates: tuple[float, float, float], warm: float, divisor: float
) -> None:
    groups = [[v for v in network.trainable_variables if _group(v.path) == number] for number in range(len(rates))]
    optimizers = [keras.optimizers.AdamW(0.0, weight_decay=0.01, beta_2=0.99, epsilon=1e-5) for _ in rates]
    for optimizer, group in zip(optimizers, groups, strict=True):
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta"])
        optimizer.build(group)

    @tf.function
    def step(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        found: list[list[Any]] = tape.gradient(loss, [[variable.value for variable in group] for group in groups])
        for optimizer, gradients, group in zip(optimizers, found, groups, strict=True):
            optimizer.apply(gradients, group)

    order: dict[str, Any] = {"batch_size": FASTAI_BATCH_SIZE, "seed": task.seed + epochs, "epochs": epochs}
    batches = training_stream(ImageSource(task.rows["train"], task.root, task.classes), task.input_spec, Order(**order))
    shares = _one_cycle(epochs * steps_per_epoch(len(task.rows["train"]), FASTAI_BATCH_SIZE), warm, divisor)
    for (images, labels), share in zip(batches, shares, strict=True):
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.learning_rate = rate * share
        step(images, labels)


def _one_cycle(steps: int, warm: float, divisor: float) -> Iterator[float]:
    """Yields factors that rise to 1 in a share of the steps, then fall to almost 0, by cosines (Smith 2018)."""
    for number in range(steps):
        done = number / steps
        if done < warm:
            start, end, place = 1 / divisor, 1.0, done / warm
        else:
            start, end, place = 1.0, 1e-5, (done - warm) / (1 - warm)
        yield end + (start - end) * (1 + math.cos(math.pi * place)) / 2
