"""What depth does to gradients and to the loss: the norms of the gradients layer by layer, and the loss around the end.

He et al. 2015, section 4.1, argue about the gradients without showing them; Li et al. 2018 draw the loss.
"""

from typing import Any

import numpy as np
import pandas as pd

from pipelines.console.terminal import say
from pipelines.experiments.cifar10 import Images, synthetic
from pipelines.experiments.drawing import colour_of, new_figure, say_in_legend
from pipelines.experiments.networks import find_network
from pipelines.experiments.outcome import Drawing, Material, Outcome, Table
from pipelines.experiments.surface import Grid, loss_surface, share_of_negative_curvature
from pipelines.experiments.training import make_trainer, start_of
from pipelines.experiments.weights import state_of
from pipelines.report.look import LIGHT

_BATCH = 128
_GRIDS = {"quick": Grid(13, 128), "half": Grid(17, 256), "paper": Grid(51, 1000)}


def show(material: Material) -> Outcome:
    """Measures gradients at the start and, where there are trained weights, through the training; then the loss."""
    images = (material.images or (synthetic(_BATCH),) * 2)[0]
    batch, gradients, surfaces = images.first(_BATCH), [], {}
    for name in material.networks:
        trainer = make_trainer(name, (images, images), min(_BATCH, len(images.labels)))
        state = start_of(name, trainer, 0)
        for norm in (True, False):
            gradients += _rows(name, "start", norm, trainer, state, batch)
        kept = material.weights(name)
        for moment, weights in kept.items():
            if moment != "start":
                gradients += _rows(name, moment, True, trainer, state_of(trainer.network, weights), batch)
        say(f"{name}: its gradients are measured")
        if "end" in kept and find_network(name).depth == max(find_network(n).depth for n in material.networks):
            grid = _GRIDS[material.scale]
            surfaces[name] = loss_surface(trainer, state_of(trainer.network, kept["end"]), images, grid)
            say(f"{name}: the loss at {grid.points}² points")
    return _outcome(pd.DataFrame(gradients), surfaces)


def _rows(name: str, moment: str, norm: bool, trainer: Any, state: Any, batch: Images) -> list[dict[str, Any]]:
    gradients = trainer.gradients(state, batch, normalized=norm)
    kernels = [
        (v.path.split("/")[0], value, gradient)
        for v, value, gradient in zip(trainer.network.trainable_variables, state[0], gradients, strict=True)
        if np.ndim(value) > 1 and "_0_" not in v.path  # projections beside the layers are not counted
    ]
    return [
        {
            "network": name,
            "moment": moment,
            "batch_norm": norm,
            "layer": number,
            "name": layer,
            "gradient_norm": float(np.linalg.norm(gradient)),
            "weight_norm": float(np.linalg.norm(np.asarray(value, "float32"))),
        }
        for number, (layer, value, gradient) in enumerate(kernels, start=1)
    ]


