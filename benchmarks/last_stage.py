"""Measures the effect of the settings of the recipe's second part, in which only the last stage learns.

    python benchmarks/last_stage.py DATA WEIGHTS --out FOLDER [--arch resnet18] [--seeds 3] [--only NAME …]

The outputs of the frozen stages for the images of each seed are computed once, and each row trains the last stage on
them. Images and order are those of a whole run, `benchmarks/recipe.py … --only "the last stage"`, to within rounding.
Rows that are in FOLDER already are not trained again. It prints a table like that of `benchmarks/recipe.py`, with the
log loss on validation, by which a row should be judged.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # resnet-tf does the same

import keras
import numpy as np
import tensorflow as tf

from benchmarks.recipe import LAST_STAGE, add_arguments, figures_of, file_of, make_split, table_of
from pipelines.config.finetune import FinetuneConfig
from pipelines.data.manifest import label_numbers, load_manifest
from pipelines.evaluation.inference import Inference, softmax
from pipelines.evaluation.metrics import summarize
from pipelines.finetune import AVERAGED_SHARES
from pipelines.images.stream import ImageSource, InputSpec, Order, evaluation_stream, training_stream
from pipelines.training.linear_probe import LinearProbe, fit_linear_probe
from pipelines.training.network import build_trainer
from pipelines.training.plan import plan_of
from pipelines.training.trainer import Trainer
from resnet_tf.classifier import averaged_features, divide, head
from resnet_tf.losses import SmoothedCrossentropy
from resnet_tf.weights import find_weights

RECIPE = "the recipe's last stage"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Args:
        recipe: Changes of the recipe: learning_rate, optimizer, label_smoothing.
        view: Changes of the training's view of the images: augment, mix.
        adapt: Whether the batch norms of the last stage use and learn the statistics of the batches.
        averaged: Momentum of an exponential average of the weights in training, or None.
        head_rate: Factor of the last layer's learning rate.
        decay_all: Whether weight decay applies to batch norms and biases too.
        anew: Whether the statistics are recomputed from the training images before a trained model is judged.
        first_size: Height and width of the first epoch's images, in pixels, from which they grow evenly to the
            recipe's size in the last epoch; None for the recipe's size in all epochs.
        swa: Whether to average weights stochastically (Izmailov et al. 2018, arXiv 1803.05407): the rate stays at its
            peak, and the result is the mean of the weights at the ends of the last two epochs.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    view: dict[str, Any] = field(default_factory=dict)
    adapt: bool = False
    averaged: float | None = None
    head_rate: float = 1.0
    decay_all: bool = False
    anew: bool = False
    first_size: int | None = None
    swa: bool = False


ROWS = {
    RECIPE: Row(),
    "three times the rate": Row({"learning_rate": 3e-4}),
    "a third of the rate": Row({"learning_rate": 3e-5}),
    "ten times the rate in the head": Row(head_rate=10.0),
    "SGD, rate 1e-3": Row({"optimizer": "sgd", "learning_rate": 1e-3}),
    "labels smoothed by 0.1": Row({"label_smoothing": 0.1}),
    "batch norms adapt": Row(adapt=True),
    "batch norms adapt, their statistics computed anew": Row(adapt=True, anew=True),
    "batch norms and biases decay": Row(decay_all=True),
    "exponential average of the weights": Row(averaged=0.98),
    "stochastic weight averaging": Row(swa=True),
    "images that grow from 160 pixels": Row(first_size=160),
    "colour jitter": Row(view={"augment": "colour"}),
    "TrivialAugment": Row(view={"augment": "trivial"}),
    "MixUp": Row(view={"mix": "mixup"}),
    "CutMix": Row(view={"mix": "cutmix"}),
}
# Rows in which the recipe's model is judged on different views of the images of validation and test.
MIRRORED = "the recipe's, mirror images beside the images at the test"
LARGER = "the recipe's, 256 pixels at the test"


class LastStage:
    """The network in two parts, and the outputs of the first one for the images.

    Args:
        arguments: Arguments of the command.
        seed: Seed of order and crops.
    """

    def __init__(self, arguments: argparse.Namespace, seed: int) -> None:
        trainer = trainer_of(arguments, seed)
        self.plan, self.model = trainer.plan, trainer.model
        model = self.model
        first, self.second = divide(model)
        self.first = Inference(first)
        self.features = Inference(keras.Model(first.outputs, head(model).input))
        self.labels = {split: label_numbers(rows, self.plan.classes) for split, rows in self.plan.rows.items()}
        self.fixed = {split: self.through(self.stream(split, self.plan.input_spec))[0] for split in self.plan.rows}
        self.training: dict[tuple[InputSpec, ...], list[tuple[list[np.ndarray], np.ndarray]]] = {}
        self.head = self.fit_head()
        self.start = self.values()

    def stream(self, split: str, view: InputSpec) -> tf.data.Dataset:
        """Returns the images of a split as evaluation sees them."""
        plan = self.plan
        return evaluation_stream(ImageSource(plan.rows[split], plan.root, plan.classes), view, 32)

    def through(self, stream: tf.data.Dataset) -> tuple[list[np.ndarray], np.ndarray]:
        """Returns the outputs of the frozen stages for a stream's images, and the labels."""
        found = [([part.numpy() for part in self.first(images)], labels.numpy()) for images, labels in stream]
        activations = [np.concatenate(parts) for parts in zip(*(parts for parts, _ in found), strict=True)]
        return activations, np.concatenate([labels for _, labels in found])

    def fit_head(self) -> LinearProbe:
        """Fits the head as a run does."""
        features = {
            split: np.concatenate([self.features(batch).numpy() for batch in batches(self.fixed[split])])
            for split in ("train", "val")
        }
        both = [(features[split], self.labels[split]) for split in ("train", "val")]
        found = fit_linear_probe(both[0], both[1], len(self.plan.classes), averaged_features(self.model))
        head(self.second).set_weights([found.kernel, found.bias])
        return found

    def training_images(self, views: tuple[InputSpec, ...]) -> list[tuple[list[np.ndarray], np.ndarray]]:
        """Returns the outputs for the training images of each epoch.

        They are large, so only those of the last views are kept.
        """
        if views not in self.training:
            plan = self.plan
            source = ImageSource(plan.rows["train"], plan.root, plan.classes)
            order: dict[str, Any] = {"batch_size": plan.config.batch_size, "seed": plan.config.seed}
            self.training.clear()
            self.training[views] = [
                self.through(training_stream(source, view, Order(first_epoch=epoch, **order)))
                for epoch, view in enumerate(views)
            ]
        return self.training[views]

    def train(self, row: Row) -> Iterator[None]:
        """Yields at each model that a run would judge: the head alone, each epoch's end, the averages."""
        recipe = dataclasses.replace(self.plan.recipe, **row.recipe)
        view = dataclasses.replace(self.plan.input_spec, **row.view)
        sizes = np.linspace(view.size, row.first_size or view.size, recipe.epochs).round()[::-1]
        epochs = self.training_images(tuple(dataclasses.replace(view, size=int(size)) for size in sizes))
        self.assign(self.start)
        yield
        trained = recipe.frozen_stages[-1]
        for layer in self.second.layers:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = (row.adapt or not norm) and not layer.name.startswith(trained)
        self.second.compile(optimizer_of(recipe, row, self.second), SmoothedCrossentropy(recipe.label_smoothing))
        ends = []
        for number, (images, labels) in enumerate(epochs, 1):
            for batch in batches([*images, labels]):
                self.second.train_on_batch(batch[:-1], batch[-1])
            if row.averaged and number == len(epochs):
                self.second.optimizer.finalize_variable_values(self.second.trainable_variables)
            self.compute_statistics(row, epochs[-1][0])
            ends.append(self.values())
            yield
        last = ends[-2:] if row.swa else ends[-1:]
        end = {path: np.mean([values[path] for values in last], axis=0) for path in self.start}
        for share in (*AVERAGED_SHARES, 1.0) if row.swa else AVERAGED_SHARES:
            self.assign({path: (1.0 - share) * self.start[path] + share * end[path] for path in end})
            self.compute_statistics(row, epochs[-1][0])
            yield

    def compute_statistics(self, row: Row, images: list[np.ndarray]) -> None:
        """Sets the batch norms' statistics to the means over an epoch's batches, if a row asks for it.

        This is the "precise" batch norm of Wu and Johnson 2021, arXiv 2105.07576, section 3.
        """
        if not row.anew:
            return
        norms = [layer for layer in self.second.layers if isinstance(layer, keras.layers.BatchNormalization)]
        momentum = norms[0].momentum
        for number, batch in enumerate(batches(images), 1):
            for layer in norms:
                layer.momentum = 1.0 - 1.0 / number
            self.second(batch, training=True)
        for layer in norms:
            layer.momentum = momentum

    def values(self) -> dict[str, np.ndarray]:
        """Returns the values of the second part's variables."""
        return {variable.path: variable.numpy() for variable in self.second.variables}

    def assign(self, values: dict[str, np.ndarray]) -> None:
        """Puts values into the second part's variables."""
        for variable in self.second.variables:
            variable.assign(values[variable.path])

    def probabilities(self, activations: list[list[np.ndarray]], whole: bool) -> np.ndarray:
        """Returns mean probabilities over several views of the same images.

        Args:
            activations: Outputs of the frozen stages for each view.
            whole: Whether to use the head that is fitted to validation as well.
        """
        kernel, bias = head(self.second).get_weights()
        if whole:
            kernel, bias = (
                kernel + self.head.refit_kernel - self.head.kernel,
                bias + self.head.refit_bias - self.head.bias,
            )
        found = []
        for view in activations:
            features = np.concatenate([self.features(batch).numpy() for batch in batches(view)])
            found.append(softmax(features @ kernel + bias))
        return np.mean(found, axis=0)

    def figures(self, row: Row, views: dict[str, dict[str, list[list[np.ndarray]]]]) -> dict[str, dict[str, Any]]:
        """Returns, by the name of the views, the test figures of the model that validation chooses."""
        best: dict[str, dict[str, Any]] = {}
        for _ in self.train(row):
            for name, activations in views.items():
                validation = summarize(
                    self.labels["val"], self.probabilities(activations["val"], whole=False), self.plan.classes
                )
                if name not in best or validation["log_loss"] < best[name]["validation_log_loss"]:
                    test = self.probabilities(activations["test"], whole=True)
                    best[name] = {
                        **figures_of(self.labels["test"], test, self.plan.classes),
                        "validation_log_loss": validation["log_loss"],
                    }
        return best


