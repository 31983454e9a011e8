"""predict: names the classes of pictures, with the same probabilities as evaluate.

Pictures are named, looked at, decoded, computed and written one batch after the other, so that a million of them needs
no more memory than some hundred.
"""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

import numpy as np

from pipelines.config.judging import PredictConfig
from pipelines.console.escapes import visible
from pipelines.console.rate import counted
from pipelines.console.results import result, wanted
from pipelines.console.signals import Interrupts
from pipelines.console.streams import write_to_standard_output
from pipelines.console.terminal import answer, say, warn
from pipelines.data.looked_at import Seen, grouped, looked_at, names_behind
from pipelines.data.picture_names import count_names, is_address, picture_names
from pipelines.data.value_range import ValueRange
from pipelines.evaluation.answer_files import AnswerFile, answer_file, check_out, json_lines_of, left_out_of
from pipelines.evaluation.answers import Answers, Network, Rows, losses
from pipelines.evaluation.predictions import BATCH_SIZE, check_level, finished_run_for_all, input_spec_of
from pipelines.evaluation.run_calibration import UNSURE, load_calibration
from pipelines.images.stream import InputSpec
from pipelines.runs.directory import Run, load_classes
from pipelines.runs.files import sha256
from pipelines.runs.state import state_of
from pipelines.runs.unfinished import Progress
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers, check_settings, joined

# With --out, so many answers are shown on the terminal as well, and so many warnings of each kind.
_SHOWN = 20


def predict(config: PredictConfig) -> bool:
    """Prints the likeliest classes of each picture, or writes all probabilities if a file for them is named.

    Args:
        config: Run, pictures, and which parts of the answer to show and write.

    Returns:
        Whether some pictures could not be read. A warning names the first of them, and they are left out.

    Raises:
        UserError: A path names nothing, none of the pictures can be read, or the file was begun by another command.
    """
    known = Run(Path(config.run))
    with joined(config.strategy) as workers, Interrupts(), finished_run_for_all(known, workers) as run:
        check_settings(workers, {"command": "predict", "mirror": config.mirror})
        if config.level is not None:  # before anything is computed
            check_level(load_calibration(run), config.level)
        total = workers.from_chief(lambda: _prepare(config, known))
        left_out = False
        if workers.chief:
            left_out = _as_chief(config, run, workers, total)
        else:
            for _ in Network(run, workers, config.strategy, config.mirror).answers(iter(())):
                pass
        return bool(workers.from_chief(lambda: left_out))


def _prepare(config: PredictConfig, run: Run) -> int | None:
    """Checks what was named and where answers go; only the chief does so.

    Returns:
        The number of pictures, None if that is not known beforehand.
    """
    if config.out:
        check_out(config.out)
    if unfinished := state_of(run).text:
        warn(f"{unfinished}; these are the answers of its best model so far")
    return count_names(config.paths, config.follow_links)


def _as_chief(config: PredictConfig, run: Run, workers: Workers, total: int | None) -> bool:
    """Predicts everything that is named, and returns whether some of it could not be read."""
    calibration = load_calibration(run)
    if calibration is not None:
        say(f"calibrated: temperature {calibration.temperature:.3g}; unsure below {calibration.threshold:.3g}")
    rows, spec = Rows(load_classes(run), calibration, config.level), input_spec_of(run)
    with TemporaryDirectory() as folder, _file(config, run, spec, rows.columns) as file:
        before, seen, stop = file.progress if file else Progress(), Seen(), Event()
        teller = _Teller(config, rows, spec.value_range, before)
        names = picture_names(config.paths, config.follow_links, config.null, stop)
        names = names if workers.alone else _files_alone(names)
        names = names_behind(names, before.names, before.sha256, seen)
        if before.names:
            say(f"continues {visible(config.out or '')}: {before.names:,} images are done")
        network = Network(run, workers, config.strategy, config.mirror)
        found = network.answers(grouped(looked_at(names, folder), BATCH_SIZE), stop)
        with closing(found), counted(_label(config), total, before.names) as count:
            for answers in found:
                teller.tell(answers, file, seen)
                count(len(answers.group))
        teller.check()
    teller.end()
    return teller.left_out > 0


def _files_alone(names: Iterator[str]) -> Iterator[str]:
    """Passes names on that all workers can read.

    Raises:
        UserError: One of them is an address, whose picture the chief alone would have.
    """
    for name in names:
        if is_address(name):
            raise UserError(f"several workers fetch no addresses, received {name!r}; give --strategy one")
        yield name