def _outcome(gradients: pd.DataFrame, surfaces: dict[str, np.ndarray]) -> Outcome:
    outcome = Outcome(measured={"gradients": gradients})
    summary = []
    for (name, moment, norm), found in gradients.groupby(["network", "moment", "batch_norm"], sort=False):
        # The classifier at the end is no convolution, and has other sizes.
        norms = found["gradient_norm"].tolist()[:-1]
        first, last = norms[0], norms[-1]
        shown = (f"{value:.3g}" for value in (first, last, first / last, min(norms), max(norms)))
        summary.append((str(name), str(moment), "yes" if norm else "no", *shown))
    outcome.tables.append(
        Table(
            "Norms of the gradients of the convolutions' kernels",
            ("network", "moment", "batch norm", "first layer", "last layer", "first ÷ last", "smallest", "largest"),
            summary,
        )
    )
    outcome.sentences += _sentences(gradients)
    outcome.drawings.append(_draw_gradients(gradients))
    if surfaces:
        outcome.drawings.append(_draw_surfaces(surfaces))
        side = np.linspace(-1.0, 1.0, len(next(iter(surfaces.values()))))
        outcome.measured["surface"] = pd.DataFrame(
            [
                {"network": name, "first": x, "second": y, "loss": float(losses[row, column])}
                for name, losses in surfaces.items()
                for row, y in enumerate(side)
                for column, x in enumerate(side)
            ]
        )
        for name, losses in surfaces.items():
            middle = losses[len(losses) // 2, len(losses) // 2]
            outcome.sentences.append(
                f"Around the end of {name}, the loss rises from {middle:.2f} to a median of "
                f"{np.median(_edge(losses)):.3g} at the edge of the plane; at "
                f"{100 * share_of_negative_curvature(losses):.0f} % of the points one curvature is negative and larger "
                "than a tenth of the other."
            )
    return outcome


def _sentences(gradients: pd.DataFrame) -> list[str]:
    sentences = []
    starts = gradients[gradients["moment"] == "start"]
    deepest = starts.groupby("network")["layer"].max()
    for norm, words in ((True, "With batch norm"), (False, "Without batch norm")):
        parts = []
        for name in deepest.index[deepest == deepest.max()]:
            of_network = starts[(starts["network"] == name) & (starts["batch_norm"] == norm)]
            found = of_network["gradient_norm"].tolist()[:-1]
            low, high = min(found), max(found)
            parts.append(f"{high / low:.3g} in {name} (from {low:.3g} to {high:.3g})")
        sentences.append(
            f"{words}, the largest norm of a layer's gradient at the start is so many times the smallest: "
            f"{'; '.join(parts)}."
        )
    return sentences


def _edge(losses: np.ndarray) -> np.ndarray:
    return np.concatenate([losses[0], losses[-1], losses[1:-1, 0], losses[1:-1, -1]])


def _draw_gradients(gradients: pd.DataFrame) -> Drawing:
    trained = [moment for moment in gradients["moment"].unique() if moment != "start"]
    figure, axes = new_figure(1, 2 + bool(trained), 11.0 if trained else 8.0, 3.5)
    starts = gradients[gradients["moment"] == "start"]
    for panel, norm in zip(axes[0], (True, False), strict=False):
        for name, found in starts[starts["batch_norm"] == norm].groupby("network", sort=False):
            line = "--" if str(name).startswith("plain") else "-"
            panel.plot(
                found["layer"], found["gradient_norm"], line, color=colour_of(str(name)), label=name, linewidth=1.4
            )
        panel.set_title(f"at the start, {'with' if norm else 'without'} batch norm", fontsize=10)
        say_in_legend(panel)
    if trained:
        _draw_training(axes[0][2], gradients, trained)
    for panel in axes[0]:
        panel.set_yscale("log")
        panel.set_xlabel("layer")
    axes[0][0].set_ylabel("norm of the kernel's gradient")
    return Drawing(
        "gradients",
        f"Norms of the gradient of each layer's kernel for one batch of {_BATCH} images. Dashed lines are plain nets.",
        figure,
    )


def _draw_training(panel: Any, gradients: pd.DataFrame, moments: list[str]) -> None:
    shades = [0.35, 0.65, 1.0][-len(moments) :]
    deepest = gradients.groupby("network")["layer"].max()
    for name in deepest.index[deepest == deepest.max()]:
        plain = str(name).startswith("plain")
        for moment, shade in zip(moments, shades, strict=False):
            found = gradients[(gradients["network"] == name) & (gradients["moment"] == moment)]
            panel.plot(
                found["layer"],
                found["gradient_norm"],
                "--" if plain else "-",
                color=LIGHT.wrong if plain else LIGHT.right,
                alpha=shade,
                linewidth=1.3,
                label=f"{name}, {moment}",
            )
    panel.set_title("through the training, with batch norm", fontsize=10)
    panel.legend(frameon=False, fontsize=7, ncols=2)


def _draw_surfaces(surfaces: dict[str, np.ndarray]) -> Drawing:
    figure, axes = new_figure(1, len(surfaces), 4.2 * len(surfaces), 3.6, sharey=True)
    low = min(float(losses.min()) for losses in surfaces.values())
    high = max(float(np.quantile(losses, 0.95)) for losses in surfaces.values())
    levels = np.geomspace(max(low, 1e-3), max(high, 2 * low), 18)
    for panel, (name, losses) in zip(axes[0], surfaces.items(), strict=True):
        side = np.linspace(-1.0, 1.0, len(losses))
        shown = np.clip(losses, levels[0], levels[-1])
        filled = panel.contourf(side, side, np.log10(shown), np.log10(levels), cmap="cividis")
        panel.contour(side, side, np.log10(shown), np.log10(levels), colors="white", linewidths=0.4, linestyles="solid")
        panel.plot(0, 0, "+", color=LIGHT.ink, markersize=9)
        panel.set_title(name, fontsize=10)
        panel.set_xlabel("first direction")
        panel.grid(visible=False)
    axes[0][0].set_ylabel("second direction")
    bar = figure.colorbar(filled, ax=axes[0].tolist(), label="training loss")
    ticks = [value for value in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if levels[0] <= value <= levels[-1]]
    bar.set_ticks([float(np.log10(value)) for value in ticks], labels=[f"{value:g}" for value in ticks])
    return Drawing(
        "surface",
        "The loss of training images around the end of the training (+), along two random directions of which each "
        "filter is as long as the network's own. Batch norms have no direction.",
        figure,
    )
