"""The degradation problem: training and test errors of plain and residual nets over the iterations.

He et al. 2015, figures 1 and 6.
"""

import pandas as pd
from matplotlib.lines import Line2D

from pipelines.experiments.drawing import colour_of, new_figure
from pipelines.experiments.networks import find_network
from pipelines.experiments.outcome import (
    Drawing,
    Material,
    Outcome,
    Table,
    difference_in_words,
    last_rows,
    percent_of_seeds,
)
from pipelines.report.look import LIGHT

_COLUMNS = ("training_error", "training_error_at_rest", "test_error")


def show(material: Material) -> Outcome:
    """Compares the least deep net with the deepest one, plain and residual."""
    rows, last = material.rows, last_rows(material.rows)
    outcome = Outcome(tables=[errors_table(last, material.networks)], drawings=[_curves(rows, material.networks)])
    for kind, plain in (("plain", True), ("residual", False)):
        names = [name for name in material.networks if (find_network(name).shortcut is None) == plain]
        names = sorted(names, key=lambda name: find_network(name).depth)
        if len(names) > 1:
            outcome.sentences.append(
                f"The deepest {kind} net ({names[-1]}) has a training error that is "
                f"{difference_in_words(last, names[0], names[-1], 'training_error')} than that of {names[0]}; its test "
                f"error is {difference_in_words(last, names[0], names[-1], 'test_error')}."
            )
    return outcome


def errors_table(last: pd.DataFrame, networks: tuple[str, ...], *more: dict[str, str]) -> Table:
    """Returns the table of the errors at the end.

    Args:
        last: Last rows of the trainings.
        networks: Short names of the networks, in the order of the rows.
        more: Further columns: text by the network's name; "" has the heading.
    """
    header = (
        "network",
        *(column[""] for column in more),
        "seeds",
        "iterations",
        "training error",
        "training error without augmentation",
        "test error",
    )
    cells = []
    for name in networks:
        found = last[last["network"] == name].sort_values("seed")
        if len(found):
            errors = [percent_of_seeds(found[column].tolist()) for column in _COLUMNS]
            done = ", ".join(f"{number:,}" for number in sorted(set(found["iteration"])))
            planned = set(found["iterations"]) - set(found["iteration"])
            done += f" of {max(planned):,}" if planned else ""
            cells.append((name, *(column[name] for column in more), str(len(found)), done, *errors))
    return Table("Errors at the end, mean and each seed", header, cells)


def _curves(rows: pd.DataFrame, networks: tuple[str, ...]) -> Drawing:
    figure, axes = new_figure(1, 2, sharey=True)
    kinds = (("plain nets", True), ("residual nets", False))
    for panel, (title, plain) in zip(axes[0], kinds, strict=True):
        names = [name for name in networks if (find_network(name).shortcut is None) == plain]
        for name in names:
            for _, training in rows[rows["network"] == name].groupby("seed"):
                training = training.sort_values("iteration")
                judged = training[training["test_error"].notna()]
                thousands, colour = training["iteration"] / 1000, colour_of(name)
                panel.plot(thousands, 100 * training["training_error"], color=colour, linewidth=1.1, linestyle="--")
                panel.plot(judged["iteration"] / 1000, 100 * judged["test_error"], color=colour, linewidth=1.7)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("iterations, thousands")
        handles = [Line2D([], [], color=colour_of(name), label=f"{find_network(name).depth} layers") for name in names]
        handles.append(Line2D([], [], color=LIGHT.quiet, linewidth=1.7, label="test"))
        handles.append(Line2D([], [], color=LIGHT.quiet, linewidth=1.1, linestyle="--", label="training"))
        panel.legend(handles=handles, frameon=False, fontsize=8, ncols=2, loc="upper right")
    axes[0][0].set_ylabel("error, %")
    axes[0][0].set_ylim(0, 100 if rows["test_error"].min() > 0.4 else 80)
    return Drawing(
        "degradation",
        "Errors on CIFAR-10 during the training, a line for each seed. Training errors are means over an epoch of "
        "augmented images, as in the paper.",
        figure,
    )
