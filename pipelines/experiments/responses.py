"""How much each layer of a trained network responds (He et al. 2015, figure 7)."""

from typing import Any

import keras
import numpy as np
import pandas as pd

from pipelines.console.terminal import say
from pipelines.experiments.cifar10 import Images
from pipelines.experiments.drawing import colour_of, new_figure, say_in_legend
from pipelines.experiments.networks import find_network
from pipelines.experiments.outcome import Drawing, Material, Outcome, Table
from pipelines.experiments.training import make_trainer
from pipelines.experiments.weights import state_of
from resnet_tf.errors import UserError

_IMAGES, _BATCH = 512, 128


def show(material: Material) -> Outcome:
    """Measures the responses of all layers with the weights at the end of the training."""
    assert material.images is not None  # the verb has seen to it
    few, rows = material.images[0].first(_IMAGES), []
    for name in material.networks:
        kept = material.weights(name)
        if "end" not in kept:
            raise UserError(f"there are no weights of {name} at the end of a training")
        trainer = make_trainer(name, material.images)
        trainable, others, _ = state_of(trainer.network, kept["end"])
        for group, values in (("trainable_variables", trainable), ("non_trainable_variables", others)):
            for variable, value in zip(getattr(trainer.network, group), values, strict=True):
                variable.assign(value)
        found = layer_deviations(trainer, few)
        rows += [
            {"network": name, "layer": number, "name": layer, "standard_deviation": value}
            for number, (layer, value) in enumerate(found.items(), start=1)
        ]
        say(f"{name}: the responses of {len(found)} layers")
    responses = pd.DataFrame(rows)
    return Outcome(_sentences(responses), [_table(responses)], [_draw(responses)], {"responses": responses})


def layer_deviations(trainer: Any, images: Images) -> dict[str, float]:
    """Returns the standard deviation of each 3×3 layer's response, in the order of the layers.

    The response is the output of the batch norm after the convolution, before the addition and before ReLU.

    Args:
        trainer: Trainer whose network has the weights.
        images: Images to respond to.
    """
    layers = [layer for layer in trainer.network.layers if layer.name.endswith("_bn") and "_0_" not in layer.name]
    probe = keras.Model(trainer.network.inputs, [layer.output for layer in layers])
    sums = np.zeros((3, len(layers)))
    for at in range(0, len(images.labels), _BATCH):
        outputs = probe.predict_on_batch(trainer.normalized(images.part(at, at + _BATCH).pixels))
        for number, output in enumerate(outputs):
            values = np.asarray(output, "float64")
            sums[:, number] += values.size, values.sum(), (values**2).sum()
    size, total, squares = sums
    deviations = np.sqrt(squares / size - (total / size) ** 2)
    return {layer.name: float(value) for layer, value in zip(layers, deviations, strict=True)}


def _table(responses: pd.DataFrame) -> Table:
    groups = responses.groupby("network", sort=False)["standard_deviation"]
    cells = [
        (str(name), str(len(found)), f"{found.mean():.3f}", f"{found.median():.3f}", f"{found.max():.3f}")
        for name, found in groups
    ]
    return Table(
        "Standard deviations of the responses", ("network", "layers", "mean over layers", "median", "largest"), cells
    )


def _sentences(responses: pd.DataFrame) -> list[str]:
    groups = responses.groupby("network")["standard_deviation"]
    means = {str(name): (float(found.mean()), float(found.median())) for name, found in groups}
    sentences = []
    for depth in sorted({find_network(name).depth for name in means}):
        pair = f"plain{depth}", f"resnet{depth}"
        if set(pair) <= means.keys():
            plain, residual = (f"{means[name][0]:.2f} (median {means[name][1]:.2f})" for name in pair)
            sentences.append(
                f"With {depth} layers, the mean standard deviation of a layer's response is {plain} in the plain net "
                f"and {residual} in the residual one."
            )
    return sentences


def _draw(responses: pd.DataFrame) -> Drawing:
    figure, axes = new_figure(1, 2, 9.0, 3.4, sharey=True)
    for name, found in responses.groupby("network", sort=False):
        line = "--" if str(name).startswith("plain") else "-"
        values = found["standard_deviation"].to_numpy()
        for panel, shown in zip(axes[0], (values, np.sort(values)[::-1]), strict=True):
            panel.plot(found["layer"], shown, line, color=colour_of(str(name)), label=name, linewidth=1.4)
    axes[0][0].set_title("in the order of the layers", fontsize=10)
    axes[0][1].set_title("by size", fontsize=10)
    axes[0][0].set_ylabel("standard deviation")
    for panel in axes[0]:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:g}")
        panel.set_xlabel("layer")
    say_in_legend(axes[0][1])
    return Drawing(
        "responses",
        f"Standard deviations of the responses of all 3×3 layers to {_IMAGES} training images, after batch norm and "
        "before the addition and ReLU. Dashed lines are plain nets.",
        figure,
    )
