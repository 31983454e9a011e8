"""Trains one network on Keras's JAX backend: images, augmentation and steps are all on the device.

This is the recipe of He et al. 2015, section 4.2. An epoch is one compiled loop, so that nothing waits for Python.
"""

import time
from typing import Any

import jax
import keras
import numpy as np
from jax import lax
from jax import numpy as jnp

from pipelines.experiments.cifar10 import SIZE, Images
from pipelines.experiments.recipe import Recipe

EVALUATION_BATCH = 1000
State = tuple[list[Any], list[Any], list[Any]]


class Trainer:
    """Trains a network from several random starts with one compiled epoch.

    Args:
        network: Model from images [batch, 32, 32, 3] to logits.
        train: Images to train on.
        test: Images to judge by.
        recipe: How the steps are taken.
    """

    def __init__(self, network: keras.Model, train: Images, test: Images, recipe: Recipe) -> None:
        self.network = network
        self.recipe = recipe
        self.steps = len(train.labels) // recipe.batch_size  # of an epoch, which leaves out what fills no batch
        mean = train.pixels.mean(axis=0, dtype="float64")
        self.deviation = float(train.pixels.std(dtype="float64"))
        self.mean = jnp.asarray(mean, "float32")
        self.train = jnp.asarray(train.pixels), jnp.asarray(train.labels, "int32")
        self.test = jnp.asarray(test.pixels), jnp.asarray(test.labels, "int32")
        edge = ((recipe.padding,) * 2,) * 2 + ((0, 0),)
        self.padded = jnp.asarray(np.pad(train.pixels, ((0, 0), *edge)))
        self.padded_mean = jnp.asarray(np.pad(mean, edge), "float32")
        self._epoch = jax.jit(self._run_epoch, donate_argnums=0)
        self._errors = jax.jit(self._count_errors)
        self._gradients = jax.jit(self._gradients_of, static_argnums=4)

    def start(self) -> State:
        """Returns the state before the first step: weights, statistics of the batch norms, and momentum."""
        trainable = [jnp.copy(v.value) for v in self.network.trainable_variables]
        others = [jnp.copy(v.value) for v in self.network.non_trainable_variables]
        return trainable, others, [jnp.zeros_like(v) for v in trainable]

    def seconds_per_step(self) -> float:
        """Returns the duration of a step in an epoch, once an epoch is compiled."""
        for _ in range(2):
            began = time.monotonic()
            _, loss, _ = self.epoch(self.start(), 0, 0, 2**20)
            float(loss)
        return (time.monotonic() - began) / self.steps

    def epoch(self, state: State, seed: int, number: int, total: int) -> tuple[State, Any, Any]:
        """Trains for one epoch, and does not wait for its end.

        Args:
            state: State before the epoch, which is used up.
            seed: Number that the order of the images and their crops follow from.
            number: Index of the epoch.
            total: Number of steps of the whole training, which the learning rate follows.

        Returns:
            The state after the epoch, the mean loss, and the share of errors on the augmented images.
        """
        key = jax.random.fold_in(jax.random.key(seed), number)
        return self._epoch(state, key, jnp.int32(number * self.steps), jnp.int32(total), *self.train[1:], self.padded)

    def errors(self, state: State, of_test: bool) -> float:
        """Returns the share of errors on the test images, or on the training images without augmentation."""
        pixels, labels = self.test if of_test else self.train
        part = len(self.test[1])  # one size, so that it is compiled once
        starts = range(0, max(1, len(labels) - part + 1), part)
        wrong = [self._errors(*state[:2], pixels[at : at + part], labels[at : at + part]) for at in starts]
        return float(sum(wrong)) / (len(starts) * min(part, len(labels)))

    def gradients(self, state: State, images: Images, *, normalized: bool) -> list[np.ndarray]:
        """Returns the gradient of the mean loss by each trainable variable.

        Args:
            state: Weights to take it at.
            images: Images of the loss.
            normalized: Whether batch norms normalize the batch. Otherwise they use their moving statistics, which do
                nothing before the first step, so that the network has none.
        """
        pixels = self.normalized(images.pixels)
        found = self._gradients(*state[:2], pixels, jnp.asarray(images.labels, "int32"), normalized)
        return [np.asarray(gradient, "float32") for gradient in found]

    def normalized(self, pixels: np.ndarray) -> np.ndarray:
        """Returns images as the network sees them, float32, from uint8 [images, 32, 32, 3]."""
        return np.asarray((pixels.astype("float32") - np.asarray(self.mean)) / self.deviation, "float32")

    def _run_epoch(
        self, state: State, key: Any, done: Any, total: Any, labels: Any, padded: Any
    ) -> tuple[State, Any, Any]:
        shape = self.steps, self.recipe.batch_size
        for_order, for_corners, for_mirrors = jax.random.split(key, 3)
        order = jax.random.permutation(for_order, len(labels))[: shape[0] * shape[1]].reshape(shape)
        corners = jax.random.randint(for_corners, (*shape, 2), 0, 2 * self.recipe.padding + 1)
        mirrors = jax.random.bernoulli(for_mirrors, 0.5, shape)

        def step(state: State, draws: Any) -> tuple[State, Any]:
            number, indices, corner, mirror = draws
            images = jax.vmap(self._crop, (None, 0, 0, 0))(padded, indices, corner, mirror)
            return self._step(state, images, labels[indices], self.recipe.rate_at(number, total, jnp))

        state, (loss, error) = lax.scan(step, state, (done + jnp.arange(shape[0]), order, corners, mirrors))
        return state, loss.mean(), error.mean()

    def _crop(self, padded: Any, index: Any, corner: Any, mirror: Any) -> Any:
        """Returns a random crop of one padded image less the mean of its pixels, so that its border is zero."""
        image = lax.dynamic_slice(padded, (index, *corner, 0), (1, SIZE, SIZE, 3))[0].astype("float32")
        image -= lax.dynamic_slice(self.padded_mean, (*corner, 0), (SIZE, SIZE, 3))
        return jnp.where(mirror, image[:, ::-1], image) / self.deviation

    def _step(self, state: State, images: Any, labels: Any, rate: Any) -> tuple[State, Any]:
        trainable, others, velocity = state

        def loss_of(trainable: Any) -> tuple[Any, Any]:
            logits, changed = self.network.stateless_call(trainable, others, images, training=True)
            log_likelihood = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
            return -log_likelihood.mean(), (changed, (logits.argmax(axis=1) != labels).mean())

        (loss, (others, error)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        velocity = [
            self.recipe.momentum * v - rate * (gradient + self.recipe.weight_decay * weight)
            for v, gradient, weight in zip(velocity, gradients, trainable, strict=True)
        ]
        trainable = [weight + v for weight, v in zip(trainable, velocity, strict=True)]
        return (trainable, list(others), velocity), (loss, error)

    def _gradients_of(self, trainable: Any, others: Any, images: Any, labels: Any, normalized: bool) -> Any:
        def loss_of(trainable: Any) -> Any:
            logits, _ = self.network.stateless_call(trainable, others, images, training=normalized)
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()

        return jax.grad(loss_of)(trainable)

    def _count_errors(self, trainable: Any, others: Any, pixels: Any, labels: Any) -> Any:
        batch = np.gcd(EVALUATION_BATCH, len(labels))

        def wrong(part: Any) -> Any:
            images = (part[0].astype("float32") - self.mean) / self.deviation
            logits, _ = self.network.stateless_call(trainable, others, images, training=False)
            return (logits.argmax(axis=1) != part[1]).sum()

        return lax.map(wrong, (pixels.reshape(-1, batch, *pixels.shape[1:]), labels.reshape(-1, batch))).sum()