def _file(
    config: PredictConfig, run: Run, spec: InputSpec, columns: list[str]
) -> AbstractContextManager[AnswerFile | None]:
    """Returns the file that takes the answers, None where the terminal takes them."""
    if not config.out:
        return nullcontext()
    calibration = sha256(run.calibration) if run.calibration.is_file() else ""
    made_by = {
        "model": [sha256(run.model), sha256(run.classes), calibration, str(spec)],
        "--mirror": config.mirror,
        "--set": config.level,
    }
    return answer_file(config.out, columns, made_by)


def _label(config: PredictConfig) -> str:
    """Returns the label of the progress bar; answers that are printed as they come need none."""
    return "predicted" if config.out or wanted() else ""


class _Teller:
    """Tells of answers as they come: writes them, shows some or all, and names what was left out.

    Args:
        config: What to show.
        rows: Makes rows of answers.
        value_range: Range of images of more than 8 bits.
        before: What earlier commands have done.
    """

    def __init__(self, config: PredictConfig, rows: Rows, value_range: ValueRange, before: Progress) -> None:
        self._config, self._rows, self._value_range = config, rows, value_range
        self._answered, self.left_out = before.rows, before.left_out
        self._lines: list[str] = []  # the first answers, where a file has them all
        self._shown, self._losses, self._first = before.rows, 0, ""

    def tell(self, answers: Answers, file: AnswerFile | None, seen: Seen) -> None:
        """Tells of one group of pictures."""
        certainty = self._rows.certainty(answers)
        rows = self._rows.of(answers, certainty)
        left_out = [(picture.name, picture.reason) for picture in answers.group if picture.reason]
        self._warn(answers, left_out)
        for picture in answers.group:
            seen.add(picture.name, picture.stamp)
            picture.forget()
        if file is not None:
            file.append(rows, left_out, seen.names, seen.sha256)
            if (room := _SHOWN - len(self._lines) - self._shown) > 0:
                self._lines += self._top(answers, certainty)[:room]
        elif wanted():
            write_to_standard_output(json_lines_of(answers.group, self._rows.columns, rows))
        elif rows:
            answer("\n".join(self._top(answers, certainty)))
        self._answered += len(rows)
        self.left_out += len(left_out)

    def check(self) -> None:
        """Checks that there was an answer.

        Raises:
            UserError: Nothing that was named could be read.
        """
        if not self._answered + self.left_out:
            raise UserError("no name came on standard input; give one a line, or with --null one before each NUL")
        if not self._answered:
            raise UserError(f"not one of the {self.left_out} files is a readable image, such as {self._first!r}")

    def end(self) -> None:
        """Says where the answers are, and what is not in them."""
        config = self._config
        if self.left_out > _SHOWN:
            warn(f"{self.left_out:,} images were left out{_list_of(config.out)}")
        if self._losses > _SHOWN:
            warn(f"of {self._losses:,} images the network did not see everything; the first {_SHOWN} were named")
        if config.out:
            say(f"wrote {visible(config.out)}")
            hidden = self._answered - len(self._lines)
            if self._lines:
                say("\n".join([*self._lines, *([f"… and {hidden:,} more in {visible(config.out)}"] if hidden else [])]))
            content = {"run": config.run, "out": config.out, "images": self._answered, "left_out": self.left_out}
            result(lambda: content)

    def _warn(self, answers: Answers, left_out: list[tuple[str, str]]) -> None:
        """Names what was left out and what the network does not see, unless that was much already."""
        for number, (name, reason) in enumerate(left_out, self.left_out + 1):
            self._first = self._first or name
            if number <= _SHOWN:
                warn(f"left out: {name} ({reason})")
        for loss in losses(answers, self._value_range):
            self._losses += 1
            if self._losses <= _SHOWN:
                warn(loss)

    def _top(self, answers: Answers, certainty: dict[str, list[str]]) -> list[str]:
        """Returns a line with the likeliest classes of each picture."""
        classes, lines = self._rows.classes, []
        best = np.argsort(-answers.probabilities, axis=1, kind="stable")[:, : self._config.top]
        for row, name in enumerate(answers.names):
            named = [f"{visible(classes[place])} {answers.probabilities[row, place]:.4f}" for place in best[row]]
            if certainty and certainty["decision"][row] == UNSURE:
                named.append(UNSURE)
            if "set" in certainty:
                named.append(f"set: {', '.join(map(visible, json.loads(certainty['set'][row])))}")
            lines.append("  ".join([visible(name), *named]))
        return lines


def _list_of(out: str | None) -> str:
    """Returns where all pictures are named that were left out, in words."""
    if out and left_out_of(Path(out)).is_file():
        return f"; {visible(str(left_out_of(Path(out))))} has all of them, with the reasons"
    return f"; the first {_SHOWN} were named"
