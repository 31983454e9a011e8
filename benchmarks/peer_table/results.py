"""The results of all trainings in one file, results.jsonl, to which each training adds the lines of its rows."""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = "results.jsonl"
Key = tuple[str, int, int, str, int]


@dataclass(frozen=True)
class Result:
    """One row of one training, or the reason why there is none.

    Args:
        data: Name of the data set.
        fold: Number of the fold that is the test.
        folds: Number of folds.
        method: Name of the row.
        title: First cell of the row in the table.
        seed: Seed of the training.
        reason: Reason of a failure, "" if there is none.
        predictions: Path of the predictions, relative to the file of results, "" after a failure.
        listing: Path of the listing of the fold's images, relative to the file of results.
        training_seconds: Seconds from the start of the command to a trained model; None after a failure.
        prediction_seconds: Seconds of prediction of the test images; None after a failure.
        figures: Number of test images, accuracy, balanced accuracy and log loss of this fold alone.
        options: Settings of the method.
        processor_seconds: Seconds of all cores together, of training and prediction. Other work on the machine changes
            them much less than it changes the other two. None after a failure, and in older results.
    """

    data: str
    fold: int
    folds: int
    method: str
    title: str
    seed: int
    reason: str
    predictions: str
    listing: str
    training_seconds: float | None
    prediction_seconds: float | None
    figures: dict[str, float]
    options: dict[str, Any]
    processor_seconds: float | None = None

    @property
    def key(self) -> Key:
        """What only one result may have; a later one replaces an earlier one."""
        return self.data, self.fold, self.folds, self.method, self.seed


def read_results(folder: Path) -> dict[Key, Result]:
    """Returns all results of a folder, in the order in which their trainings first ended."""
    path = folder / RESULTS
    results = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        with suppress(json.JSONDecodeError):  # a process that was killed leaves a part of a line
            result = Result(**json.loads(line))
            results[result.key] = result
    return results


def add_results(folder: Path, results: list[Result]) -> None:
    """Adds results in one piece, so that several processes may add to one file."""
    path = folder / RESULTS
    torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
    text = "".join(json.dumps(asdict(result)) + "\n" for result in results)
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" * torn + text)
