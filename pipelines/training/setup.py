"""Finds what a training starts from, its weights and its images, and makes the plan of it."""

import io
from collections.abc import Callable

import pandas as pd

from pipelines.config.finetune import FinetuneConfig
from pipelines.console.terminal import say, warn
from pipelines.data.manifest import check_exists, load_manifest, make_manifest
from pipelines.data.reuse import reuse_manifest
from pipelines.data.split import Fold
from pipelines.data.value_range import decide_range, range_in_words, values_of
from pipelines.recipe.earlier import Earlier, check_weights
from pipelines.runs.files import fingerprint_of
from pipelines.training.plan import Plan, plan_of
from resnet_tf.errors import UserError
from resnet_tf.weights import WeightFile, find_weights
from resnet_tf.workers import Workers, check_settings

# Where things lie may differ from machine to machine.
_OWN_SETTINGS = ("data", "weights", "manifest")


def make_plan(
    config: FinetuneConfig,
    earlier: Earlier | None = None,
    *,
    workers: Workers | None = None,
    find_manifest: Callable[[], pd.DataFrame] | None = None,
) -> Plan:
    """Finds the weights, looks at all images and divides them, and decides everything else. Collective.

    Args:
        config: What the user asked for.
        earlier: The run whose decisions are repeated, or None.
        workers: The processes that train together; None is this one alone.
        find_manifest: Reads the manifest that a run has kept; None makes a new one.

    Returns:
        The plan. Nothing is built or written yet.

    Raises:
        UserError: Something that the user can mend.
    """
    workers = workers or Workers()
    check_exists(config.data)
    weights = weights_for_all(config, workers, lambda: _find_weights(config))
    check_weights(earlier, config, weights.path if weights else None)
    manifest = manifest_for_all(workers, find_manifest or (lambda: divide_images(config)))
    return plan_of(config, manifest, weights, earlier, workers)


def divide_images(config: FinetuneConfig) -> pd.DataFrame:
    """The manifest of a new training: all images looked at, and divided as the user asked.

    Raises:
        UserError: There are no images to validate with, or a class has none to train with.
    """
    if config.manifest is not None:
        manifest = reuse_manifest(config.data, config.manifest)
    else:
        shares = config.val_fraction, config.test_fraction
        fold = Fold(config.fold, config.folds) if config.fold is not None and config.folds is not None else None
        manifest = make_manifest(config.data, *shares, config.seed, config.group, fold)
    _say_range(config.range, manifest)
    if not (manifest["split"] == "val").any():
        raise UserError("there are no validation images to choose the best epoch by; give --val-fraction above 0")
    untrained = sorted(set(manifest["label"]) - set(manifest.loc[manifest["split"] == "train", "label"]))
    if untrained:
        raise UserError(f"the class {untrained[0]!r} has no training images; add some, or remove it from all splits")
    return manifest


def weights_for_all(
    config: FinetuneConfig, workers: Workers, find: Callable[[], WeightFile | None]
) -> WeightFile | None:
    """The file of weights, None for training from scratch. The chief finds it first, so that machines which share a
    folder of downloads do not write one file at once. Collective.

    Args:
        config: What this worker was asked to do.
        workers: All workers.
        find: Finds the file on this machine.

    Raises:
        UserError: This worker was given other settings than the chief, or has another file.
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
    """The manifest that the chief finds. Collective.

    Args:
        workers: All workers.
        find: Looks at all images, or reads what a run has kept.
    """
    if workers.alone:
        return find()
    text = workers.from_chief(lambda: find().to_csv(index=False))
    return load_manifest(io.StringIO(text))


def _say_range(rule: str, manifest: pd.DataFrame) -> None:
    if words := range_in_words(rule, manifest["stored_values"]):
        say(words)
    value_range = decide_range(rule, manifest["stored_values"])
    pairs = zip(manifest["path"], map(values_of, manifest["stored_values"]), strict=True)
    losses = [f"{path}: {loss}" for path, values in pairs if values and (loss := value_range.loss(values))]
    if losses:
        more = f" ({len(losses)} such images; see `resnet-tf audit`)" if len(losses) > 1 else ""
        warn(f"{losses[0]}{more}; --range chooses another range")


def _find_weights(config: FinetuneConfig) -> WeightFile | None:
    if not config.pretrained:
        return None
    # The head is new, so that the smaller official file, which has none, will do.
    return find_weights(config.weights, config.arch, include_top=False)


def _shared_settings(config: FinetuneConfig) -> dict[str, object]:
    return {name: value for name, value in config.as_arguments().items() if name not in _OWN_SETTINGS}
