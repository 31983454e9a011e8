"""evaluate: writes metrics, predictions and the confusion matrix of one split, for a colleague to check."""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say
from pipelines.data.groups import tied_units
from pipelines.data.manifest import data_root, label_numbers
from pipelines.evaluation.baseline import majority_baseline
from pipelines.evaluation.integrity import check_same_images, load_run_manifest
from pipelines.evaluation.intervals import Answers, bootstrap_intervals
from pipelines.evaluation.metrics import confusion_matrix, most_confused, per_class, summarize
from pipelines.evaluation.missed import missed_in_words
from pipelines.evaluation.predictions import BATCH_SIZE, finished_run_for_all, prediction_table, probabilities_of
from pipelines.report.card import render_card
from pipelines.report.compose import Result, compose_report
from pipelines.report.figures import draw_confusion_matrix
from pipelines.report.gather import Judged
from pipelines.report.html import framed
from pipelines.report.page import render_page
from pipelines.runs.chosen_by import chosen_in_words, keep_figures, learned_from
from pipelines.runs.directory import Run, load_classes, read_config
from pipelines.runs.files import write_atomically, write_csv, write_json, write_text
from pipelines.runs.lock import locked_part
from pipelines.runs.state import RunState, state_of
from resnet_tf.errors import UserError
from resnet_tf.workers import check_settings, joined

MIRRORED = ", mirror images beside the images"
_NOT_NEW = "these figures say nothing of new ones"


@dataclass(frozen=True)
class Evaluation:
    """The evaluation of a finished run on a split.

    Args:
        run: Finished run.
        metrics: Content of metrics.json.
        confusion_matrix: Numbers of images; rows are the true classes, and columns are the predicted classes.
        predictions: Table with one row per image: path, label, predicted, confidence, and one column "p:CLASS" per
            class.
        note: Warning about the figures, or "".
    """

    run: Run
    metrics: dict[str, Any]
    confusion_matrix: pd.DataFrame
    predictions: pd.DataFrame
    note: str = ""

    @property
    def folder(self) -> Path:
        """Folder in which the run keeps the evaluation."""
        return self.run.evaluation(self.metrics["split"])

    @property
    def report(self) -> Path:
        """Path of the page report.html."""
        return self.folder / "report.html"

    @property
    def per_class(self) -> pd.DataFrame:
        """Table with the number of images, precision, recall and F1 of each class."""
        return per_class(self.confusion_matrix)

    def __str__(self) -> str:
        """Returns the most important figures in a dozen lines, and the note."""
        summary = summary_text(self.metrics, self.confusion_matrix)
        return f"{summary}\n{self.note}" if self.note else summary

    def _repr_html_(self) -> str:
        """Returns the report in a frame of its own, for notebooks."""
        return framed(self.report.read_text(encoding="utf-8"))


def evaluate(
    run: Run, split: str = "test", data: str | None = None, mirror: bool = False, strategy: str = "auto"
) -> Evaluation:
    """Predicts a split and writes the split's folder in the run.

    The folder contains metrics.json, predictions.csv, per_class.csv, confusion_matrix.csv, confusion_matrix.png,
    summary.txt, report.html and card.md.

    Args:
        run: Finished run.
        split: Name of the split, "train", "val" or "test".
        data: Folder or CSV where the images are now; None if they have not moved.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        strategy: Name of the devices that compute, as in `pipelines.config.finetune.FinetuneConfig`.

    Returns:
        The evaluation of the split.

    Raises:
        UserError: The run is not finished, the split has no images, or an image is missing or can no longer be read.
    """
    with joined(strategy) as workers, Interrupts(), finished_run_for_all(run, workers) as known, ExitStack() as folder:
        if workers.chief:
            folder.enter_context(locked_part(run, run.evaluation(split)))
        check_settings(workers, {"command": "evaluate", "split": split, "mirror": mirror})
        classes, rows = load_classes(known), _rows(known, split, run)
        state = RunState(**workers.from_chief(lambda: asdict(state_of(run))))
        root = _root(known, data)
        check_same_images(workers.part_of(rows, BATCH_SIZE), root)
        label, trained_on = f"evaluated on {split}", learned_from(known)
        found = probabilities_of(rows, root, known, workers, strategy=strategy, mirror=mirror, label=label)
        labels = label_numbers(rows, classes)
        metrics = {
            **summarize(labels, found, classes),
            **_intervals(labels, found, tied_units(rows["similar"], rows["group"])),
            "baseline": majority_baseline(labels, classes),
            "classes": classes,
            "split": split,
            "mirror": mirror,
            "finished": state.finished,
            **({"trained_on": trained_on} if trained_on else {}),
        }
        evaluation = Evaluation(
            run,
            metrics,
            confusion_matrix(labels, found.argmax(axis=1), classes),
            prediction_table(rows["path"].tolist(), rows["label"].tolist(), found, classes),
            _note(known, split, state, metrics["never_recognized"]),
        )
        if workers.chief:
            _write(evaluation, known, Judged(rows, root, labels, found))
            keep_figures(run)
    if workers.chief:
        say(str(evaluation))
        say(f"report: {evaluation.report}")
    return evaluation


