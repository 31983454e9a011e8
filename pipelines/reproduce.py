"""reproduce: repeats an experiment of the papers, and writes its results, figures and a page."""

import platform
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Any

import keras
import pandas as pd

from pipelines.config.experiments import ReproduceConfig
from pipelines.console.terminal import say
from pipelines.data.find import check_exists
from pipelines.experiments.cifar10 import HOW, Images, fingerprint, read_cifar10
from pipelines.experiments.device import device_name, duration
from pipelines.experiments.outcome import Material, Outcome, save
from pipelines.experiments.page import Made, render_experiment
from pipelines.experiments.results import as_table, read_rows, write_rows
from pipelines.experiments.table import EXPERIMENTS, SCALES, Experiment
from pipelines.experiments.training import Trainings
from pipelines.experiments.weights import Weights, read_moments
from pipelines.runs.directory import Run, check_writable
from pipelines.runs.files import read_json, write_csv, write_json, write_text
from pipelines.runs.lock import locked
from resnet_tf.errors import UserError

_COSTS = {"predicted_seconds": "training, predicted", "seconds": "training, as it was"}


def reproduce(config: ReproduceConfig) -> Outcome:
    """Trains the networks of an experiment, or takes those of an earlier one, measures them, and writes what it found.

    The folder gets results.csv, a CSV of each further measurement, figures as PNG and SVG, page.html and cost.json. A
    folder whose experiment was stopped is continued.

    Args:
        config: Experiment, scale, data and folder.

    Returns:
        What was found.

    Raises:
        UserError: The experiment needs data that are not given or cannot be read, or the folder holds another one.
    """
    experiment, run = EXPERIMENTS[config.name], Run(Path(config.out))
    _check_data(config, experiment)
    check_writable(run)
    with locked(run, "--out"):
        if experiment.data == "photos":
            outcome, cost = _on_photos(config), {"device": device_name()}
        else:
            outcome, cost = _on_cifar10(config, experiment)
        _write(config, experiment, outcome, cost)
    return outcome


def _on_photos(config: ReproduceConfig) -> Outcome:
    """Trains on a folder of photos with finetune, which needs TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        raise UserError(f"{config.name} trains with finetune, on TensorFlow; leave out KERAS_BACKEND")
    from pipelines.thirty_classes import rows_with_weights, train_thirty_classes

    check_exists(str(config.data))
    rows = rows_with_weights(config.weights, _seeds(config))
    _claim_folder(config, None)
    return train_thirty_classes(config, rows)


def _on_cifar10(config: ReproduceConfig, experiment: Experiment) -> tuple[Outcome, dict[str, Any]]:
    """Trains what is to be trained, and measures it."""
    folder, networks = Path(config.out), experiment.networks[config.scale]
    images = _images(config)
    _claim_folder(config, images)
    rows: list[dict[str, Any]] = []
    cost: dict[str, Any] = {}
    if config.trained is not None:
        cost = _cost_of(Path(config.trained))
        rows = [row for row in read_rows(Path(config.trained, "results.csv")) if row["network"] in networks]
        networks = tuple(name for name in networks if name in {row["network"] for row in rows})
        if not networks:
            raise UserError(f"{config.trained!r} has no training of {', '.join(experiment.networks[config.scale])}")
        write_rows(folder / "results.csv", rows)
    elif experiment.trains and images is not None:
        rows, cost = _train(config, networks, images)
    weights_in = Path(config.trained or config.out)
    material = Material(networks, as_table(rows), lambda name: _weights(weights_in, name), images, config.scale)
    return import_module(f"pipelines.experiments.{config.name.replace('-', '_')}").show(material), cost


def _check_data(config: ReproduceConfig, experiment: Experiment) -> None:
    needed = experiment.data == "always" or (experiment.data == "for the training" and config.trained is None)
    if experiment.data == "photos" and config.data is None:
        raise UserError(f"{config.name} needs photos, one sub-folder per class; --data names the folder")
    if config.weights is not None and experiment.data != "photos":
        raise UserError(f"{config.name} takes no ImageNet weights; leave out --weights")
    if config.data is None and (needed or (config.trained is not None and experiment.data == "optional")):
        raise UserError(f"{config.name} needs images; {HOW}")
    if config.data is not None and experiment.data == "never":
        raise UserError(f"{config.name} looks at no images; leave out --data")
    if config.trained is not None and not experiment.trains:
        raise UserError(f"{config.name} takes no trained networks; leave out --from")


def _images(config: ReproduceConfig) -> tuple[Images, Images] | None:
    scale = SCALES[config.scale]
    if config.data is None:
        return None
    images = read_cifar10(Path(config.data), scale.train_images, scale.test_images)
    say(f"CIFAR-10: {len(images[0].labels):,} images for training, {len(images[1].labels):,} for the test")
    return images


def _claim_folder(config: ReproduceConfig, images: tuple[Images, Images] | None) -> None:
    """Writes what the folder is for, or checks that it is for the same."""
    folder = Path(config.out)
    wanted = {
        **{name: value for name, value in asdict(config).items() if name not in ("out", "data", "weights")},
        "seeds": _seeds(config),
        "scale_is": asdict(SCALES[config.scale]),
        "images": fingerprint(images) if images else None,
        "backend": keras.backend.backend(),
    }
    path = folder / "experiment.json"
    if not path.exists():
        foreign = [file.name for file in folder.iterdir() if not file.name.startswith(".")]
        if foreign:
            raise UserError(f"{str(folder)!r} has other files, such as {foreign[0]!r}; choose another --out")
        write_json(path, wanted)
        return
    found = read_json(path)
    changed = [name for name, value in wanted.items() if not isinstance(found, dict) or found.get(name) != value]
    if changed:
        raise UserError(
            f"{str(folder)!r} holds an experiment with another {changed[0]}; repeat its command to continue it, or "
            "choose another --out"
        )


def _train(
    config: ReproduceConfig, networks: tuple[str, ...], images: tuple[Images, Images]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Says what the training will cost, trains, and returns the rows and the cost."""
    folder, scale = Path(config.out), SCALES[config.scale]
    trainings = Trainings(folder, networks, _seeds(config), scale.iterations, scale.batch_size, images)
    steps = trainings.epochs * trainings.steps
    say(
        f"{len(networks)} networks × {trainings.seeds} seeds × {steps:,} steps of {scale.batch_size} on {device_name()}"
    )
    left = trainings.seconds_left()
    for name, seconds in left.items():
        say(f"  {name}: {duration(seconds)} predicted, {trainings.seconds_by_step[name]:.3g} s a step")
    path = folder / "cost.json"
    cost = read_json(path) if path.exists() else {"predicted_seconds": sum(left.values()), "device": device_name()}
    write_json(path, cost)
    say(f"predicted: {duration(sum(left.values()))}; the same command continues it if it is stopped")
    rows: list[dict[str, Any]] = []
    try:
        for rows in trainings.run():
            write_rows(folder / "results.csv", rows)
    except KeyboardInterrupt as reason:
        raise type(reason)("interrupted; the same command continues the experiment") from reason
    spent = trainings.seconds()
    cost |= {"seconds": sum(spent.values()), "seconds_by_network": spent, "seconds_by_step": trainings.seconds_by_step}
    write_json(path, cost)
    return rows, cost


