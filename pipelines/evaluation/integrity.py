"""Whether what is evaluated is what was trained: the files of a run belong together, and the images are the run's."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.console.terminal import progress
from pipelines.data.manifest import fingerprint, load_manifest
from pipelines.runs.directory import Run, load_classes, load_model, read_config
from pipelines.runs.files import sha256
from resnet_tf.errors import UserError

# No trained network has such a large number; sums of squares of it are infinite in float32.
LARGEST_VALUE = 1e15
# From so many images on, hashing them takes long enough to say so.
_MANY = 2000


def load_network(run: Run) -> tuple[Any, list[str]]:
    """Loads the best model of a run with the names of its outputs.

    Returns:
        A `keras.Model` from uint8 images to logits, and the class names in the order of the logits.

    Raises:
        UserError: A file is damaged, or there is not one class for each output.
    """
    model, classes = load_model(run), load_classes(run)
    outputs = model.output_shape[-1]
    if len(classes) != outputs:
        raise UserError(f"{str(run.classes)!r} names {len(classes)} classes, but the model has {outputs} outputs")
    check_values(model)
    return model, classes


def check_values(model: Any) -> None:
    """Checks that a network has numbers that can be computed with. Its outputs alone do not show it: a ReLU makes 0 of
    NaN on some processors.

    Args:
        model: A `keras.Model`.

    Raises:
        UserError: A variable is NaN, infinite, or larger than that of any trained network, or a variance is negative.
    """
    for variable in model.variables:
        value = np.asarray(variable)
        largest = float(np.abs(value).max(initial=0.0))
        if not largest < LARGEST_VALUE:
            raise UserError(f"the model's variable {variable.path!r} has the value {largest:g}; its weights are broken")
        if variable.name == "moving_variance" and float(value.min(initial=0.0)) < 0.0:
            raise UserError(f"the model's variable {variable.path!r} is negative; its weights are broken")


def load_run_manifest(run: Run) -> pd.DataFrame:
    """Reads the manifest of a run and checks that it is the one that the run was made with.

    Raises:
        UserError: It is no table, or rows of it are missing, added or changed.
    """
    manifest, content = load_manifest(run.manifest), read_config(run.config)
    data = content.get("data")
    data = data if isinstance(data, dict) else {}
    made = data.get("fingerprint")
    if made is None:
        raise UserError(f"{str(run.config)!r} says nothing of the run's images: it has no fingerprint of 'data'")
    if made != fingerprint(manifest):
        raise UserError(
            f"{str(run.manifest)!r} is not the table that the run was made with: it has {len(manifest)} images, and "
            f"config.json is of {data.get('images')} with another fingerprint; bring the original back"
        )
    return manifest


def check_same_images(rows: pd.DataFrame, root: Path) -> None:
    """Checks that files have the content that they had when the run was made.

    Args:
        rows: Rows of the run's manifest.
        root: Folder that their paths are relative to.

    Raises:
        UserError: A file is missing, cannot be read, or is another picture.
    """
    missing = [path for path in rows["path"] if not (root / path).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(rows)} images are not in {str(root)!r} any more, such as {missing[0]!r}; "
            "say with --data where they are"
        )
    pairs = zip(rows["path"], rows["sha256"], strict=True)
    shown = progress(pairs, len(rows), "compared with the run's images" if len(rows) >= _MANY else "")
    changed = [path for path, made in shown if made and _sha256(root / path) != made]
    if changed:
        raise UserError(
            f"{len(changed)} of {len(rows)} images in {str(root)!r} are not those of the run, though they have the "
            f"same names, such as {changed[0]!r}: their SHA-256 differ; name the folder of the originals with --data"
        )


def _sha256(path: Path) -> str:
    try:
        return sha256(path)
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from error
