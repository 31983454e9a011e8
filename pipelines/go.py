"""go: does the whole job on somebody's photos: it looks at them, fine-tunes, evaluates and exports."""

from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import pandas as pd

from pipelines.audit import AuditReport, add_losses, audit_report
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.first_steps import GoConfig
from pipelines.config.setting import absolute
from pipelines.console.clock import Stopwatch, in_minutes
from pipelines.console.escapes import visible
from pipelines.console.terminal import answer, quiet, say, warn
from pipelines.data.archives import is_archive, unpack, unpacked_from
from pipelines.data.find import ImageTable
from pipelines.data.manifest import look_at_images
from pipelines.data.split import with_test
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.images.free_space import check_disk, megabytes
from pipelines.report.evaluation_files import Evaluation
from pipelines.report.trackers import track_evaluation
from pipelines.runs.directory import Run, foreign_files, read_config
from pipelines.runs.files import write_text
from pipelines.runs.newest import new_run
from pipelines.training.estimate import Estimate, estimate
from pipelines.training.plan import Plan
from pipelines.training.setup import divide_images, make_plan
from pipelines.training.starting_weights import Start, choose_start
from resnet_tf.errors import UserError


@dataclass(frozen=True)
class Done:
    """What the whole job has made.

    Args:
        run: Finished run.
        evaluation: Its evaluation on new photos.
        saved_model: Folder of its SavedModel.
        sentence: How good it is, in one sentence.
    """

    run: Run
    evaluation: Evaluation
    saved_model: Path
    sentence: str

    def in_json(self) -> dict[str, Any]:
        """Returns what --json prints."""
        return {
            "run": str(self.run.path),
            "report": str(self.evaluation.report),
            "audit": str(self.run.path / "audit.html"),
            "saved_model": str(self.saved_model),
            "sentence": self.sentence,
            "metrics": self.evaluation.metrics,
        }


def go(config: GoConfig) -> Done:
    """Does the whole job, without a question.

    Args:
        config: Photos, and what is to be different from the usual.

    Returns:
        The run, its evaluation and its export.

    Raises:
        UserError: Something is wrong that the user can correct; nothing that was trained is lost.
    """
    stopwatch = Stopwatch()
    start = choose_start(config.arch, config.weights)
    run = _run_of(config, start)
    say(
        f"This looks at the photos, trains {start.arch} on them, evaluates it on photos that it has not seen, and "
        f"exports it.\nrun      {run.path}\nweights  {start.weights}: {start.reason}"
    )
    data = _data_of(Path(config.photos), run)
    looked = look_at_images(data, follow_links=config.follow_links)
    report = _audited(looked)
    if report.damages:
        warn("the photos have faults, which are named above; the training goes on with what can be used")
    training = _training(config, str(data), run, start)
    finetune(training if run.config.exists() else _planned(training, looked), stopwatch=stopwatch)
    write_text(run.path / "audit.html", report.html())
    evaluation = evaluate(run)
    if config.track:
        track_evaluation(config.track, run, evaluation.folder)
    done = Done(run, evaluation, export(run), sentence_of(evaluation))
    _say_end(done, report)
    return done


def sentence_of(evaluation: Evaluation) -> str:
    """Returns how good a run is: its accuracy with the 95 % interval, and the class that it knows least."""
    metrics = evaluation.metrics
    low, high = metrics["accuracy_ci95"]
    weakest = weakest_class(evaluation.per_class)
    found = f"weakest: {weakest}" if weakest else "no class was missed"
    return f"{metrics['accuracy']:.2f} ({low:.2f}–{high:.2f}) of new photos right; {found}"


def weakest_class(per_class: pd.DataFrame) -> str:
    """Returns the class with the lowest recall, of several the one with the most images; "" if none was missed."""
    seen = per_class[per_class["images"] > 0].sort_values(["recall", "images"], ascending=[True, False], kind="stable")
    return "" if seen.empty or seen["recall"].iloc[0] == 1.0 else str(seen["class"].iloc[0])


def _run_of(config: GoConfig, start: Start) -> Run:
    """Returns the run that is named, or an unfinished one of these photos with these settings, or a new one."""
    if config.run is not None:
        run = Run(Path(config.run))
        if not run.config.exists() and foreign_files(run):
            raise UserError(f"{config.run!r} exists and is no run directory; choose another --run")
        return run
    photos = Path(config.photos)

    def same(arguments: dict[str, Any]) -> bool:
        data = str(arguments.get("data", ""))
        ours = unpacked_from(Path(data), photos) if is_archive(photos) else data == absolute(config.photos)
        return ours and arguments == _training(config, data, Run(Path("run")), start).as_arguments()

    return new_run(config.photos, same)


def _data_of(photos: Path, run: Run) -> Path:
    """Returns the folder or table of the photos; an archive is unpacked beside the run first."""
    if not is_archive(photos):
        return photos
    if run.config.exists():
        return Path(read_config(run.config)["arguments"]["data"])
    return unpack(photos, run.path.with_name(f"{run.path.name}-photos"))


def _training(config: GoConfig, data: str, run: Run, start: Start) -> FinetuneConfig:
    return FinetuneConfig(
        data=data,
        run=str(run.path),
        arch=start.arch,
        weights=start.weights,
        image_size=config.image_size,
        minutes=config.minutes,
        follow_links=config.follow_links,
        track=config.track,
    )


def _audited(looked: ImageTable) -> AuditReport:
    """Says what a look at every photo has found."""
    table = replace(looked, images=looked.images.copy())
    add_losses(table.images, FinetuneConfig.range)
    report = AuditReport(str(looked.data), table, audit_report(table))
    say(str(report))
    return report


def _planned(training: FinetuneConfig, looked: ImageTable) -> Plan:
    """Returns the plan of a new run, and says what it will take; the audit has said already what the photos are."""
    with quiet():
        divided = divide_images(training, looked)
        manifest = with_test(divided, training.val_fraction, training.seed)
        plan = make_plan(training, find_manifest=lambda: manifest)
        takes = estimate(plan)
    if manifest is not divided:
        say("no folder is for the test, so that the validation photos judge, and some of the others choose")
    _say_what_it_takes(plan, takes)
    return plan


def _say_what_it_takes(plan: Plan, takes: Estimate) -> None:
    folder = next(folder for folder in Path(plan.config.run).absolute().parents if folder.exists())
    check_disk(takes.disk, folder, "the run")
    images = {split: len(rows) for split, rows in plan.rows.items()}
    say(
        f"\n{images['train']} photos to learn from, {images['val']} to choose by and {images['test']} to judge by: "
        f"about {_minutes(takes)} on this machine, and {megabytes(takes.disk)} on the disk"
    )


def _minutes(takes: Estimate) -> str:
    """Returns the time as one number of minutes, or two where it depends on how hard the photos are."""
    least, most = (max(1, round(seconds / 60)) for seconds in (takes.seconds, takes.most))
    return in_minutes(least) if least == most else f"{least} to {in_minutes(most)} (more, if the photos are hard)"


def _say_end(done: Done, report: AuditReport) -> None:
    run = quote(visible(str(done.run.path)))
    faults = "faults found" if report.damages else "no faults found"
    say(
        f"\nSavedModel  {done.saved_model}\n"
        f"photos      {(done.run.path / 'audit.html').resolve().as_uri()}  ({faults})\n"
        f"name others with `resnet-tf predict {run} FOLDER`"
    )
    answer(f"report      {done.evaluation.report.resolve().as_uri()}\n{done.sentence}")
