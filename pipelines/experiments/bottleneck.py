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
    medians = times.groupby(["network", "what"], sort=False)["seconds_per_image"].median().unstack()
    cells = [
        (
            row.network,
            f"{row.parameters:,}",
            f"{row.multiply_adds:,}",
            *(f"{1000 * medians.loc[row.network, what]:.1f} ms" for what in ("inference", "training")),
        )
        for row in costs.itertuples()
    ]
    outcome.tables.append(
        Table(
            f"Costs at {_SIZE} × {_SIZE} pixels and {_CLASSES} classes; time for an image, median of {rounds} batches of "
            f"{batch}",
            ("network", "parameters", "multiply-adds", "inference", "training step"),
            cells,
        )
    )
    outcome.sentences.append(_sentence(costs.set_index("network"), medians))
    outcome.drawings.append(_draw(costs, medians))
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


def _sentence(costs: pd.DataFrame, medians: pd.DataFrame) -> str:
    if not {"resnet34", "resnet50"} <= set(costs.index):
        return ""
    ratio = costs.loc["resnet50"] / costs.loc["resnet34"]
    time_ratio = medians.loc["resnet50"] / medians.loc["resnet34"]
    return (
        f"ResNet-50 has {ratio['multiply_adds']:.2f} times the multiply-adds of ResNet-34 and {ratio['parameters']:.2f} "
        f"times its parameters; here it takes {time_ratio['inference']:.2f} times as long for inference and "
        f"{time_ratio['training']:.2f} times for a training step."
    )


def _draw(costs: pd.DataFrame, medians: pd.DataFrame) -> Drawing:
    figure, axes = new_figure(1, 1, 6.4, 3.2)
    panel, first = axes[0][0], costs.iloc[0]
    series = {
        "multiply-adds": (costs["multiply_adds"] / first["multiply_adds"]).tolist(),
        "parameters": (costs["parameters"] / first["parameters"]).tolist(),
        "inference time": (medians["inference"] / medians["inference"].iloc[0]).tolist(),
        "training time": (medians["training"] / medians["training"].iloc[0]).tolist(),
    }
    colours = (LIGHT.right, LIGHT.line, LIGHT.third, LIGHT.wrong)
    for number, ((what, values), colour) in enumerate(zip(series.items(), colours, strict=True)):
        panel.bar(np.arange(len(values)) + 0.2 * number - 0.3, values, 0.18, color=colour, label=what)
    panel.set_xticks(range(len(costs)), costs["network"].tolist())
    panel.set_ylabel(f"times {first['network']}")
    say_in_legend(panel, loc="upper left")
    return Drawing("bottleneck", f"Costs in multiples of {first['network']}'s.", figure)
