"""The verbs of the first minutes, as the command line calls them, and the run that it takes where none is named."""

import dataclasses
import glob
from pathlib import Path
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.setting import described
from pipelines.config.verbs import VERBS
from pipelines.console.quiet import imports
from pipelines.console.results import result
from pipelines.console.terminal import note_start

DONE = 0


def add_run(verb: str, given: dict[str, Any]) -> None:
    """Adds the newest finished run to the settings of a verb that wants one and was given none, and says which.

    Args:
        verb: Name of the verb.
        given: Settings from the command line, which are changed.

    Raises:
        UserError: There is no finished run.
    """
    if not any(each.name == "run" and each.setting.positional for each in described(VERBS[verb][1])):
        return
    if verb == "evaluate" and {"predictions", "model"} & set(given):  # these need no run
        return
    paths = given.get("paths")
    if "run" in given and paths is not None and _is_picture(given["run"]):
        given["paths"] = [given.pop("run"), *paths]
    if "run" not in given:
        from pipelines.runs.newest import newest_finished_run

        given["run"] = str(newest_finished_run().path)
        note_start(f"no run is named: {verb} takes the newest finished one, {given['run']}")


def run_for_training(config: FinetuneConfig) -> FinetuneConfig:
    """Returns the settings with the place of a new run, or of an unfinished one that has them, and says which."""
    from pipelines.runs.newest import new_run

    run = new_run(config.data, lambda arguments: arguments == config.as_arguments())
    note_start(f"no run is named: finetune {'continues' if run.config.exists() else 'makes'} {run.path}")
    return dataclasses.replace(config, run=str(run.path))


def run_in_json(run: Any) -> dict[str, Any]:
    """Returns what --json of a training prints: where the model is, and what validation says of it."""
    from pipelines.runs.state import progress_of

    progress = progress_of(run) or {}
    kept = {name: progress.get(f"best_{name}") for name in ("accuracy", "log_loss", "balanced_accuracy")}
    return {
        "run": str(run.path),
        "model": str(run.model),
        "finished": progress.get("finished"),
        "kept": progress.get("best"),
        "validation": {name: value for name, value in kept.items() if value is not None},
    }


def _is_picture(word: str) -> bool:
    """Returns whether the first of several words of predict is a picture already, and no run."""
    path = Path(word)
    return not (path / "config.json").exists() and (path.is_file() or (not path.exists() and bool(glob.glob(word))))


def _go(config: Any) -> int:
    from pipelines.data.find import check_exists

    check_exists(config.photos)
    with imports():
        from pipelines.go import go

    done = go(config)
    result(done.in_json)
    return DONE


def _demo(config: Any) -> int:
    with imports():
        from pipelines.demo import demo

    run = demo(Path(config.run), config.weights)
    result(lambda: run_in_json(run))
    return DONE


def _doctor(config: Any) -> int:
    note_start("looking at this machine …")
    from pipelines.doctor import doctor

    found = doctor(config)
    result(lambda: found)
    return DONE


def _push(config: Any) -> int:
    with imports():
        from pipelines.push import push

    address = push(config)
    result(lambda: {"run": config.run, "address": address})
    return DONE


def _completion(config: Any) -> int:
    from pipelines.completion import completion_script
    from pipelines.console.terminal import answer

    answer(completion_script(config.shell))
    return DONE


FIRST_STEPS = {"go": _go, "demo": _demo, "doctor": _doctor, "push": _push, "completion": _completion}