def _write(evaluation: Evaluation, known: Run, judged: Judged) -> None:
    """Writes the folder of the split: the numbers first, and then what is made of them for people."""
    metrics, matrix, folder = evaluation.metrics, evaluation.confusion_matrix, evaluation.folder
    (folder / "metrics.json").unlink(missing_ok=True)  # until the numbers beside it are those of this evaluation
    write_csv(folder / "predictions.csv", evaluation.predictions)
    write_csv(folder / "per_class.csv", evaluation.per_class)
    write_csv(folder / "confusion_matrix.csv", matrix, index=True)
    write_json(folder / "metrics.json", metrics)
    write_text(folder / "summary.txt", f"{evaluation}\n")
    name = evaluation.run.path.resolve().name
    title = f"{name}, {metrics['split']}" + (MIRRORED if metrics["mirror"] else "")
    write_atomically(folder / "confusion_matrix.png", lambda path: draw_confusion_matrix(matrix, path, title))
    report = compose_report(known, judged, Result(title, metrics, matrix, evaluation.predictions, evaluation.note))
    write_text(folder / "card.md", render_card(report))
    write_text(folder / "report.html", render_page(report))


def summary_text(metrics: dict, matrix: pd.DataFrame) -> str:
    """Returns the most important figures in a dozen lines."""
    low, high = metrics["accuracy_ci95"]
    lines = [
        f"{metrics['split']}{MIRRORED if metrics['mirror'] else ''}: "
        f"{metrics['n']} images, {len(metrics['classes'])} classes",
        f"accuracy           {metrics['accuracy']:.4f}  (95 % interval {low:.4f} to {high:.4f})",
        f"top-5 accuracy     {metrics['top5_accuracy']:.4f}",
        f"balanced accuracy  {metrics['balanced_accuracy']:.4f}",
        f"macro F1           {metrics['macro_f1']:.4f}",
        f"Cohen's kappa      {metrics['cohen_kappa']:.4f}",
        f"log loss           {metrics['log_loss']:.4f}",
        f"calibration error  {metrics['ece']:.4f}",
    ]
    pairs = most_confused(matrix)
    lines.append("most confused:" if pairs else "nothing was confused")
    lines += [f"  {true} taken for {taken}: {count} of {images}" for true, taken, count, images in pairs]
    empty = [name for name, images in matrix.sum(axis=1).items() if images == 0]
    lines += [f"no images here of: {', '.join(map(str, empty))}"] if empty else []
    return "\n".join(lines)


def _intervals(labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray) -> dict[str, list[float]]:
    """Returns the intervals of the metrics by their names in metrics.json. That of the accuracy is Wilson's."""
    found = bootstrap_intervals(Answers(labels, probabilities), groups)
    return {f"{name}_ci95": interval for name, interval in found.items() if name != "accuracy"}


def _rows(known: Run, split: str, run: Run) -> pd.DataFrame:
    manifest = load_run_manifest(known)
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    if rows.empty and (learned := learned_from(known)):
        raise UserError(
            f"{str(run.path)!r} has learned from {learned}, so that {split!r} has no image to evaluate it on; "
            f"{chosen_in_words(known)}"
        )
    if rows.empty:
        others = ", ".join(sorted(manifest["split"].unique())) or "none at all"
        raise UserError(f"the run {str(run.path)!r} has no images in the split {split!r}; it has {others}")
    return rows


def _note(run: Run, split: str, state: RunState, missed: list[dict[str, Any]]) -> str:
    """Returns what a reader must know beside the figures."""
    notes = [] if _is_new(run, split) else [f"the model was fitted to images of {split}: {_NOT_NEW}"]
    if learned := learned_from(run):
        notes.append(f"the model has learned from {learned}; {chosen_in_words(run)}")
    if state.text:
        notes.append(f"{state.text}; these figures are of its best model so far")
    if missed:
        notes.append(f"warning: {missed_in_words(missed, split, read_config(run.config).get('recipe') or {})}")
    return "\n".join(notes)


def _is_new(run: Run, split: str) -> bool:
    """Returns whether the model was not fitted to the images of a split.

    An imported network has no recipe, because it was not fitted to any images here.
    """
    recipe = read_config(run.config).get("recipe")
    return split == "test" or not recipe or (split == "val" and not recipe.get("refit_head"))


def _root(run: Run, data: str | None) -> Path:
    if data is not None and not Path(data).exists():
        raise UserError(f"there is nothing at {data!r}; --data names the folder, or the table, of the images")
    return data_root(read_config(run.config)["arguments"]["data"] if data is None else data)
