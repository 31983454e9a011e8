"""import: makes a run from a pretrained network; evaluate, predict and export take it like any other run."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from pipelines.config.verbs import ImportConfig
from pipelines.console.escapes import first_of
from pipelines.console.terminal import say
from pipelines.data.find import composed
from pipelines.data.manifest import COLUMNS, class_names, describe_data, make_manifest
from pipelines.runs.directory import Run, check_writable, foreign_files
from pipelines.runs.files import fingerprint_of, write_atomically, write_csv, write_json
from pipelines.runs.lock import locked
from resnet_tf.architectures import CHANNELS, find_architecture
from resnet_tf.classifier import build_classifier
from resnet_tf.errors import UserError
from resnet_tf.networks import structure_for
from resnet_tf.weights import Structure, WeightFile, find_weights, load_weights, write_weights
from resnet_tf.weights.imagenet import CLASSES, imagenet_classes
from resnet_tf.weights.loading import check_complete
from resnet_tf.weights.names import HEAD
from resnet_tf.weights.unnamed_layers import check_layer_names


def import_network(config: ImportConfig) -> Run:
    """Makes a run from weights with their classifier, unchanged.

    Args:
        config: Weights, and source of the names of the classes.

    Returns:
        The run.

    Raises:
        UserError: The run exists or is being written by another process, the weights have no classifier or do not
            fill the network, or nothing names their classes.
    """
    run = Run(Path(config.run))
    check_writable(run)
    _check_free(run)
    with locked(run):
        _check_free(run)  # another process may have made it meanwhile
        _import(run, config)
    return run


def _import(run: Run, config: ImportConfig) -> None:
    row = find_architecture(config.arch)
    file = find_weights(config.source, config.arch)
    check_layer_names(file.tensors, config.source)
    if f"{HEAD}/kernel" not in file.tensors:
        raise UserError(f"{config.source!r} has no classifier; fit one to your classes with `resnet-tf finetune`")
    manifest = _manifest(config)
    classes = _classes(config, int(file.tensors[f"{HEAD}/kernel"].shape[-1]), manifest, file.classes)
    size = config.image_size or row.image_size
    structure = structure_for(row, file, config.shortcut, config.stride_at)
    model = build_classifier(
        config.arch,
        len(classes),
        image_size=size if row.hidden else None,
        preprocessing=file.preprocessing,
        shortcut=structure.shortcut,
        stride_at=structure.stride_at,
        stem_pool=structure.stem_pool,
        head_stages=structure.head_stages or 1,
        head_pooling=structure.head_pooling,
    )
    report = load_weights(model, file)
    check_complete(report, config.source)
    _check_logits(model, config.source, size)

    try:
        write_csv(run.manifest, manifest)
        write_json(run.classes, classes)
        write_atomically(
            run.model,
            lambda path: write_weights(model, path, file.preprocessing, image_size=size, classes=classes),
        )
        write_json(run.config, _description(config, file, structure, size, manifest))  # last: it marks a complete run
    except BaseException:
        for written in _files(run):
            written.unlink(missing_ok=True)
        raise
    say(f"normalization: {_normalization(file)}")
    say(f"{run.path}: {config.arch} with {len(classes)} classes from {config.source}, at {size} pixels")


def _check_logits(model: keras.Model, source: str, size: int) -> None:
    """Checks that the network computes numbers, by a black, a white and a random image.

    Weights that are each of a sensible size can still leave float32 together.

    Raises:
        UserError: A logit is infinite or NaN.
    """
    shape = (size, size, CHANNELS)
    noise = np.random.default_rng(0).integers(0, 256, shape)
    logits = model(np.stack([np.zeros(shape), np.full(shape, 255), noise]).astype(np.uint8), training=False)
    if not np.isfinite(np.asarray(logits)).all():
        raise UserError(
            f"the network of {source!r} gives infinite numbers or NaN for images; its weights are not sound"
        )


def _check_free(run: Run) -> None:
    if run.config.exists() or foreign_files(run, *_files(run)):
        raise UserError(f"{str(run.path)!r} exists; choose another --run")


def _files(run: Run) -> tuple[Path, ...]:
    return run.manifest, run.classes, run.model, run.config


def _normalization(file: WeightFile) -> str:
    why = "assumed, as is usual with such names of tensors" if file.assumed else "as stated with the weights"
    return f"{file.preprocessing.normalization()} of 0 to 255, {why}"


def _manifest(config: ImportConfig) -> pd.DataFrame:
    """Returns the manifest of the images, which is empty if there are none.

    If no folder or column gives the images a split, they belong to the test, because nothing is trained here.
    """
    if config.data is None:
        return pd.DataFrame(columns=list(COLUMNS))
    manifest = make_manifest(config.data, 0.0, 0.0, 0, follow_links=config.follow_links)
    if set(manifest["split"]) == {"train"}:
        manifest["split"] = "test"
    return manifest


def _classes(config: ImportConfig, outputs: int, manifest: pd.DataFrame, named: Sequence[str] | None) -> list[str]:
    """The names of the outputs, in their order. Names that are known are never ordered anew: images are found by name.

    Args:
        config: Where the images are.
        outputs: Number of outputs of the network.
        manifest: The images, whose labels are some of the names.
        named: The names that the file of weights has, if it has any.
    """
    labels = class_names(manifest)
    if named is not None and len(named) != outputs:
        raise UserError(f"{config.source!r} has {outputs} classes, and names {len(named)}; it is damaged")
    if named is not None:
        foreign = sorted(set(labels) - {composed(name) for name in named})
        if foreign:
            raise UserError(
                f"{config.source!r} has {outputs} classes, and {foreign[0]!r} of {config.data!r} is none of them; it "
                f"has {first_of(named, 3)}; name the folders like its classes"
            )
        return [composed(name) for name in named]
    if outputs == CLASSES and set(labels) <= set(imagenet_classes()):
        return imagenet_classes()
    if config.data is None:
        raise UserError(
            f"{config.source!r} has {outputs} classes, and names are known for ImageNet's {CLASSES} alone; "
            "give --data, a folder with one sub-folder per class, in the order of the outputs"
        )
    if len(labels) != outputs:
        raise UserError(
            f"{config.source!r} has {outputs} classes, and {config.data!r} has {len(labels)}; a folder for each is "
            "needed, since the weights do not name them"
        )
    say("the weights do not name their classes: the outputs are taken to be the classes of DATA, in sorted order")
    return labels


def _description(
    config: ImportConfig, file: WeightFile, structure: Structure, size: int, manifest: pd.DataFrame
) -> dict[str, object]:
    arguments = {**config.as_arguments(), "image_size": size}
    return {
        "arguments": arguments,
        "imported": True,
        "preprocessing": asdict(file.preprocessing),
        "structure": asdict(structure),
        "weights": {"file": file.path.name, "sha256": fingerprint_of(file.path)},
        "data": describe_data(manifest),
    }
