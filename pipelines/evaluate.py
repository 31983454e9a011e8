"""evaluate: writes metrics, predictions and the confusion matrix of labelled images, for a colleague to check."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.judging import EvaluateConfig
from pipelines.config.shared import SPLITS
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say
from pipelines.data.appearance import facts_of
from pipelines.data.value_range import UNKNOWN
from pipelines.evaluation.figures import figures_of
from pipelines.evaluation.integrity import check_same_images, load_run_manifest
from pipelines.evaluation.judged import Judged
from pipelines.evaluation.looks import Looks
from pipelines.evaluation.metrics import confusion_matrix
from pipelines.evaluation.missed import missed_in_words
from pipelines.evaluation.predictions import certainty_columns, finished_run_for_all, input_spec_of, prediction_table
from pipelines.evaluation.run_calibration import RunCalibration, load_calibration
from pipelines.evaluation.sources import judged_by_file, judged_by_run, judged_by_served_model, name_of, root_of
from pipelines.report.evaluation_files import Evaluation, write_evaluation
from pipelines.runs.chosen_by import chosen_in_words, keep_figures, learned_from
from pipelines.runs.directory import Run, load_classes, read_config
from pipelines.runs.files import sha256, try_place
from pipelines.runs.lock import locked_part
from pipelines.runs.state import RunState, state_of
from pipelines.training.out_of_fold import look_at_labels
from resnet_tf.errors import UserError
from resnet_tf.workers import check_settings, joined

_NOT_NEW = "these figures say nothing of new ones"


def evaluate(
    run: Run, split: str = "test", data: str | None = None, mirror: bool = False, strategy: str = "auto"
) -> Evaluation:
    """Judges a run by one of its splits, or by other photos; see `judge`.

    Args:
        run: Finished run.
        split: Name of the split, "train", "val" or "test".
        data: Folder or CSV where the images are now, or other labelled photos; None if the images have not moved.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        strategy: Name of the devices that compute, as in `pipelines.config.finetune.FinetuneConfig`.
    """
    return judge(EvaluateConfig(str(run.path), split=split, data=data, mirror=mirror, strategy=strategy))


def judge(config: EvaluateConfig) -> Evaluation:
    """Judges a model by labelled images, and writes a folder of files about it.

    The folder contains metrics.json, predictions.csv, per_class.csv, confusion_matrix.csv, confusion_matrix.png,
    slices.csv, summary.txt, report.html and card.md. Where the model does not know some of the classes, unknown.csv
    has their images.

    Args:
        config: What to judge, and by which images.

    Returns:
        The evaluation.

    Raises:
        UserError: The run is not finished, there are no such images, an image is missing or can no longer be read, or
            the file of predictions or the model is of another kind.
    """
    if config.run is None:
        return _judge_without_run(config)
    run = Run(Path(config.run))
    alone = config.predictions is not None or config.model is not None
    strategy = "one" if alone else config.strategy
    with joined(strategy) as workers, Interrupts(), finished_run_for_all(run, workers) as known, ExitStack() as held:
        name = workers.from_chief(lambda: name_of(config, run))
        folder = run.evaluation(name) if config.out is None else Path(config.out)
        if workers.chief:
            held.enter_context(_taken(run, folder))
        check_settings(workers, {"command": "evaluate", "split": config.split, **_looks(config).content()})
        state = RunState(**workers.from_chief(lambda: asdict(state_of(run))))
        if config.predictions is not None:
            judged, calibration = judged_by_file(config, known, name), None
        else:
            judged, calibration = judged_by_run(config, known, name, workers), load_calibration(known)
        of_run = _OfRun(known, run, state, calibration)
        evaluation = _evaluation(config, judged, folder, of_run, looked_at=workers.chief)
        if workers.chief:
            evaluation = _with_labels(config, evaluation, known)
            write_evaluation(evaluation, known, by_run=not alone)
            keep_figures(run)
            say(str(evaluation))
            say(f"report: {evaluation.report}")
    return evaluation


def _judge_without_run(config: EvaluateConfig) -> Evaluation:
    """Judges the predictions of a file, or a SavedModel, that no run is known of."""
    assert config.out is not None
    folder, name = Path(config.out), name_of(config, None)
    check_folder(folder)
    with Interrupts():
        of_file = config.predictions is not None
        judged = judged_by_file(config, None, name) if of_file else judged_by_served_model(config, name)
        evaluation = _evaluation(config, judged, folder, None)
        write_evaluation(evaluation, None, by_run=False)
    say(str(evaluation))
    say(f"report: {evaluation.report}")
    return evaluation


@dataclass(frozen=True)
class _OfRun:
    """What a run adds to an evaluation.

    Args:
        known: The run, or this worker's copy of it.
        run: The run as it was named.
        state: Whether it is finished.
        calibration: Its calibration; None if it has none, or if another program's predictions are judged.
    """

    known: Run
    run: Run
    state: RunState
    calibration: RunCalibration | None


def _evaluation(
    config: EvaluateConfig, judged: Judged, folder: Path, of_run: _OfRun | None, *, looked_at: bool = True
) -> Evaluation:
    """Computes everything that is written.

    Args:
        config: What is judged.
        judged: Images with their probabilities.
        folder: Folder of the evaluation.
        of_run: What a run adds, or None.
        looked_at: Whether the photos themselves are looked at, to divide them into parts.
    """
    looks, calibration = _looks(config), of_run.calibration if of_run else None
    facts = _facts(config, judged, of_run) if looked_at else None
    figures = figures_of(judged, calibration, facts, one_look=looks == Looks())
    metrics = {**figures.metrics, "classes": judged.classes, "split": judged.name, **looks.content()}
    given = {name: getattr(config, name) for name in ("data", "model", "predictions")}
    metrics |= {name: value for name, value in given.items() if value is not None}
    if of_run:
        trained_on = learned_from(of_run.known)
        metrics |= {"finished": of_run.state.finished, **({"trained_on": trained_on} if trained_on else {})}
        if config.model is None and config.predictions is None:
            metrics["model_sha256"] = sha256(of_run.known.model)
    if judged.root is not None:
        metrics["root"] = str(judged.root.absolute())
    found = judged.probabilities
    source = of_run.run.name if of_run else Path(str(config.predictions or config.model)).resolve().name
    return Evaluation(
        title=f"{source}, {judged.name}{looks.in_words()}",
        folder=folder,
        metrics=metrics,
        confusion_matrix=confusion_matrix(judged.labels, found.argmax(axis=1), judged.classes),
        predictions=prediction_table(
            judged.paths,
            judged.rows["label"].tolist(),
            found,
            judged.classes,
            certainty_columns(calibration, found, judged.classes),
        ),
        judged=judged,
        figures=figures,
        note=_note(judged, of_run, metrics["never_recognized"]),
    )


def _with_labels(config: EvaluateConfig, evaluation: Evaluation, run: Run) -> Evaluation:
    """Adds what is found among all labels of the run, if that is asked for."""
    if not config.labels:
        return evaluation
    manifest, classes = load_run_manifest(run), load_classes(run)
    root = root_of(run, None if evaluation.judged.name.startswith("photos-") else config.data)
    check_same_images(manifest, root)
    labels = look_at_labels(run, manifest, root, classes)
    content = {"images": labels.images, "issues": len(labels.table), "pairs": [pair.as_dict() for pair in labels.pairs]}
    return replace(evaluation, labels=labels, metrics={**evaluation.metrics, "labels": content})


def _facts(config: EvaluateConfig, judged: Judged, of_run: _OfRun | None) -> pd.DataFrame | None:
    """Returns the properties by which the images are divided into parts; None where there are no photos."""
    if judged.root is None or "decoder" not in judged.rows:
        return None
    value_range = input_spec_of(of_run.known).value_range if of_run else UNKNOWN
    data = config.data or (read_config(of_run.known.config)["arguments"].get("data") if of_run else None)
    return facts_of(judged.rows, judged.root, value_range, data)


def check_folder(folder: Path) -> None:
    """Checks that a folder can take an evaluation, and has no other files.

    Raises:
        UserError: It cannot be written, or it has files of another kind.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file; --out names the folder for the evaluation")
    if folder.exists() and any(folder.iterdir()) and not (folder / "predictions.csv").exists():
        raise UserError(f"{str(folder)!r} has files that are of no evaluation; choose another --out")
    try_place(folder, f"the evaluation {str(folder)!r}")


