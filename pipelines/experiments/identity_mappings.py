"""Blocks with batch norm and ReLU before the convolutions against those of the first paper (He et al. 2016)."""

from pipelines.experiments.degradation import errors_table
from pipelines.experiments.drawing import new_figure, say_in_legend
from pipelines.experiments.outcome import Drawing, Material, Outcome, difference_in_words, last_rows
from pipelines.report.look import LIGHT


def show(material: Material) -> Outcome:
    """Compares the first network, of the first paper, with the second one of the same depth."""
    last, (first, second) = last_rows(material.rows), material.networks
    outcome = Outcome(tables=[errors_table(last, material.networks)])
    outcome.sentences.append(
        f"With identity mappings ({second}), the training error is "
        f"{difference_in_words(last, first, second, 'training_error')} than in {first}, and the test error is "
        f"{difference_in_words(last, first, second, 'test_error')}."
    )
    figure, axes = new_figure(1, 1, 6.4, 3.4)
    panel = axes[0][0]
    for name, colour in zip(material.networks, (LIGHT.wrong, LIGHT.right), strict=True):
        for seed, training in material.rows[material.rows["network"] == name].groupby("seed"):
            training = training.sort_values("iteration")
            judged = training[training["test_error"].notna()]
            label = name if seed == 0 else None
            panel.plot(training["iteration"], 100 * training["training_error"], "--", color=colour, linewidth=1.1)
            panel.plot(judged["iteration"], 100 * judged["test_error"], color=colour, linewidth=1.7, label=label)
    panel.set_xlabel("iterations")
    panel.set_ylabel("error, %")
    say_in_legend(panel)
    caption = "Errors during the training: solid lines on the test, dashed ones on the augmented training images."
    outcome.drawings.append(Drawing("identity_mappings", caption, figure))
    return outcome
