"""finetune: from a folder of images to the best model by validation, in a run directory."""

import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import sklearn
import tensorflow as tf

from pipelines.config import FinetuneConfig
from pipelines.data.manifest import class_names, data_root, fingerprint, load_manifest, make_manifest
from pipelines.data.stream import steps_per_epoch, training_stream
from pipelines.head import fit_head
from pipelines.inference import outputs
from pipelines.run import Run, check_writable, read_json, sha256, write_csv, write_json
from pipelines.session import Session, build_session
from pipelines.terminal import say
from pipelines.training import (
    Progress,
    StepBar,
    Watch,
    keep_if_better,
    load_checkpoint,
    load_progress,
    save_checkpoint,
    write_history,
)
from resnet_tf import __version__
from resnet_tf.classifier import feature_extractor, head
from resnet_tf.distribution import scope
from resnet_tf.errors import UserError
from resnet_tf.weights import WeightFile, read_weights, resolve_weights


class Collapsed(UserError):
    """Training failed; the best model before that is kept."""


def finetune(config: FinetuneConfig) -> Run:
    """Fits a classifier to the user's images.

    The images are looked at and divided; the network is built and its weights are loaded; the head is fitted to
    the frozen backbone's features; all layers are trained from there. After the head, the best model by
    validation is in the run directory at every moment.

    Args:
        config: What to do. The same config on an unfinished run continues it.

    Returns:
        The run.

    Raises:
        UserError: Something that the user can mend; nothing that was earned is lost.
        Collapsed: The loss became NaN, or the accuracy fell to chance.
    """
    run = Run(Path(config.run))
    _check_run(run, config)
    progress = load_progress(run)
    if progress.finished:
        say(f"{run.path} is finished ({progress.finished}); nothing is left to do")
        return run

    keras.utils.set_random_seed(config.seed)
    weights = _find_weights(config)
    manifest = _find_manifest(run, config)
    session = build_session(config, manifest, class_names(manifest), data_root(config.data), weights)
    _write_run(run, session, manifest, weights)
    say(session.describe())

    if session.recipe.head_first and progress.best_epoch < 0:
        _fit_head(run, session, progress)
    _train_all_layers(run, session, progress)
    say(f"best model: epoch {progress.best_epoch}, validation accuracy {progress.best_accuracy:.4f}, {run.model}")
    return run


def _check_run(run: Run, config: FinetuneConfig) -> None:
    """A new run needs a free place; an existing one must have the same settings."""
    check_writable(run)
    if not run.config.exists():
        if run.path.exists() and any(run.path.iterdir()):
            raise UserError(f"{str(run.path)!r} exists and is no run directory; choose another --run")
        return
    before, now = read_json(run.config)["arguments"], config.as_arguments()
    changed = [f"{name} {before.get(name)!r}, now {now[name]!r}" for name in now if before.get(name) != now[name]]
    if changed:
        raise UserError(
            f"the run {str(run.path)!r} exists with other settings ({'; '.join(changed)}); choose another --run"
        )


def _find_weights(config: FinetuneConfig) -> WeightFile | None:
    if not config.pretrained:
        return None
    # The head is new, so that the smaller official file, which has none, will do.
    return read_weights(resolve_weights(config.weights, config.arch, include_top=False))


def _find_manifest(run: Run, config: FinetuneConfig) -> pd.DataFrame:
    if run.manifest.exists():
        return load_manifest(run.manifest)
    manifest = make_manifest(config.data, config.val_fraction, config.test_fraction, config.seed)
    if not (manifest["split"] == "val").any():
        raise UserError("there are no validation images to choose the best epoch by; give --val-fraction above 0")
    return manifest


def _write_run(run: Run, session: Session, manifest: pd.DataFrame, weights: WeightFile | None) -> None:
    """What defines the run. config.json comes last: where it is, the other two are."""
    if run.config.exists():
        return
    write_csv(run.manifest, manifest)
    write_json(run.classes, session.classes)
    write_json(
        run.config,
        {
            "arguments": session.config.as_arguments(),
            "recipe": asdict(session.recipe),
            "precision": session.precision,
            "stride_at": session.stride_at,
            "preprocessing": asdict(session.preprocessing),
            "weights": {"file": weights.path.name, "sha256": sha256(weights.path)} if weights else None,
            "data": {
                "images": len(manifest),
                "splits": manifest["split"].value_counts().to_dict(),
                "fingerprint": fingerprint(manifest),
            },
            "versions": _versions(),
        },
    )


def _fit_head(run: Run, session: Session, progress: Progress) -> None:
    """Features are computed once, on the evaluation's view; the head then takes seconds."""
    extractor = feature_extractor(session.model)
    features = {}
    for split, rows in session.rows.items():
        stream = session.evaluation_stream(split)
        labels = rows["label"].map(session.classes.index).to_numpy()
        features[split] = outputs(extractor, stream, len(rows), f"features of {split}"), labels
    fitted = fit_head(features["train"], features["val"], len(session.classes))
    with scope(session.strategy):
        head(session.model).set_weights([fitted.kernel, fitted.bias])
    progress.rows.append(
        {"epoch": 0, "phase": "head", "val_accuracy": fitted.accuracy, "val_log_loss": fitted.log_loss}
    )
    keep_if_better(progress, 0, fitted.accuracy, fitted.log_loss, lambda: session.save(run.model))
    save_checkpoint(run, session.model, progress)
    write_history(run, progress)
    say(
        f"head on frozen features: val accuracy {fitted.accuracy:.4f}  val log loss {fitted.log_loss:.4f}  "
        f"(inverse regularization {fitted.strength:g})"
    )


def _train_all_layers(run: Run, session: Session, progress: Progress) -> None:
    config, recipe, model = session.config, session.recipe, session.model
    done = progress.epochs_done
    if done or (recipe.head_first and progress.best_epoch >= 0):
        load_checkpoint(run, model)
    watch = Watch(
        run,
        progress,
        lambda: session.save(run.model),
        chance=float(session.rows["val"]["label"].value_counts(normalize=True).max()),
        patience=config.patience,
        epochs=recipe.epochs,
    )
    try:
        if done < recipe.epochs:
            model.fit(
                training_stream(
                    session.rows["train"],
                    session.root,
                    session.classes,
                    session.view,
                    batch_size=config.batch_size,
                    seed=config.seed,
                    first_epoch=done,
                    epochs=recipe.epochs - done,
                ),
                initial_epoch=done,
                epochs=recipe.epochs,
                steps_per_epoch=steps_per_epoch(len(session.rows["train"]), config.batch_size),
                validation_data=session.evaluation_stream("val"),
                callbacks=[watch, StepBar(), keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False)],
                verbose=0,
                shuffle=False,  # the stream has its order
            )
    except KeyboardInterrupt:
        say(_what_is_kept(run, progress) + "; the same command continues")
        raise
    if watch.collapsed:
        raise Collapsed(
            f"training failed: {watch.collapsed}; {_what_is_kept(run, progress)}; "
            f"start a new run with --learning-rate {recipe.learning_rate / 5:g}"
        )
    if not progress.finished:
        progress.finished = f"all {recipe.epochs} epochs"
    save_checkpoint(run, model, progress)


def _what_is_kept(run: Run, progress: Progress) -> str:
    if progress.best_epoch < 0:
        return "there is no model yet"
    return f"the best model so far is kept, epoch {progress.best_epoch} with validation accuracy " + (
        f"{progress.best_accuracy:.4f}, {run.model}"
    )


def _versions() -> dict[str, Any]:
    return {
        "resnet_tf": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
