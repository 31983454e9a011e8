"""compare: whether one model is better than another on the same photos, and how certain that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.config.judging import CompareConfig, EvaluateConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say
from pipelines.evaluate import judge
from pipelines.evaluation.comparison import Comparison, compared
from pipelines.evaluation.metrics import confusion_matrix
from pipelines.evaluation.sides import Answered, SamePhotos, read_answers, same_photos
from pipelines.evaluation.slices import holm
from pipelines.report.comparison_page import comparison_page
from pipelines.runs.directory import Run, finished_run
from pipelines.runs.files import read_json, sha256, try_place, write_csv, write_json, write_text
from resnet_tf.errors import UserError


@dataclass(frozen=True)
class Compared:
    """A comparison with what is written of it.

    Args:
        folder: Folder with comparison.json, differences.csv, changed.csv and report.html.
        comparison: The comparison.
        matrix: Counts of the second side's confusion matrix less those of the first.
        changed: Photos that the two sides name differently.
        note: What a reader must know, or "".
    """

    folder: Path
    comparison: Comparison
    matrix: pd.DataFrame
    changed: pd.DataFrame
    note: str

    def __str__(self) -> str:
        """Returns the sentence, and the figures in a table."""
        lines = [self.comparison.in_words()]
        for name, figure in self.comparison.figures.items():
            low, high = figure.ci95
            spread = "" if figure.spread is None else f"  seeds ±{figure.spread[0]:.4f} and ±{figure.spread[1]:.4f}"
            lines.append(
                f"  {name.replace('_', ' '):<18} {figure.a:.4f} → {figure.b:.4f}  {figure.difference:+.4f} "
                f"({low:+.4f} to {high:+.4f}){spread}"
            )
        counts = f"{self.comparison.only_a_right} photos only by {self.comparison.names[0]}"
        lines.append(f"  named rightly: {counts}, {self.comparison.only_b_right} only by {self.comparison.names[1]}")
        return "\n".join([*lines, *([self.note] if self.note else [])])


def compare(config: CompareConfig) -> list[Compared]:
    """Compares models on the photos that all of them were evaluated on, and writes a folder for each comparison.

    A run that was not evaluated on the split is evaluated first.

    Args:
        config: Models to compare: every other one with the first, or one side of several seeds with another side.

    Returns:
        The comparisons.

    Raises:
        UserError: There are fewer than two models, they were evaluated on different photos, or their classes differ.
    """
    paths = [*config.runs, *(config.against or ())]
    _check_different(paths)
    names = _names(paths)
    with Interrupts():
        answers = [_answers(name, Path(path), config) for name, path in zip(names, paths, strict=True)]
        photos = same_photos(answers)
        results = _results(config, answers, photos)
        for result in results:
            _write(result, answers[0])
            say(str(result))
            say(f"report: {result.folder / 'report.html'}")
    return results


def _results(config: CompareConfig, answers: list[Answered], photos: SamePhotos) -> list[Compared]:
    count = len(config.runs)
    if config.against:
        pairs = [(list(range(count)), list(range(count, len(answers))))]
    else:
        pairs = [([0], [other]) for other in range(1, count)]
    comparisons = []
    for first, second in pairs:
        names = _side_name(answers, first), _side_name(answers, second)
        sides = [photos.probabilities[number] for number in first], [photos.probabilities[number] for number in second]
        comparisons.append(compared(names, sides, photos.labels, photos.groups))
    if len(pairs) > 1:
        corrected = holm([comparison.mcnemar_p for comparison in comparisons])
        comparisons = [replace(each, adjusted_p=p) for each, p in zip(comparisons, corrected, strict=True)]
    results = []
    for comparison, (first, second) in zip(comparisons, pairs, strict=True):
        folder = _folder(config, answers[second[0]], several=len(pairs) > 1)
        matrix, changed = _differences(photos, first[0], second[0])
        results.append(Compared(folder, comparison, matrix, changed, photos.note))
    return results


def _answers(name: str, path: Path, config: CompareConfig) -> Answered:
    """Returns the answers of a run, which is evaluated if need be, or those in a folder of an evaluation."""
    if (path / "predictions.csv").is_file() and not (path / "config.json").is_file():
        return read_answers(name, path)
    run = finished_run(path)
    folder = run.evaluation(config.split)
    if not _is_of_present_model(run, folder):
        say(f"{path} is evaluated on {config.split} first")
        judge(EvaluateConfig(str(path), split=config.split))
    return read_answers(name, folder)


def _is_of_present_model(run: Run, folder: Path) -> bool:
    """Returns whether an evaluation is there and is that of the run's model with one look at each image."""
    try:
        metrics = read_json(folder / "metrics.json")
        usual = not (metrics["mirror"] or metrics.get("crops", 1) > 1 or metrics.get("scales"))
        return usual and metrics["model_sha256"] == sha256(run.model) and (folder / "photos.csv").is_file()
    except (UserError, KeyError, TypeError, AttributeError):
        return False


