"""What bottlenecks cost: parameters, multiply-adds and time of ResNet-18, 34 and 50 (He et al. 2015, table 1)."""

import time
from typing import Any

import keras
import numpy as np
import pandas as pd

from pipelines.console.terminal import say
from pipelines.experiments.drawing import new_figure, say_in_legend
from pipelines.experiments.outcome import Drawing, Material, Outcome, Table
from pipelines.report.look import LIGHT
from resnet_tf.networks import build
from resnet_tf.optimizers import PenalizedSGD
from resnet_tf.statistics import multiply_adds, parameters

# Rounds of each network in turn, and images in a batch.
_ROUNDS = {"quick": (3, 4), "half": (7, 16), "paper": (15, 64)}
_SIZE, _CLASSES = 224, 1000
_WHAT = ("inference", "training")


def show(material: Material) -> Outcome:
    """Counts parameters and multiply-adds, and measures batches of inference and of training in turn."""
    rounds, batch = _ROUNDS[material.scale]
    models = {name: build(name, classes=_CLASSES, input_shape=(_SIZE, _SIZE, 3)) for name in material.networks}
    costs = pd.DataFrame(
        [
            {"network": name, "parameters": parameters(model), "multiply_adds": multiply_adds(model)}
            for name, model in models.items()
        ]
    )
    times = _measure(models, rounds, batch)
    outcome = Outcome(measured={"results": costs, "times": times})
    medians = {
        what: found.groupby("network", sort=False)["seconds_per_image"].median().tolist()
        for what, found in times.groupby("what")
    }
    counted = {name: costs[name].tolist() for name in ("parameters", "multiply_adds")}
    cells = [
        (
            name,
            *(f"{values[place]:,}" for values in counted.values()),
            *(f"{1000 * medians[what][place]:.1f} ms" for what in _WHAT),
        )
        for place, name in enumerate(models)
    ]
    outcome.tables.append(
        Table(
            f"Costs at {_SIZE} × {_SIZE} pixels and {_CLASSES} classes; time for an image, median of {rounds} batches "
            f"of {batch}",
            ("network", "parameters", "multiply-adds", "inference", "training step"),
            cells,
        )
    )
    measured = {**counted, **{f"{what} time": medians[what] for what in _WHAT}}
    series = {name.replace("_", "-"): [value / values[0] for value in values] for name, values in measured.items()}
    outcome.sentences.append(_sentence(material.networks, series))
    outcome.drawings.append(_draw(material.networks, series))
    return outcome


def _measure(models: dict[str, Any], rounds: int, batch: int) -> pd.DataFrame:
    """Returns the time of each batch; networks take turns, so that a slower moment of the machine is everyone's."""
    random, rows = np.random.default_rng(0), []
    images = random.standard_normal((batch, _SIZE, _SIZE, 3), "float32")
    labels = random.integers(0, _CLASSES, batch)
    for model in models.values():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(PenalizedSGD(0.001, penalty=1e-4, momentum=0.9), loss)
    for number in range(rounds + 1):  # the first one compiles
        for name, model in models.items():
            for what, call in (("inference", model.predict_on_batch), ("training", model.train_on_batch)):
                began = time.perf_counter()
                call(images) if what == "inference" else call(images, labels)
                seconds = time.perf_counter() - began
                if number:
                    rows.append({"network": name, "what": what, "round": number, "seconds_per_image": seconds / batch})
        say(f"round {number} of {rounds}" if number else "all networks are compiled")
    return pd.DataFrame(rows)


def _sentence(networks: tuple[str, ...], series: dict[str, list[float]]) -> str:
    """Compares the last network, ResNet-50, with the one before, ResNet-34.

    Args:
        networks: Names of the networks.
        series: Costs of the networks in multiples of the first one's, by their names.
    """
    times = ", ".join(f"{values[-1] / values[-2]:.2f} times the {what}" for what, values in series.items())
    return f"On this device, {networks[-1]} has {times} of {networks[-2]}."


def _draw(networks: tuple[str, ...], series: dict[str, list[float]]) -> Drawing:
    figure, axes = new_figure(1, 1, 6.4, 3.2)
    panel, colours = axes[0][0], (LIGHT.line, LIGHT.right, LIGHT.third, LIGHT.wrong)
    for number, ((what, values), colour) in enumerate(zip(series.items(), colours, strict=True)):
        panel.bar(np.arange(len(values)) + 0.2 * number - 0.3, values, 0.18, color=colour, label=what)
    panel.set_xticks(range(len(networks)), networks)
    panel.set_ylabel(f"times {networks[0]}")
    say_in_legend(panel, loc="upper left")
    return Drawing("bottleneck", f"Costs in multiples of {networks[0]}'s.", figure)