def _write(config: ReproduceConfig, experiment: Experiment, outcome: Outcome, cost: dict[str, Any]) -> None:
    folder = Path(config.out)
    for name, table in outcome.measured.items():
        write_csv(folder / f"{name}.csv", _rounded(table))
    for drawing in outcome.drawings:
        save(drawing, folder)
    write_text(folder / "page.html", render_experiment(experiment, outcome, _made(config, cost), folder))
    for sentence in outcome.sentences:
        say(sentence)
    say(f"{folder / 'page.html'} has the figures")


def _made(config: ReproduceConfig, cost: dict[str, Any]) -> Made:
    words = [f"resnet-tf reproduce {config.name} --out {quote(config.out)} --scale {config.scale}"]
    words += [f"--data {quote(config.data)}"] if config.data else []
    words += [f"--weights {quote(config.weights)}"] if config.weights else []
    words += [f"--from {quote(config.trained)}"] if config.trained else []
    words += [f"--seeds {config.seeds}"] if config.seeds else []
    facts = [("command", " ".join(words)), ("measured on", device_name())]
    facts += [("trained on", str(cost["device"]))] if "device" in cost else []
    facts += [("trained by", str(cost["command"]))] if "command" in cost else []
    facts.append(
        ("software", f"Keras {keras.__version__} on {keras.backend.backend()}, Python {platform.python_version()}")
    )
    facts += [(words, duration(cost[key])) for key, words in _COSTS.items() if key in cost]
    how = "The trainings are those of an earlier experiment." if config.trained else ""
    return Made(how, tuple(facts))


def _cost_of(folder: Path) -> dict[str, Any]:
    """Returns what cost.json of an earlier experiment says, as far as it is what this program writes."""
    path = folder / "cost.json"
    found = read_json(path) if path.exists() else {}
    kinds: dict[str, Any] = {"device": str, "command": str, "predicted_seconds": (int, float), "seconds": (int, float)}
    return {
        key: found[key] for key, kind in kinds.items() if isinstance(found, dict) and isinstance(found.get(key), kind)
    }


def _seeds(config: ReproduceConfig) -> int:
    return config.seeds or SCALES[config.scale].seeds


def _weights(folder: Path, name: str) -> dict[str, Weights]:
    path = folder / f"{name}.npz"
    return read_moments(path) if path.exists() else {}


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a table with six digits, so that the last bits of a sum make no other file."""
    return table.map(lambda value: float(f"{value:.6g}") if isinstance(value, float) else value)
