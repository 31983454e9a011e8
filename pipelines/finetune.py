"""finetune: from a folder of images to the best model by validation, in a run directory."""

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import sklearn
import tensorflow as tf

from pipelines.config.finetune import FinetuneConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say
from pipelines.data.manifest import describe_data, load_manifest
from pipelines.images.cache import open_cache, remove_cache
from pipelines.images.lost_images import LostImage
from pipelines.recipe.earlier import Earlier, differences, earlier_for_all, read_earlier
from pipelines.runs.directory import Run, check_writable, foreign_files
from pipelines.runs.files import fingerprint_of, read_json, write_csv, write_json
from pipelines.runs.lock import locked
from pipelines.training.callback import Watch, keep_if_better, write_history
from pipelines.training.checkpoint import (
    Checkpoint,
    Progress,
    checkpoint_for_all,
    load_start,
    remove_leftovers,
    restore,
    save_checkpoint,
    save_start,
    values_of,
)
from pipelines.training.loop import fit
from pipelines.training.setup import Prepared, divide_images, fit_new_head, prepare
from pipelines.training.trainer import Session
from pipelines.training.validation import validator
from resnet_tf import __version__
from resnet_tf.classifier import head
from resnet_tf.distribution import scope
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers, joined

# Of the trained weights, in the averages with those before; 0 and 1 are known already.
AVERAGED_SHARES = (0.25, 0.5, 0.75)


class Collapsed(UserError):
    """Training failed; the best model before that is kept."""


def finetune(config: FinetuneConfig, repeated: Earlier | None = None) -> Run:
    """Fits a classifier to the user's images.

    The images are looked at and divided; the network is built and its weights are loaded; the head is fitted to
    the frozen backbone's features; all layers are trained from there; and their weights are averaged with those
    before, where validation says so. After the head, the best model is in the run directory at every moment.

    Args:
        config: What to do. The same config on an unfinished run continues it.
        repeated: The run whose decisions are repeated, where the config leaves them open. A run that is continued
            repeats its own.

    Returns:
        The run.

    Raises:
        UserError: Something that the user can mend; nothing that was earned is lost.
        Collapsed: The loss became NaN, or the accuracy fell to chance.
        KeyboardInterrupt: Ctrl-C, or SIGTERM as `Terminated`; what was trained until then is saved.
    """
    with joined(config.strategy) as workers, Interrupts() as interrupts:
        run = Run(Path(config.run), writable=workers.chief)
        with _taken(run, config):
            checkpoint = checkpoint_for_all(run, workers)
            progress = checkpoint.progress if checkpoint else Progress()
            if progress.finished:
                remove_cache(run.cache)
                say(f"{run.path} is finished ({progress.finished}); nothing is left to do")
                return run
            try:
                _run(run, config, repeated, progress, checkpoint, interrupts, workers)
            except KeyboardInterrupt as reason:
                text = f"{str(reason) or 'interrupted'}; {_what_is_kept(run, progress)}; the same command continues"
                raise type(reason)(text) from reason
    return run


@contextmanager
def _taken(run: Run, config: FinetuneConfig) -> Iterator[None]:
    """The run directory, where it is this process that writes it."""
    if not run.writable:
        yield
        return
    _check_run(run, config)
    with locked(run):
        remove_leftovers(run)
        yield


def _run(
    run: Run,
    config: FinetuneConfig,
    repeated: Earlier | None,
    progress: Progress,
    checkpoint: Checkpoint | None,
    interrupts: Interrupts,
    workers: Workers,
) -> None:
    kept = run.config.exists()
    earlier = earlier_for_all(workers, lambda: read_earlier(run.config) if kept else repeated)
    prepared = prepare(config, workers, lambda: load_manifest(run.manifest) if kept else divide_images(config), earlier)
    session = prepared.session
    _write_run(run, prepared)
    data = describe_data(prepared.manifest)
    for line in differences(earlier, config, asdict(session.structure), data, _versions()):
        say(line)
    say(session.describe())
    if config.cache != "none":
        session = with_cache(session, run.cache)

    if checkpoint:
        restore(checkpoint, session.model)
    elif session.recipe.head_first:
        _fit_head(run, session, progress)
    validate, save_best = validator(session), _saver(run, session)
    _train_all_layers(run, session, progress, checkpoint, interrupts, validate, save_best)
    if session.recipe.head_first and session.recipe.epochs:
        _average_with_start(run, session, progress, validate, save_best)
    progress.finished = progress.stopped or f"all {session.recipe.epochs} epochs"
    save_checkpoint(run, session.model, progress)
    remove_cache(run.cache)
    say(_what_is_kept(run, progress))


def with_cache(session: Session, folder: Path) -> Session:
    """The session, with pictures decoded once.

    Raises:
        UserError: Several workers train together, or there is no room for the pictures.
    """
    where = session.config.cache
    if not session.workers.alone:
        raise UserError(f"--cache {where} is for one process; leave it out where several workers train together")
    return replace(session, cache=open_cache(where, folder, session.rows, session.root, session.view))