def _looks(config: EvaluateConfig) -> Looks:
    return Looks(config.mirror, config.crops, config.scales or ())


@contextmanager
def _taken(run: Run, folder: Path) -> Iterator[None]:
    """Keeps other processes from writing the folder of an evaluation for the `with` block."""
    if folder.is_relative_to(run.path):
        with locked_part(run, folder):
            yield
    else:
        check_folder(folder)
        yield


def _note(judged: Judged, of_run: _OfRun | None, missed: list[dict[str, Any]]) -> str:
    """Returns what a reader must know beside the figures."""
    notes = list(judged.notes)
    if of_run is None:
        return "\n".join([*notes, *([f"warning: {missed_in_words(missed, judged.name, {})}"] if missed else [])])
    run, split, calibration = of_run.known, judged.name, of_run.calibration
    if not _is_new(run, split):
        notes.append(f"the model was fitted to images of {split}: {_NOT_NEW}")
    if learned := learned_from(run):
        notes.append(f"the model has learned from {learned}; {chosen_in_words(run)}")
    if of_run.state.text:
        notes.append(f"{of_run.state.text}; these figures are of its best model so far")
    if calibration is not None:
        where = f"{calibration.images} images of {calibration.fitted_on}"
        notes.append(f"calibrated: temperature {calibration.temperature:.3g}, from {where}")
    if missed:
        notes.append(f"warning: {missed_in_words(missed, split, read_config(run.config).get('recipe') or {})}")
    return "\n".join(notes)


def _is_new(run: Run, split: str) -> bool:
    """Returns whether the model was not fitted to the images of a split.

    An imported network has no recipe, because it was not fitted to any images here.
    """
    recipe = read_config(run.config).get("recipe")
    return split not in SPLITS[:2] or not recipe or (split == "val" and not recipe.get("refit_head"))
