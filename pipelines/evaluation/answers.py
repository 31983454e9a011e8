"""Answers of a finished run for a stream of pictures, of which only some batches are in memory at a time."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from threading import Event
from typing import Any

import numpy as np

from pipelines.data.looked_at import LookedAt
from pipelines.data.value_range import ValueRange
from pipelines.evaluation.inference import Inference
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.predictions import (
    BATCH_SIZE,
    certainty_columns,
    input_spec_of,
    probabilities_from,
    probability_columns,
)
from pipelines.evaluation.run_calibration import RunCalibration, temperature_of
from pipelines.images.files_ahead import Group, decoded, readable
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run
from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.workers import Workers

# Groups that each of several workers computes before they exchange their answers.
_GROUPS_PER_WORKER = 16
_SENT = ("name", "stamp", "reason", "path", "decoder", "orientation", "stored_values")


@dataclass(frozen=True)
class Answers:
    """What the network says of one group of pictures.

    Args:
        group: The pictures in order, also those that could not be read.
        probabilities: float64 [n, classes], of the readable ones.
    """

    group: Group
    probabilities: np.ndarray

    @property
    def names(self) -> list[str]:
        """Names of the readable pictures."""
        return [picture.name for picture in readable(self.group)]


class Network:
    """A run's network with what it wants to see. All workers must make it and call it together.

    Args:
        run: Finished run.
        workers: All workers.
        strategy: Name of the devices that compute, see `choose_strategy`.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
    """

    def __init__(self, run: Run, workers: Workers, strategy: str, mirror: bool) -> None:
        devices = workers.strategy or choose_strategy(strategy)
        with scope(devices):
            model, self.classes = load_network(run)
            self._inference = Inference(model, mirror, devices, temperature_of(run))
        self._workers = workers
        self.spec: InputSpec = input_spec_of(run)

    def answers(self, groups: Iterator[Group], stop: Event | None = None) -> Generator[Answers]:
        """Yields the answers for groups of pictures in order; see `pipelines.data.looked_at.grouped`.

        Args:
            groups: Groups of `BATCH_SIZE` readable pictures; workers other than the chief have none.
            stop: Event that is set when nobody wants groups any more, see `pipelines.images.files_ahead.decoded`.

        Raises:
            LostImage: A picture that was readable is so no more.
            UserError: The network gives no numbers.
        """
        found = self._outputs(groups, stop) if self._workers.alone else self._outputs_of_all(groups)
        with closing(found):
            for group, logits in found:
                yield Answers(group, probabilities_from(logits))

    def _outputs(self, groups: Iterator[Group], stop: Event | None = None) -> Generator[tuple[Group, np.ndarray]]:
        """Yields the logits of groups, float32 [n, classes], as this process computes them."""
        computed, empty = deque[Group](), list[Group]()

        def batches() -> Iterator[Any]:
            for group, images in of_files:
                (empty if images is None else computed).append(group)
                if images is not None:
                    yield images

        with closing(decoded(groups, self.spec, BATCH_SIZE, stop)) as of_files:
            for logits in self._inference.each(batches()):
                yield computed.popleft(), logits.numpy().astype(np.float32)
        for group in empty:
            yield group, np.zeros((0, len(self.classes)), np.float32)

    def _outputs_of_all(self, groups: Iterator[Group]) -> Generator[tuple[Group, np.ndarray]]:
        """Yields the same from all workers, each of which computes consecutive groups of some that the chief sends."""
        while several := self._sent(groups):
            rows = [picture for group in several for picture in readable(group)]
            begin, end = self._workers.part(len(rows), BATCH_SIZE)
            mine = (rows[first : first + BATCH_SIZE] for first in range(begin, end, BATCH_SIZE))
            found = [logits for _, logits in self._outputs(mine)]
            own = np.concatenate([np.zeros((0, len(self.classes)), np.float32), *found])
            logits = self._workers.together(own, len(rows), BATCH_SIZE)
            ends = np.cumsum([len(readable(group)) for group in several])
            yield from zip(several, np.split(logits, ends[:-1]), strict=True)

    def _sent(self, groups: Iterator[Group]) -> list[Group]:
        """Collective: returns the chief's next groups on all workers; none at the end."""

        def make() -> list[list[list[Any]]]:
            several = islice(groups, _GROUPS_PER_WORKER * self._workers.count)
            return [[[getattr(picture, name) for name in _SENT] for picture in group] for group in several]

        return [[LookedAt(*facts) for facts in group] for group in self._workers.from_chief(make)]


class Rows:
    """Makes rows of a table of predictions, in the order of `pipelines.evaluation.predictions.prediction_table`.

    Args:
        classes: Names of the classes, in the order of the probabilities.
        calibration: Calibration of the run, or None.
        level: Probability with which a set contains the true class, or None.
    """

    def __init__(self, classes: list[str], calibration: RunCalibration | None, level: float | None) -> None:
        self.classes, self._calibration, self._level = classes, calibration, level
        more = certainty_columns(calibration, np.full((1, len(classes)), 1.0 / len(classes)), classes, level)
        self.columns = ["path", "predicted", "confidence", *more, *probability_columns(classes)]

    def certainty(self, answers: Answers) -> dict[str, list[str]]:
        """Returns the columns that say how sure the run is."""
        return certainty_columns(self._calibration, answers.probabilities, self.classes, self._level)

    def of(self, answers: Answers, certainty: dict[str, list[str]]) -> list[tuple[Any, ...]]:
        """Returns a row for each readable picture."""
        winners = answers.probabilities.argmax(axis=1)
        predicted = [self.classes[winner] for winner in winners]
        confidence = answers.probabilities.max(axis=1, initial=0.0).tolist()
        columns = [answers.names, predicted, confidence, *certainty.values()]
        return [(*cells, *each) for *cells, each in zip(*columns, answers.probabilities.tolist(), strict=True)]


def losses(answers: Answers, value_range: ValueRange) -> Iterator[str]:
    """Yields what the network did not see of pictures of more than 8 bits, one line for each of which it is much."""
    pictures = readable(answers.group)
    for picture, loss in zip(pictures, value_range.losses(each.stored_values for each in pictures), strict=True):
        if loss:
            yield f"{picture.name}: {loss}"