def _check_run(run: Run, config: FinetuneConfig) -> None:
    """A new run needs a free place; an existing one must have the same settings."""
    check_writable(run)
    if not run.config.exists():
        if foreign_files(run, run.manifest, run.classes):  # config.json comes last, and might not have been written
            raise UserError(f"{str(run.path)!r} exists and is no run directory; choose another --run")
        return
    before, now = read_json(run.config)["arguments"], config.as_arguments()
    changed = [f"{name} {before.get(name)!r}, now {now[name]!r}" for name in now if before.get(name) != now[name]]
    if changed:
        raise UserError(
            f"the run {str(run.path)!r} exists with other settings ({'; '.join(changed)}); choose another --run"
        )


def _write_run(run: Run, prepared: Prepared) -> None:
    """What defines the run. config.json comes last: where it is, the other two are."""
    if run.config.exists() or not run.writable:
        return
    session, manifest, weights = prepared.session, prepared.manifest, prepared.weights
    write_csv(run.manifest, manifest)
    write_json(run.classes, session.classes)
    write_json(
        run.config,
        {
            "arguments": session.config.as_arguments(),
            "recipe": asdict(session.recipe),
            "precision": session.precision,
            "devices": session.devices(),
            "structure": asdict(session.structure),
            "preprocessing": asdict(session.preprocessing),
            "weights": {"file": weights.path.name, "sha256": fingerprint_of(weights.path)} if weights else None,
            "data": describe_data(manifest),
            "versions": _versions(),
        },
    )


def _fit_head(run: Run, session: Session, progress: Progress) -> None:
    fitted = fit_new_head(session)
    progress.rows.append(
        {"epoch": 0, "phase": "head", "val_accuracy": fitted.accuracy, "val_log_loss": fitted.log_loss}
    )
    save_start(run, session.model, refit_kernel=fitted.refit_kernel, refit_bias=fitted.refit_bias)
    score = fitted.accuracy, fitted.log_loss
    keep_if_better(progress, "head on frozen features", 0, score, _saver(run, session))
    save_checkpoint(run, session.model, progress)
    write_history(run, progress)


def _saver(run: Run, session: Session) -> Callable[[], None]:
    """Writes the present model as the best one, its head changed as it changes where the validation images are fitted
    too, so that no labelled image but the test's goes unused. What chooses between models has not seen them."""
    change = None
    if session.recipe.refit_head and session.workers.chief:
        start, variables = load_start(run), head(session.model)
        change = start["refit_kernel"] - start[variables.kernel.path], start["refit_bias"] - start[variables.bias.path]
    return lambda: session.save(run.model, change)


def _train_all_layers(
    run: Run,
    session: Session,
    progress: Progress,
    checkpoint: Checkpoint | None,
    interrupts: Interrupts,
    validate: Callable[[], tuple[float, float]],
    save_best: Callable[[], None],
) -> None:
    config, recipe = session.config, session.recipe
    open_end = session.open_end()
    if open_end:
        open_end.resume(progress)
    watch = Watch(
        run,
        progress,
        checkpoint=checkpoint,
        interrupts=interrupts,
        workers=session.workers,
        validate=validate,
        save_best=save_best,
        chance=float(session.rows["val"]["label"].value_counts(normalize=True).max()),
        patience=recipe.patience,
        epochs=recipe.epochs,
        open_end=open_end,
        seconds=config.checkpoint_seconds,
    )
    with interrupts.held():
        while progress.epochs_done < recipe.epochs and not progress.stopped and not watch.collapsed:
            try:
                fit(run, session, progress, watch)
            except LostImage:
                if session.workers.alone:  # the others are in the middle of a step, which this one cannot do
                    watch.save()
                raise
    if watch.collapsed:
        raise Collapsed(
            f"training failed: {watch.collapsed}; {_what_is_kept(run, progress)}; "
            f"start a new run with --learning-rate {recipe.learning_rate / 5:g}"
        )


def _average_with_start(
    run: Run,
    session: Session,
    progress: Progress,
    validate: Callable[[], tuple[float, float]],
    save_best: Callable[[], None],
) -> None:
    """Between the weights before and after training all layers there are often better ones than both (Wortsman et
    al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903)."""
    start = session.workers.arrays_from_chief(lambda: load_start(run))
    end = values_of(session.model)
    epoch = progress.epochs_done
    for share in AVERAGED_SHARES:
        with scope(session.strategy):
            for variable in session.model.variables:
                variable.assign((1.0 - share) * start[variable.path] + share * end[variable.path])
        accuracy, loss = validate()
        phase = f"average: {share:g} of epoch {epoch}"
        progress.rows.append({"epoch": epoch, "phase": phase, "val_accuracy": accuracy, "val_log_loss": loss})
        better = keep_if_better(progress, phase, epoch, (accuracy, loss), save_best)
        say(f"{phase}  val accuracy {accuracy:.4f}  val log loss {loss:.4f}{'  best' if better else ''}")
    write_history(run, progress)


def _what_is_kept(run: Run, progress: Progress) -> str:
    if not progress.best:
        return "there is no model yet"
    return f"best model kept: {progress.best}, validation accuracy {progress.best_accuracy:.4f}, {run.model}"


def _versions() -> dict[str, Any]:
    return {
        "resnet_tf": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
