"""What a training starts from: the images divided, the network with its weights on its devices, and the new head."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import keras
import pandas as pd
import tensorflow as tf

from pipelines.config.finetune import FinetuneConfig
from pipelines.console.terminal import say
from pipelines.data.manifest import check_exists, class_names, data_root, label_numbers, load_manifest, make_manifest
from pipelines.data.reuse import reuse_manifest
from pipelines.evaluation.inference import Inference
from pipelines.recipe.earlier import Earlier, check_weights
from pipelines.runs.files import fingerprint_of
from pipelines.training.head import Head, fit_head, head_for_all
from pipelines.training.trainer import Session, build_session
from resnet_tf.classifier import averaged_features, feature_extractor, head
from resnet_tf.distribution import scope
from resnet_tf.errors import UserError
from resnet_tf.weights import WeightFile, find_weights
from resnet_tf.workers import Workers, check_settings


@dataclass(frozen=True)
class Prepared:
    """What `prepare` has found and built.

    Args:
        session: The network as the weights have it; its head is random.
        manifest: All images, divided.
        weights: The file of weights, None for training from scratch.
    """

    session: Session
    manifest: pd.DataFrame
    weights: WeightFile | None


def prepare(
    config: FinetuneConfig,
    workers: Workers,
    find_manifest: Callable[[], pd.DataFrame],
    earlier: Earlier | None = None,
) -> Prepared:
    """Finds weights and images and builds the session. Collective.

    Args:
        config: What the user asked for.
        workers: Those that train together.
        find_manifest: Looks at all images and divides them, or reads what a run has kept.
        earlier: The run whose decisions are repeated, or None.

    Raises:
        UserError: Something that the user can mend.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    check_exists(config.data)
    weights = weights_for_all(config, workers, lambda: _find_weights(config))
    check_weights(earlier, config, weights.path if weights else None)
    manifest = manifest_for_all(workers, find_manifest)
    classes, root = class_names(manifest), data_root(config.data)
    session = build_session(config, manifest, classes, root, weights, workers, earlier)
    return Prepared(session, manifest, weights)


def divide_images(config: FinetuneConfig) -> pd.DataFrame:
    """The manifest of a new training: all images looked at and divided as the user asked.

    Raises:
        UserError: There are no images to validate with, or a class has none to train with.
    """
    if config.manifest is not None:
        manifest = reuse_manifest(config.data, config.manifest)
    else:
        shares = config.val_fraction, config.test_fraction
        manifest = make_manifest(config.data, *shares, config.seed, config.group, config.folds, config.fold)
    if not (manifest["split"] == "val").any():
        raise UserError("there are no validation images to choose the best epoch by; give --val-fraction above 0")
    untrained = sorted(set(manifest["label"]) - set(manifest.loc[manifest["split"] == "train", "label"]))
    if untrained:
        raise UserError(f"the class {untrained[0]!r} has no training images; add some, or remove it from all splits")
    return manifest


def fit_new_head(session: Session) -> Head:
    """Fits the head to the frozen backbone's features and puts it into the network. Collective. Features are computed
    once, on the evaluation's view; the head then takes seconds."""
    extract = Inference(feature_extractor(session.model), strategy=session.strategy)
    features = {}
    for split, rows in session.rows.items():
        labels = label_numbers(rows, session.classes)
        features[split] = session.outputs(extract, split, f"features of {split}"), labels
    averaged = averaged_features(session.model)
    fitted = head_for_all(
        session.workers, lambda: fit_head(features["train"], features["val"], len(session.classes), averaged)
    )
    with scope(session.strategy):
        head(session.model).set_weights([fitted.kernel, fitted.bias])
    say(
        f"head on frozen features: val accuracy {fitted.accuracy:.4f}  val log loss {fitted.log_loss:.4f}  "
        f"(of averages{' and maxima' if fitted.channels > averaged else ''}, inverse regularization "
        f"{fitted.strength:g})"
    )
    return fitted


def _find_weights(config: FinetuneConfig) -> WeightFile | None:
    if not config.pretrained:
        return None
    # The head is new, so that the smaller official file, which has none, will do.
    return find_weights(config.weights, config.arch, include_top=False)


# Where things lie may differ from machine to machine.
_OWN_SETTINGS = ("data", "weights", "manifest")


def weights_for_all(
    config: FinetuneConfig, workers: Workers, find: Callable[[], WeightFile | None]
) -> WeightFile | None:
    """The file of weights, None for training from scratch. The chief finds it first, so that machines which share a
    folder of downloads do not write one file at once. Collective.

    Args:
        config: What this worker was asked to do.
        workers: All of them.
        find: Finds the file on this machine.

    Raises:
        UserError: This worker was given other settings than the chief, or has another file.
    """
    if workers.alone:
        return find()
    check_settings(workers, _settings(config))
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
        workers: All of them.
        find: Looks at all images, or reads what a run has kept.
    """
    if workers.alone:
        return find()
    text = workers.from_chief(lambda: find().to_csv(index=False))
    return load_manifest(io.StringIO(text))


def _settings(config: FinetuneConfig) -> dict[str, object]:
    return {name: value for name, value in config.as_arguments().items() if name not in _OWN_SETTINGS}
