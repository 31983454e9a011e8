"""finetune: trains on a folder of images, and keeps the best model by validation in a run directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.config.finetune import FinetuneConfig
from pipelines.console.clock import Stopwatch
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say, warn
from pipelines.evaluation.integrity import load_run_manifest
from pipelines.images.cache import remove_cache
from pipelines.images.lost_images import LostImage
from pipelines.recipe.earlier import Earlier, earlier_for_all, read_earlier
from pipelines.report.curves import CurvesFile
from pipelines.runs.directory import Run, check_writable, foreign_files
from pipelines.runs.files import write_csv, write_json
from pipelines.runs.lock import locked
from pipelines.training.callback import TrainingCallback
from pipelines.training.checkpoint import (
    Progress,
    checkpoint_for_all,
    load_start,
    restore,
    save_start,
    values_of,
)
from pipelines.training.continuation import check_choice, check_moved, check_same_settings
from pipelines.training.head import fit_head
from pipelines.training.look import informed_trainer
from pipelines.training.loop import fit
from pipelines.training.plan import Plan
from pipelines.training.setup import make_plan
from pipelines.training.timed_end import TimedEnd
from pipelines.training.training_run import TrainingRun, what_is_kept, what_is_missed
from resnet_tf.distribution import scope
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers, joined

# Shares of the trained weights in the averages with the weights from before training. The scores of the shares 0 and 1
# are already known.
AVERAGED_SHARES = (0.25, 0.5, 0.75)


class Collapsed(UserError):
    """Training failed; the best model before that is kept."""


def finetune(asked: FinetuneConfig | Plan, repeated: Earlier | None = None, stopwatch: Stopwatch | None = None) -> Run:
    """Fits a classifier to the user's images.

    First the plan is made: the images are inspected and divided, and everything else is decided. Then the network is
    built, and its weights are loaded. The head is fitted to the frozen backbone's features. All layers except the
    frozen stages are trained from there. If validation says so, their weights are averaged with those from before.
    Once the head is fitted, the run directory contains the best model at every moment.

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
    with joined(config.strategy) as workers, Interrupts() as interrupts:
        run = Run(Path(config.run), writable=workers.chief)
        with _taken(run, config):
            checkpoint = checkpoint_for_all(run, workers)
            progress = checkpoint.progress if checkpoint else Progress()
            stopwatch.before = progress.spent
            if progress.finished:
                remove_cache(run.cache)
                say(f"{run.path} is finished ({progress.finished}); nothing is left to do")
                return run
            try:
                plan = _plan(run, asked, repeated, workers)
                check_choice(run, progress, plan.recipe.choose_by)
                trainer = informed_trainer(plan, stopwatch)
                plan = trainer.plan
                _write_plan(run, plan)
                _say_plan(plan)
                trainer = trainer.with_cache(run.cache)
                curves = CurvesFile(run.curves, plan.summary())
                _train(TrainingRun(run, trainer, progress, interrupts, curves.draw, checkpoint, stopwatch))
            except KeyboardInterrupt as reason:
                text = f"{str(reason) or 'interrupted'}; {what_is_kept(run, progress)}; the same command continues"
                raise type(reason)(text) from reason
    return run


@contextmanager
def _taken(run: Run, config: FinetuneConfig) -> Iterator[None]:
    """Locks the run directory for the `with` block, if this process writes it."""
    if not run.writable:
        yield
        return
    _check_run(run, config)
    with locked(run):
        yield


def _check_run(run: Run, config: FinetuneConfig) -> None:
    """Checks that the place of a new run is free, or that an existing run has the same settings."""
    check_writable(run)
    if not run.config.exists():
        if foreign_files(run, run.manifest, run.classes):  # config.json is written last, so it may be missing
            raise UserError(f"{str(run.path)!r} exists and is no run directory; choose another --run")
        return
    check_same_settings(run, config)


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


def _write_plan(run: Run, plan: Plan) -> None:
    """Writes the files that define the run. config.json is the last one; if it exists, the other two do too."""
    if run.config.exists() or not run.writable:
        return
    write_csv(run.manifest, plan.manifest)
    write_json(run.classes, plan.classes)
    write_json(run.config, plan.content())


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
    _train_all_layers(training)
    if recipe.head_first and recipe.epochs:
        _average_with_start(training)
    training.record()
    progress.finished = progress.stopped or f"all {recipe.epochs} epochs"
    training.save_checkpoint()
    remove_cache(training.run.cache)
    say(what_is_kept(training.run, progress))
    missed = what_is_missed(progress, training.trainer.plan.config.balance)
    if missed and training.run.writable:
        warn(missed)


def _fit_head(training: TrainingRun) -> None:
    run, model, progress = training.run, training.trainer.model, training.progress
    probe = fit_head(training.trainer)
    began = training.stopwatch.seconds
    progress.rows.append({"epoch": 0, "phase": "head", **probe.score.columns()})
    save_start(run, model, refit_kernel=probe.refit_kernel, refit_bias=probe.refit_bias)
    training.keep_if_better("head on frozen features", 0, probe.score)
    training.save_checkpoint()
    training.record()
    if isinstance(training.open_end, TimedEnd):
        training.open_end.saving = training.stopwatch.seconds - began


def _train_all_layers(training: TrainingRun) -> None:
    plan, progress, end = training.trainer.plan, training.progress, training.open_end
    callback = TrainingCallback(training)
    _ = training.head_change  # a damaged file is reported before anything is trained
    if isinstance(end, TimedEnd) and not progress.stopped:
        end.begin(progress, training.validate)
    with training.interrupts.held():
        while progress.epochs_done < plan.recipe.epochs and not progress.stopped and not callback.collapsed:
            try:
                fit(training, callback)
            except LostImage:
                if plan.devices.workers.alone:  # the others are in a step that this one cannot do
                    callback.save()
                raise
    if callback.collapsed:
        raise Collapsed(
            f"training failed: {callback.collapsed}; {what_is_kept(training.run, training.progress)}; "
            f"start a new run with --learning-rate {plan.safer_learning_rate():g}"
        )


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
        with scope(plan.devices.strategy):
            for variable in model.variables:
                variable.assign((1.0 - share) * start[variable.path] + share * end[variable.path])
        score = training.validate()
        phase = f"average: {share:g} of epoch {epoch}"
        progress.rows.append({"epoch": epoch, "phase": phase, **score.columns()})
        better = training.keep_if_better(phase, epoch, score)
        say(f"{phase}  {score.in_words(plan.recipe.choose_by)}{'  best' if better else ''}")
