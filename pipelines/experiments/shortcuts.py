"""The shortcut options A, B and C at one depth: what they cost and what they are good for (He et al. 2015, table 3)."""

import numpy as np

from pipelines.experiments.degradation import errors_table
from pipelines.experiments.drawing import new_figure
from pipelines.experiments.networks import find_network
from pipelines.experiments.outcome import Drawing, Material, Outcome, difference_in_words, last_rows
from pipelines.report.look import LIGHT
from resnet_tf.statistics import multiply_adds, parameters

_NAMES = {None: "plain", "A": "A: identity, zeros added", "B": "B: projection where needed", "C": "C: projections"}


def show(material: Material) -> Outcome:
    """Compares all networks with the plain one, in errors, parameters and multiply-adds."""
    last = last_rows(material.rows)
    models = {name: find_network(name).build() for name in material.networks}
    costs = (
        {"": "shortcut", **{name: str(_NAMES[find_network(name).shortcut]) for name in models}},
        {"": "parameters", **{name: f"{parameters(model):,}" for name, model in models.items()}},
        {"": "multiply-adds", **{name: f"{multiply_adds(model):,}" for name, model in models.items()}},
    )
    outcome = Outcome(tables=[errors_table(last, material.networks, *costs)])
    first = material.networks[0]
    for name in material.networks[1:]:
        outcome.sentences.append(
            f"With shortcut {find_network(name).shortcut}, the test error is "
            f"{difference_in_words(last, first, name, 'test_error')} than that of {first}."
        )
    figure, axes = new_figure(1, 1, 6.4, 3.2)
    for place, name in enumerate(material.networks):
        found = 100 * last.loc[last["network"] == name, "test_error"]
        axes[0][0].bar(place, found.mean(), width=0.6, color=LIGHT.line)
        spread = np.linspace(-0.12, 0.12, len(found)) if len(found) > 1 else [0.0]
        axes[0][0].plot(place + np.asarray(spread), found, "o", color=LIGHT.right, markersize=5)
    names = [str(_NAMES[find_network(name).shortcut]).replace(": ", "\n").replace(", ", ",\n") for name in models]
    axes[0][0].set_xticks(range(len(models)), names, fontsize=8)
    axes[0][0].set_ylabel("test error, %")
    outcome.drawings.append(Drawing("shortcuts", "Test errors at the end: bars are means, dots are seeds.", figure))
    return outcome
