"""finetune: trains on a folder of images, and keeps the best model by validation in a run directory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from pipelines.config.finetune import FinetuneConfig
from pipelines.console.clock import Stopwatch
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say, warn
from pipelines.evaluation.integrity import load_run_manifest
from pipelines.images.cache import remove_cache
from pipelines.recipe.earlier import Earlier, earlier_for_all, read_earlier
from pipelines.report.curves import CurvesFile
from pipelines.report.trackers import check_tracker, following
from pipelines.runs.chosen_by import chosen_in_words, keep_figures, learned_from
from pipelines.runs.directory import Run, check_writable, foreign_files
from pipelines.runs.lock import locked
from pipelines.training.all_layers import Collapsed, assign_average, train_all_layers
from pipelines.training.calibrate import calibrate, take_calibration
from pipelines.training.checkpoint import (
    Progress,
    checkpoint_for_all,
    load_start,
    restore,
    save_start,
    values_of,
)
from pipelines.training.continuation import check_choice, check_moved, check_same_settings
from pipelines.training.everything import check_same_choice, learn_from_all, plan_for_all
from pipelines.training.head import fit_head
from pipelines.training.look import informed_trainer
from pipelines.training.network import build_trainer
from pipelines.training.plan import Plan
from pipelines.training.setup import make_plan, write_plan
from pipelines.training.timed_end import TimedEnd
from pipelines.training.training_run import TrainingRun, what_is_kept, what_is_missed
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers, check_settings, joined

__all__ = ["Collapsed", "finetune"]

# Shares of the trained weights in the averages with the weights from before training. The scores of the shares 0 and 1
# are already known.
AVERAGED_SHARES = (0.25, 0.5, 0.75)


def finetune(asked: FinetuneConfig | Plan, repeated: Earlier | None = None, stopwatch: Stopwatch | None = None) -> Run:
    """Fits a classifier to the user's images.

    First the plan is made: the images are inspected and divided, and everything else is decided. Then the network is
    built, and its weights are loaded. The head is fitted to the frozen backbone's features. All layers except the
    frozen stages are trained from there. If validation says so, their weights are averaged with those from before.
    Once the head is fitted, the run directory contains the best model at every moment.

    With `use_all`, what was chosen is repeated on all images, in a run directory of its own inside of the run's.

    Args:
        asked: Settings, or a plan that was made from them. The same settings on an unfinished run continue it.
        repeated: Run whose decisions are repeated if the settings leave them open, or None. A run that is continued
            repeats its own decisions.
        stopwatch: Stopwatch that runs since the command began, for --minutes; None starts one now.

    Returns:
        The run.

    Raises:
        UserError: Something is wrong that the user can correct; nothing that was trained is lost.
        Collapsed: The loss became NaN, or the accuracy fell to chance.
        KeyboardInterrupt: Ctrl-C was pressed; or SIGTERM was received, which raises `Terminated`. What was trained
            until then is saved.
    """
    config = asked.config if isinstance(asked, Plan) else asked
    stopwatch = stopwatch or Stopwatch()
    check_tracker(config.track)
    with joined(config.strategy) as workers, Interrupts() as interrupts:
        check_settings(workers, {"command": "finetune", "use_all": config.use_all})
        run = Run(Path(config.run), writable=workers.chief)
        with _taken(run, lambda: check_same_settings(run, config)):
            progress = _train_and_choose(run, asked, repeated, workers, interrupts, stopwatch)
            if config.use_all:
                _repeat_on_all(run, _plan(run, config, None, workers), progress, interrupts)
    return run


def _train_and_choose(
    run: Run,
    asked: FinetuneConfig | Plan,
    repeated: Earlier | None,
    workers: Workers,
    interrupts: Interrupts,
    stopwatch: Stopwatch,
) -> Progress:
    """Trains and chooses by validation. Returns the progress at the end; a finished run stays as it is."""
    checkpoint = checkpoint_for_all(run, workers)
    progress = checkpoint.progress if checkpoint else Progress()
    stopwatch.before = progress.spent
    if progress.finished:
        remove_cache(run.cache)
        config = asked.config if isinstance(asked, Plan) else asked
        say(f"{run.path} is finished ({progress.finished}){'' if config.use_all else '; nothing is left to do'}")
        return progress
    with _told_how_to_continue(lambda: what_is_kept(run, progress)):
        plan = _plan(run, asked, repeated, workers)
        check_choice(run, progress, plan.recipe.choose_by)
        trainer = informed_trainer(plan, stopwatch)
        plan = trainer.plan
        write_plan(run, plan)
        _say_plan(plan)
        trainer = trainer.with_cache(run.cache)
        curves, tell = CurvesFile(run.curves, plan.summary()), following(plan.config.track, run)

        def show(progress: Progress, at_end: bool) -> None:
            curves.draw(progress, at_end)
            tell()

        _train(TrainingRun(run, trainer, progress, interrupts, show, checkpoint, stopwatch))
    return progress


def _repeat_on_all(run: Run, plan: Plan, chosen: Progress, interrupts: Interrupts) -> None:
    """Trains once more, on all images, as a finished run has chosen. Nothing in the run itself changes.

    Args:
        run: Finished run, which is locked.
        plan: Its plan.
        chosen: Its progress at the end.
        interrupts: Signals that are held while layers are trained.
    """
    plan, there = plan_for_all(plan, run, chosen), run.all
    with (
        _taken(there, lambda: check_same_choice(there, plan)),
        _told_how_to_continue(lambda: f"{run.path} is finished, and {there.path} is not"),
    ):
        checkpoint = checkpoint_for_all(there, plan.devices.workers)
        progress = checkpoint.progress if checkpoint else Progress()
        if not progress.finished:
            write_plan(there, plan)
            say(f"{there.path}: {plan}")
            trainer = build_trainer(plan).with_cache(there.cache)
            curves = CurvesFile(there.curves, plan.summary())
            learn_from_all(TrainingRun(there, trainer, progress, interrupts, curves.draw, checkpoint))
            take_calibration(there, run)
        remove_cache(there.cache)
        if run.writable:
            keep_figures(run)
            command = f"resnet-tf evaluate {quote(str(there.path))}"
            figures = "no figure is of it" if plan.rows["test"].empty else f"`{command}` gives its figures on the test"
            say(f"{there.path} has learned from {learned_from(there)}; {figures}; {chosen_in_words(there)}")


@contextmanager
def _told_how_to_continue(what_is_there: Callable[[], str]) -> Iterator[None]:
    """Says with a KeyboardInterrupt of the `with` block what is there, and that the same command continues."""
    try:
        yield
    except KeyboardInterrupt as reason:
        text = f"{str(reason) or 'interrupted'}; {what_is_there()}; the same command continues"
        raise type(reason)(text) from reason


@contextmanager
def _taken(run: Run, check_existing: Callable[[], None]) -> Iterator[None]:
    """Locks the run directory for the `with` block, if this process writes it.

    Args:
        run: Run whose place must be free, or which is checked if it exists.
        check_existing: Function that checks whether an existing run may be continued.
    """
    if not run.writable:
        yield
        return
    check_writable(run)
    if run.config.exists():
        check_existing()
    elif foreign_files(run, run.manifest, run.classes):  # config.json is written last, so it may be missing
        raise UserError(f"{str(run.path)!r} exists and is no run directory; choose another --run")
    with locked(run):
        yield


def _plan(run: Run, asked: FinetuneConfig | Plan, repeated: Earlier | None, workers: Workers) -> Plan:
    """Returns the plan, which is the run's own if the run exists already. All workers must call this together."""
    config, passed = (asked.config, dict(asked.passed)) if isinstance(asked, Plan) else (asked, {})
    kept = run.config.exists()
    if isinstance(asked, Plan) and not kept:
        if not workers.alone:
            raise UserError("a plan that was made in Python is for one process; give finetune the settings instead")
        return asked
    earlier = earlier_for_all(workers, lambda: read_earlier(run.config) if kept else repeated)
    find_manifest = (lambda: load_run_manifest(run)) if kept else None
    plan = make_plan(config, earlier, workers=workers, find_manifest=find_manifest)
    if kept and run.writable:
        check_moved(run, plan)
    if passed and plan.changed(**passed).recipe != plan.recipe:
        raise UserError(f"the run {str(run.path)!r} exists with another recipe than the plan's; choose another run")
    return plan


