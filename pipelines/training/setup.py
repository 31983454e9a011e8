"""Finds the weights and images that a training starts from, makes its plan, and writes it down."""

import io
from collections.abc import Callable

import pandas as pd

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.shared import SPLITS
from pipelines.console.escapes import first_of
from pipelines.console.terminal import say, warn
from pipelines.data.find import ImageTable, check_exists
from pipelines.data.groups import Ties
from pipelines.data.manifest import load_manifest, make_manifest
from pipelines.data.reuse import reuse_manifest
from pipelines.data.split import Fold
from pipelines.data.value_range import decide_range, range_in_words
from pipelines.recipe.earlier import Earlier, check_weights
from pipelines.runs.directory import Run
from pipelines.runs.files import fingerprint_of, write_csv, write_json
from pipelines.runs.tables import csv_text
from pipelines.training.plan import Plan, plan_of
from resnet_tf.errors import UserError
from resnet_tf.weights import WeightFile, find_weights
from resnet_tf.workers import Workers, check_settings

# These settings may differ between machines, because files may be at different places.
_OWN_SETTINGS = ("data", "weights", "manifest")


def make_plan(
    config: FinetuneConfig,
    earlier: Earlier | None = None,
    *,
    workers: Workers | None = None,
    find_manifest: Callable[[], pd.DataFrame] | None = None,
) -> Plan:
    """Finds the weights, inspects and divides all images, and decides everything else.

    All workers must call this together.

    Args:
        config: Settings that the user asked for.
        earlier: Run whose decisions are repeated, or None.
        workers: Processes that train together; None is this one alone.
        find_manifest: Function that reads the manifest of an existing run; None makes a new manifest.

    Returns:
        The plan. Nothing is built or written yet.

    Raises:
        UserError: Something is wrong that the user can correct.
    """
    workers = workers or Workers()
    check_exists(config.data)
    weights = weights_for_all(config, workers, lambda: _find_weights(config))
    check_weights(earlier, config, weights.path if weights else None)
    manifest = manifest_for_all(workers, find_manifest or (lambda: divide_images(config)))
    return plan_of(config, manifest, weights, earlier, workers)


def divide_images(config: FinetuneConfig, looked: ImageTable | None = None) -> pd.DataFrame:
    """Inspects all images, divides them as the user asked, and returns the manifest of a new training.

    Args:
        config: Settings that the user asked for.
        looked: What `look_at_images` has found in the data, so that the images are not inspected again.

    Raises:
        UserError: There are no images to train or to validate with, or a class has none to train with.
    """
    if config.manifest is not None:
        manifest = reuse_manifest(config.data, config.manifest, config.follow_links, config.similar)
    else:
        shares = config.val_fraction, config.test_fraction
        fold = Fold(config.fold, config.folds) if config.fold is not None and config.folds is not None else None
        ties = Ties(config.group, config.similar)
        manifest = make_manifest(looked or config.data, *shares, config.seed, ties, fold, config.follow_links)
    _say_range(config.range, manifest)
    _check_splits(config, set(manifest["split"]))
    untrained = sorted(set(manifest["label"]) - set(manifest.loc[manifest["split"] == "train", "label"]))
    if untrained:
        raise UserError(f"the class {untrained[0]!r} has no training images; add some, or remove it from all splits")
    unseen = sorted(set(manifest["label"]) - set(manifest.loc[manifest["split"] == "val", "label"]))
    if unseen:
        named = first_of([repr(label) for label in unseen])
        say(f"validation has no image of {len(unseen)} of the classes ({named}), so that nothing is chosen by them")
    return manifest


def _check_splits(config: FinetuneConfig, splits: set[str]) -> None:
    """Checks that there are images to train and to validate with.

    Raises:
        UserError: There are none.
    """
    if "train" not in splits:
        named = " and ".join(split for split in SPLITS if split in splits)
        raise UserError(
            f"{config.data!r} has images for {named} alone, and none to train with; name the folder or the table that "
            "has the training images as well, or judge a finished run by these with `resnet-tf evaluate RUN --data`"
        )
    if "val" not in splits:
        none = "there are no validation images to choose the best epoch by"
        if config.manifest is not None:
            raise UserError(f"{none} in {config.manifest!r}; take the manifest of a run that has some")
        raise UserError(f"{none}; give --val-fraction above 0")


def weights_for_all(
    config: FinetuneConfig, workers: Workers, find: Callable[[], WeightFile | None]
) -> WeightFile | None:
    """Returns the file of weights, or None for training from scratch. All workers must call this together.

    The chief finds the file first, so that machines which share a folder of downloads do not write it at the same time.

    Args:
        config: Settings that this worker was given.
        workers: All workers.
        find: Function that finds the file on this machine.

    Raises:
        UserError: This worker has different settings or a different file than the chief.
    """
    if workers.alone:
        return find()
    check_settings(workers, _shared_settings(config))
    weights = find() if workers.chief else None
    hashed = workers.from_chief(lambda: fingerprint_of(weights.path) if weights else None)
    if not workers.chief:
        weights = find()
        if weights and fingerprint_of(weights.path) != hashed:
            raise UserError(f"worker {workers.index + 1} has other weights at {str(weights.path)!r} than the chief")
    return weights


def manifest_for_all(workers: Workers, find: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Returns the manifest that the chief finds. All workers must call this together.

    Args:
        workers: All workers.
        find: Function that makes a new manifest or reads that of a run; only the chief calls it.
    """
    if workers.alone:
        return find()
    text = workers.from_chief(lambda: csv_text(find()))
    return load_manifest(io.StringIO(text))


def write_plan(run: Run, plan: Plan) -> None:
    """Writes the files that define a run, if it has none. config.json is the last one; if it exists, the others do too.

    Args:
        run: Run that is locked.
        plan: Its plan.
    """
    if run.config.exists() or not run.writable:
        return
    write_csv(run.manifest, plan.manifest)
    write_json(run.classes, plan.classes)
    write_json(run.config, plan.content())


def _say_range(rule: str, manifest: pd.DataFrame) -> None:
    stored = manifest["stored_values"]
    value_range = decide_range(rule, stored)
    if words := range_in_words(value_range, rule, stored):
        say(words)
    losses = [
        f"{path}: {loss}" for path, loss in zip(manifest["path"], value_range.losses(stored), strict=True) if loss
    ]
    if losses:
        more = f" ({len(losses)} such images; see `resnet-tf audit`)" if len(losses) > 1 else ""
        warn(f"{losses[0]}{more}; --range chooses another range")


def _find_weights(config: FinetuneConfig) -> WeightFile | None:
    if not config.pretrained:
        return None
    # The head is new, so the smaller official file without a head is enough.
    return find_weights(config.weights, config.arch, include_top=False)


def _shared_settings(config: FinetuneConfig) -> dict[str, object]:
    return {name: value for name, value in config.as_arguments().items() if name not in _OWN_SETTINGS}
