"""Trains one network on Keras's TensorFlow backend, with the optimizer of finetune and the recipe of He et al. 2015.

The class has the methods of `pipelines.experiments.on_jax.Trainer`, so that an experiment takes either.
"""

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.experiments.cifar10 import SIZE, Images
from pipelines.experiments.recipe import Recipe
from resnet_tf.optimizers import PenalizedSGD

EVALUATION_BATCH = 200
State = tuple[list[Any], list[Any], list[Any]]


class Trainer:
    """Trains a network from several random starts with one traced step.

    Args:
        network: Model from images [batch, 32, 32, 3] to logits.
        train: Images to train on.
        test: Images to judge by.
        recipe: How the steps are taken.
    """

    def __init__(self, network: keras.Model, train: Images, test: Images, recipe: Recipe) -> None:
        self.network, self.recipe = network, recipe
        self.train, self.test = train, test
        self.steps = len(train.labels) // recipe.batch_size  # of an epoch, which leaves out what fills no batch
        self.mean = train.pixels.mean(axis=0, dtype="float64").astype("float32")
        self.deviation = float(train.pixels.std(dtype="float64"))
        edge = ((recipe.padding,) * 2,) * 2 + ((0, 0),)
        self.padded = np.pad(train.pixels, ((0, 0), *edge))
        self.padded_mean = np.pad(self.mean, edge)
        self.optimizer = PenalizedSGD(recipe.rate, penalty=recipe.weight_decay, momentum=recipe.momentum)
        self.optimizer.build(network.trainable_variables)
        self._step = tf.function(self._take_step)
        self._logits = tf.function(lambda images: network(images, training=False))

    def start(self) -> State:
        """Returns the state before the first step: weights, statistics of the batch norms, and momentum."""
        trainable = [v.value.numpy() for v in self.network.trainable_variables]
        others = [v.value.numpy() for v in self.network.non_trainable_variables]
        return trainable, others, [np.zeros_like(v) for v in trainable]

    def seconds_per_step(self) -> float:
        """Returns the median duration of a step, once the step is traced; the network is the same after it."""
        state, durations = self.start(), []
        for number in range(4):
            began = time.monotonic()
            self._take_steps(np.random.default_rng(number), [0.0])
            durations.append(time.monotonic() - began)
        self._take(state)
        return float(np.median(durations[1:]))

    def epoch(self, state: State, seed: int, number: int, total: int) -> tuple[State, float, float]:
        """Trains for one epoch.

        Args:
            state: State before the epoch.
            seed: Number that the order of the images and their crops follow from.
            number: Index of the epoch.
            total: Number of steps of the whole training, which the learning rate follows.

        Returns:
            The state after the epoch, the mean loss, and the share of errors on the augmented images.
        """
        self._take(state)
        rates = self.recipe.rate_at(number * self.steps + np.arange(self.steps), total, np)
        losses, errors = self._take_steps(np.random.default_rng((seed, number)), list(rates))
        trainable, others, _ = self.start()
        return (trainable, others, [v.value.numpy() for v in self.optimizer.momentums]), losses, errors

    def errors(self, state: State, of_test: bool) -> float:
        """Returns the share of errors on the test images, or on the training images without augmentation."""
        self._take(state)
        images = self.test if of_test else self.train
        batches = range(0, len(images.labels), EVALUATION_BATCH)
        parts = (images.part(at, at + EVALUATION_BATCH) for at in batches)
        wrong = [(self._logits(self.normalized(p.pixels)).numpy().argmax(axis=1) != p.labels).sum() for p in parts]
        return float(sum(wrong)) / len(images.labels)

    def gradients(self, state: State, images: Images, *, normalized: bool) -> list[np.ndarray]:
        """Returns the gradient of the mean loss by each trainable variable.

        Args:
            state: Weights to take it at.
            images: Images of the loss.
            normalized: Whether batch norms normalize the batch. Otherwise they use their moving statistics, which do
                nothing before the first step, so that the network has none.
        """
        self._take(state)
        images_seen, labels = self.normalized(images.pixels), tf.constant(images.labels, tf.int32)
        with tf.GradientTape() as tape:  # it is taken a few times, and tracing takes longer
            loss = self._loss(self.network(images_seen, training=normalized), labels)
        found = tape.gradient(loss, [v.value for v in self.network.trainable_variables])
        self._take(state)  # batch norms have followed the batch
        return [gradient.numpy() for gradient in found]

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Returns images as the network sees them, float32, from uint8 [images, 32, 32, 3]."""
        return np.asarray((pixels.astype("float32") - self.mean) / self.deviation, "float32")

    def _take(self, state: State) -> None:
        variables = (self.network.trainable_variables, self.network.non_trainable_variables, self.optimizer.momentums)
        for group, values in zip(variables, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)

    def _take_steps(self, random: np.random.Generator, rates: list[float]) -> tuple[float, float]:
        """Takes a step of each learning rate on images in random order, and returns the means of loss and errors."""
        size = self.recipe.batch_size
        order = random.permutation(len(self.train.labels))[: len(rates) * size].reshape(-1, size)
        corners = random.integers(0, 2 * self.recipe.padding + 1, (*order.shape, 2))
        mirrored = random.random(order.shape) < 0.5
        results = []
        for rate, indices, corner, mirror in zip(rates, order, corners, mirrored, strict=True):
            self.optimizer.learning_rate.assign(rate)
            images = self._cropped(indices, corner, mirror)
            results.append(self._step(images, tf.constant(self.train.labels[indices], tf.int32)))
        loss, error = np.mean([[float(value) for value in result] for result in results], axis=0)
        return float(loss), float(error)

    def _cropped(self, indices: np.ndarray, corners: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
        """Returns random crops of padded images less the mean of their pixels, so that their border is zero."""
        rows = corners[:, 0, None, None] + np.arange(SIZE)[:, None]
        columns = corners[:, 1, None, None] + np.arange(SIZE)
        columns = np.where(mirrored[:, None, None], columns[..., ::-1], columns)
        images = self.padded[indices[:, None, None], rows, columns].astype("float32")
        return np.asarray((images - self.padded_mean[rows, columns]) / self.deviation, "float32")

    def _take_step(self, images: Any, labels: Any) -> tuple[Any, Any]:
        variables = self.network.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.network(images, training=True)
            loss = self._loss(logits, labels)
        self.optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
        wrong = tf.argmax(logits, 1, tf.int32) != labels
        return loss, tf.reduce_mean(tf.cast(wrong, tf.float32))

    def _loss(self, logits: Any, labels: Any) -> Any:
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