def _say_plan(plan: Plan) -> None:
    for line in plan.differences():
        say(line)
    say(str(plan))


def _train(training: TrainingRun) -> None:
    """Goes through the steps of the recipe, from the point where the run was cut off."""
    recipe, progress = training.trainer.plan.recipe, training.progress
    if training.checkpoint:
        restore(training.checkpoint, training.trainer.model)
    elif recipe.head_first:
        _fit_head(training)
    train_all_layers(training)
    if recipe.head_first and progress.epochs_done:
        _average_with_start(training)
    training.record(at_end=True)
    if progress.best:
        calibrate(training)
    progress.finished = progress.stopped or f"all {recipe.epochs} epochs"
    training.save_checkpoint()
    remove_cache(training.run.cache)
    say(what_is_kept(training.run, progress))
    missed = what_is_missed(progress, training.trainer.plan.recipe)
    if missed and training.run.writable:
        warn(missed)


def _fit_head(training: TrainingRun) -> None:
    run, model, progress = training.run, training.trainer.model, training.progress
    probe = fit_head(training.trainer)
    began = training.stopwatch.seconds
    progress.rows.append({"epoch": 0, "phase": "head", **probe.score.columns()})
    save_start(run, model, refit_kernel=probe.refit_kernel, refit_bias=probe.refit_bias)
    progress.head_strength, progress.head_channels = probe.strength, probe.channels
    training.keep_if_better("head on frozen features", 0, 0.0, probe.score)
    training.save_checkpoint()
    training.record()
    if isinstance(training.open_end, TimedEnd):
        training.open_end.saving = training.stopwatch.seconds - began


def _average_with_start(training: TrainingRun) -> None:
    """Averages the weights from before and after training all layers, and keeps the averages that are better.

    Between these weights there are often some that are better than both (Wortsman et al. 2022, "Robust fine-tuning of
    zero-shot models", arXiv 2109.01903).
    """
    plan, model, progress = training.trainer.plan, training.trainer.model, training.progress
    start = plan.devices.workers.arrays_from_chief(lambda: load_start(training.run))
    end = values_of(model)
    epoch, timed = progress.epochs_done, training.open_end
    for share in AVERAGED_SHARES:
        if isinstance(timed, TimedEnd) and not timed.has_time_for_average():
            say("no time is left for more averages")
            break
        assign_average(training, start, end, share)
        score = training.validate()
        phase = f"average: {share:g} of epoch {epoch}"
        progress.rows.append({"epoch": epoch, "phase": phase, **score.columns()})
        better = training.keep_if_better(phase, epoch, share, score)
        say(f"{phase}  {score.in_words(plan.recipe.choose_by)}{'  best' if better else ''}")