def _differences(photos: SamePhotos, first: int, second: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the matrix of differences, and the photos whose named class changed; those that got worse come first."""
    probabilities = photos.probabilities[first], photos.probabilities[second]
    a, b = (found.argmax(axis=1) for found in probabilities)
    matrices = [confusion_matrix(photos.labels, predicted, photos.classes) for predicted in (a, b)]
    changed = np.flatnonzero(a != b)
    right_a, right_b = (a == photos.labels)[changed], (b == photos.labels)[changed]
    kinds = np.where(right_a, "now wrong", np.where(right_b, "now right", "wrong in another way"))
    names = np.array(photos.classes, dtype=object)
    table = pd.DataFrame(
        {
            "path": [photos.paths[number] for number in changed],
            "label": names[photos.labels[changed]],
            "a_predicted": names[a[changed]],
            "a_confidence": probabilities[0].max(axis=1)[changed],
            "b_predicted": names[b[changed]],
            "b_confidence": probabilities[1].max(axis=1)[changed],
            "change": kinds,
        }
    )
    order = {"now wrong": 0, "now right": 1, "wrong in another way": 2}
    table = table.sort_values(["change", "b_confidence"], key=lambda v: v.map(order) if v.name == "change" else -v)
    return matrices[1] - matrices[0], table.reset_index(drop=True)


def _write(result: Compared, first: Answered) -> None:
    folder = result.folder
    (folder / "comparison.json").unlink(missing_ok=True)  # until the tables beside it are those of this comparison
    write_csv(folder / "differences.csv", result.matrix, index=True)
    write_csv(folder / "changed.csv", result.changed)
    note = {"note": result.note} if result.note else {}
    write_json(folder / "comparison.json", {**result.comparison.as_dict(), **note})
    page = comparison_page(result.comparison, result.matrix, result.changed, result.note, _root(first))
    write_text(folder / "report.html", page)


def _root(answered: Answered) -> Path | None:
    """Returns the folder of a model's photos, if it is known and still there."""
    root = read_json(answered.folder / "metrics.json").get("root")
    return Path(root) if isinstance(root, str) and Path(root).is_dir() else None


def _folder(config: CompareConfig, second: Answered, *, several: bool) -> Path:
    """Returns the folder of a comparison, after a look whether it can be written."""
    if config.out is not None:
        folder = Path(config.out) / second.name if several else Path(config.out)
    else:
        run = Path(config.runs[0])
        folder = run / "comparison" / second.name
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{str(folder)!r} is a file; --out names the folder for the comparison")
    if folder.exists() and any(folder.iterdir()) and not (folder / "changed.csv").exists():
        raise UserError(f"{str(folder)!r} has files that are of no comparison; choose another --out")
    try_place(folder, f"the comparison {str(folder)!r}")
    return folder


def _check_different(paths: Sequence[str]) -> None:
    if len(paths) < 2:
        raise UserError(f"compare needs two runs at least, received {paths[0]!r} alone")
    seen: dict[Path, str] = {}
    for path in paths:
        real = Path(path).resolve()
        if real in seen:
            raise UserError(f"{path!r} and {seen[real]!r} are one and the same; compare different runs")
        seen[real] = path


def _names(paths: Sequence[str]) -> list[str]:
    """Returns a short name of each model, by as much of its path as tells it from the others."""
    parts = [Path(path).resolve().parts for path in paths]
    length = 1
    while len({part[-length:] for part in parts}) < len(parts):
        length += 1
    return ["-".join(part.strip("/") or "root" for part in parts_of[-length:]) for parts_of in parts]


def _side_name(answers: list[Answered], numbers: list[int]) -> str:
    first = answers[numbers[0]].name
    return first if len(numbers) == 1 else f"{first} and {len(numbers) - 1} more"
