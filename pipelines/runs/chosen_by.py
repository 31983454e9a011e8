"""The figures of the run that chose a training on all images. They are kept beside its model, which has none."""

from pathlib import Path
from shlex import quote
from typing import Any

from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import read_json, write_json
from pipelines.runs.state import progress_of

_FIGURES = ("accuracy", "balanced_accuracy", "log_loss")
_OF_TEST = ("n", "accuracy", "accuracy_ci95", "balanced_accuracy", "log_loss", "mirror")


def keep_figures(run: Run) -> None:
    """Writes the figures that a run has by now into its training on all images, if there is one.

    Args:
        run: Run that has chosen.
    """
    if not run.writable or not run.all.config.exists():
        return
    progress, tested = progress_of(run) or {}, run.evaluation("test") / "metrics.json"
    metrics = read_json(tested) if tested.exists() else None
    write_json(
        run.all.chosen_by,
        {
            "trained_on": learned_from(run.all),
            "run": str(run.path.absolute()),
            "model": progress.get("best"),
            "validation": {name: progress.get(f"best_{name}") for name in _FIGURES},
            "test": metrics and {name: metrics.get(name) for name in _OF_TEST},
        },
    )


def learned_from(run: Run) -> str:
    """Returns in words which images a training on all images has learned from; "" for every other run.

    Raises:
        UserError: Its config.json cannot be read.
    """
    content = read_config(run.config)
    chosen = content.get("chosen_by")
    if not chosen:
        return ""
    of_split = content["data"]["splits"]
    images, used = sum(of_split.values()), of_split["train"]
    how_many = f"all {images:,} images" if used == images else f"{used:,} of {images:,} images"
    moved = "validation and test" if chosen["use_all"] == "test" else "validation"
    return f"{how_many}, those of {moved} among them"


def chosen_in_words(run: Run) -> str:
    """Returns the figures of the run that has chosen a training on all images, and where they are.

    Args:
        run: Run of the training on all images.
    """
    if not run.chosen_by.exists():
        return f"{read_config(run.config)['chosen_by']['run']}, which chose it, has figures"
    content = read_json(run.chosen_by)
    chosen, tested = Run(Path(content["run"])), content["test"]
    words = f"{chosen.path}, which chose it, has {_in_words(content['validation'])} on validation"
    if tested is None:
        return f"{words}, and `resnet-tf evaluate {quote(str(chosen.path))}` gives its figures on the test"
    where = chosen.evaluation("test").relative_to(chosen.path)
    return f"{words}, and {_in_words(tested)} on the {tested['n']:,} images of the test ({where} there)"


def _in_words(figures: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {figures[name]:.4f}" for name in _FIGURES if figures[name] is not None)