def optimizer_of(recipe: Any, row: Row, model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the recipe's optimizer with the row's changes."""
    average: dict[str, Any] = {"use_ema": True, "ema_momentum": row.averaged} if row.averaged else {}

    def make(rate: float) -> keras.optimizers.Optimizer:
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            recipe.total_steps - recipe.warmup_steps,
            alpha=float(row.swa),  # the share of the peak to which the rate falls
            warmup_target=rate,
            warmup_steps=recipe.warmup_steps,
        )
        if recipe.optimizer == "adamw":
            made = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, **average)
        else:
            settings = {"momentum": 0.9, "nesterov": True, "weight_decay": recipe.weight_decay, **average}
            made = keras.optimizers.SGD(schedule, **settings)
        if not row.decay_all:
            made.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        return made

    if row.head_rate == 1.0:
        return make(recipe.learning_rate)
    last = {variable.path for variable in head(model).trainable_variables}
    of_head, of_others = make(recipe.learning_rate * row.head_rate), make(recipe.learning_rate)
    return keras.optimizers.MultiOptimizer(lambda variable: of_head if variable.path in last else of_others)


def batches(arrays: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yields batches of 32, in order."""
    for begin in range(0, len(arrays[0]), 32):
        yield [array[begin : begin + 32] for array in arrays]


def trainer_of(arguments: argparse.Namespace, seed: int) -> Trainer:
    """Returns the session of a run in which only the last stage learns, with the rows of the test."""
    manifest, weights = load_manifest(arguments.out / "manifest.csv"), str(arguments.weights)
    config = FinetuneConfig(data=str(arguments.data), run="", arch=arguments.arch, weights=weights, seed=seed)
    found = find_weights(weights, arguments.arch, include_top=False)
    return build_trainer(plan_of(config, manifest, found).changed(**LAST_STAGE))


def measure(arguments: argparse.Namespace, names: list[str], seed: int) -> None:
    """Trains the rows whose results do not exist yet."""
    missing = [name for name in names if not file_of(arguments, name, seed).exists()]
    if not missing:
        return
    keras.utils.set_random_seed(seed)
    stage = LastStage(arguments, seed)
    plain = {split: [stage.fixed[split]] for split in ("val", "test")}
    for name in [name for name in ROWS if name in missing]:
        started = time.perf_counter()
        views = {name: plain}
        if name == RECIPE:
            views |= other_views(stage)
        for each, figures in stage.figures(ROWS[name], views).items():
            kept = {key: figures[key] for key in ("n", "accuracy", "log_loss", "validation_log_loss", "losses")}
            file_of(arguments, each, seed).write_text(json.dumps(kept))
        print(f"{name}, seed {seed}: {time.perf_counter() - started:.0f} s", file=sys.stderr)


def other_views(stage: LastStage) -> dict[str, dict[str, list[list[np.ndarray]]]]:
    """Returns the outputs for the mirrored and the larger views of the images of validation and test."""
    view = stage.plan.input_spec
    found: dict[str, dict[str, list[list[np.ndarray]]]] = {MIRRORED: {}, LARGER: {}}
    for split in ("val", "test"):
        mirrored = stage.stream(split, view).map(lambda images, labels: (images[:, :, ::-1], labels))
        found[MIRRORED][split] = [stage.fixed[split], stage.through(mirrored)[0]]
        found[LARGER][split] = [stage.through(stage.stream(split, dataclasses.replace(view, size=256)))[0]]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, [*ROWS, MIRRORED, LARGER])
    arguments = parser.parse_args()
    make_split(arguments)
    names = arguments.only or [RECIPE, MIRRORED, LARGER, *(name for name in ROWS if name != RECIPE)]
    trained = [RECIPE if name in (MIRRORED, LARGER) else name for name in names]
    for seed in range(arguments.seeds):
        measure(arguments, list(dict.fromkeys(trained)), seed)
    print(
        table_of(
            {
                name: [json.loads(file_of(arguments, name, seed).read_text()) for seed in range(arguments.seeds)]
                for name in names
            }
        )
    )


if __name__ == "__main__":
    main()
