"""Predictions of a finished run: the probabilities of images, and the table of predictions."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax, logsumexp

from pipelines.console.terminal import of_part
from pipelines.data.value_range import range_of_config
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.looks import Looks, check_looks, streams_of
from pipelines.evaluation.run_calibration import RunCalibration, temperature_of
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import ImageSource, InputSpec
from pipelines.runs.directory import Run, finished_run, read_config
from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.errors import UserError
from resnet_tf.saved import what_a_model_says
from resnet_tf.weights import Preprocessing
from resnet_tf.workers import Workers

BATCH_SIZE = 32


def input_spec_of(run: Run) -> InputSpec:
    """Returns how a run's model wants its images sized and cropped. The model says it, and config.json must agree.

    Raises:
        UserError: They disagree, or neither says it.
    """
    said, look = what_a_model_says(run.model), preprocessing_of(run)
    content = read_config(run.config)
    # An imported network has no recipe, and runs of earlier versions have the size among the arguments alone.
    size = (content.get("recipe") or {}).get("image_size") or content["arguments"].get("image_size")
    if said is not None and said.image_size is not None:
        models = said.preprocessing
        theirs = said.image_size, models.crop_fraction, models.interpolation, models.view
        if theirs != (size, look.crop_fraction, look.interpolation, look.view):
            raise UserError(
                f"{str(run.config)!r} and {run.model.name} disagree about the size, the view, the crop or the "
                "interpolation of images; bring the original files back"
            )
    elif not isinstance(size, int):
        raise UserError(f"{str(run.config)!r} has no 'image_size'")
    value_range = range_of_config(content)
    return InputSpec(size, look.crop_fraction, look.interpolation, value_range=value_range, view=look.view)


def preprocessing_of(run: Run) -> Preprocessing:
    """Reads from a run's config.json how its images are normalized, cropped and resized.

    Raises:
        UserError: It says nothing that can be understood.
    """
    fields: Any = read_config(run.config).get("preprocessing")
    try:
        return Preprocessing(**fields)  # old configs lack interpolation and view
    except (TypeError, ValueError) as error:
        raise UserError(f"the 'preprocessing' of {str(run.config)!r} is not understood: {error}") from error


def probabilities_of(
    rows: pd.DataFrame, root: Path, run: Run, workers: Workers, *, strategy: str, looks: Looks, label: str
) -> np.ndarray:
    """Returns the probabilities that a run's model gives to images. All workers must call this together.

    Each worker reads and computes whole batches. The batches are those of a single process, so the numbers are the
    same too.

    Args:
        rows: Rows of a manifest.
        root: Folder that their paths are relative to.
        run: Finished run.
        workers: All workers.
        strategy: Name of the devices that compute, see `choose_strategy`.
        looks: Looks at each image that the probabilities are averaged over.
        label: Label of the progress bar.

    Returns:
        float64 [images, classes].

    Raises:
        LostImage: One of this worker's images is missing or can no longer be read.
    """
    part = workers.part_of(rows, BATCH_SIZE)
    devices = workers.strategy or choose_strategy(strategy)
    with scope(devices):
        model, classes = load_network(run)
        inference = Inference(model, looks.mirrored, devices, temperature_of(run))
    check_looks(looks, model.input_shape)
    input_spec, source = input_spec_of(run), ImageSource(part, root, classes)
    logits = _averaged(inference, looks, source, input_spec, of_part(label, workers.count))
    return probabilities_from(workers.together(logits, len(rows), BATCH_SIZE))


def _averaged(inference: Inference, looks: Looks, source: ImageSource, spec: InputSpec, label: str) -> np.ndarray:
    """Returns the logits of a worker's images, float32 [images, classes]; of several looks, those of the means of their
    probabilities.
    """
    found, streams = [], streams_of(looks, source, spec, BATCH_SIZE)
    for number, (stream, size) in enumerate(streams, 1):
        with lost_images_named(source.rows, source.root, size, spec.value_range) as watched:
            of_several = f"{label}, {number} of {len(streams)}" if len(streams) > 1 else label
            found.append(outputs(inference, watched(images_of(stream)), len(source.rows), size, of_several))
    if len(found) == 1:
        return found[0]
    return (logsumexp([log_softmax(logits, axis=1) for logits in found], axis=0) - math.log(len(found))).astype("f4")


def probabilities_from(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities, float64 [images, classes], of logits of the same shape.

    Raises:
        UserError: A logit is NaN or infinite, so that nothing can be said of its image.
    """
    broken = int((~np.isfinite(logits).all(axis=1)).sum())
    if broken:
        raise UserError(
            f"the model's outputs are NaN or infinite for {broken} of {len(logits)} images: its weights are broken, or "
            "too large; train again, or import other weights"
        )
    return softmax(logits)


def prediction_table(
    paths: list[str],
    labels: list[str] | None,
    probabilities: np.ndarray,
    classes: list[str],
    more: dict[str, list[str]] | None = None,
) -> pd.DataFrame:
    """Returns the table of predictions, with a row per image.

    Its columns are path, label if known, predicted, confidence, further ones, and one column "p:CLASS" per class, so
    that no class has the name of another column.

    Args:
        paths: Path of each image.
        labels: True class of each image, or None if unknown.
        probabilities: float [images, classes].
        classes: Names of the classes, in the order of the probabilities.
        more: Further columns, see `certainty_columns`.
    """
    winners = probabilities.argmax(axis=1)
    table = pd.DataFrame({"path": paths})
    if labels is not None:
        table["label"] = labels
    table["predicted"] = [classes[winner] for winner in winners]
    table["confidence"] = probabilities.max(axis=1)
    for name, values in (more or {}).items():
        table[name] = values
    return pd.concat([table, pd.DataFrame(probabilities, columns=probability_columns(classes))], axis=1)


def certainty_columns(
    calibration: RunCalibration | None, probabilities: np.ndarray, classes: list[str], level: float | None = None
) -> dict[str, list[str]]:
    """Returns the columns of a table of predictions that say how sure a run is; none if it is not calibrated.

    They are decision, the likeliest class or "unsure"; and set, if a level is given: a list of classes in JSON.

    Args:
        calibration: Calibration of the run, or None.
        probabilities: float [images, classes], calibrated.
        classes: Names of the classes, in the order of the probabilities.
        level: Probability with which a set contains the true class, or None.

    Raises:
        UserError: As `check_level`.
    """
    check_level(calibration, level)
    if calibration is None:
        return {}
    found = {"decision": calibration.decisions(probabilities, classes)}
    if level is not None:
        sets = calibration.sets(probabilities, classes, level)
        found["set"] = [json.dumps(names, ensure_ascii=False) for names in sets]
    return found


def check_level(calibration: RunCalibration | None, level: float | None) -> None:
    """Checks that a run can make sets of a level; None asks for no sets.

    Raises:
        UserError: The run was calibrated on too few images for it, or not at all.
    """
    if level is None:
        return
    if calibration is None:
        raise UserError(
            f"--set {level:g} needs a calibrated run, and this one was imported, or trained by an earlier version"
        )
    calibration.quantile(level)


def probability_columns(classes: list[str]) -> list[str]:
    """Returns the columns of a table of predictions that have the probabilities, in the order of the classes."""
    return [f"p:{name}" for name in classes]


@contextmanager
def finished_run_for_all(run: Run, workers: Workers) -> Iterator[Run]:
    """Gives all workers the chief's run. All workers must call this together.

    The other workers get a copy of the files that its model needs, which is removed at the end of the `with` block.

    Raises:
        UserError: There is no such run, or it is not finished.
    """
    if workers.alone:
        yield finished_run(run.path)
        return

    def read() -> dict[str, np.ndarray]:
        known = finished_run(run.path)
        files = [*known.of_model, *([known.calibration] if known.calibration.is_file() else [])]
        return {file.name: np.fromfile(file, np.uint8) for file in files}

    contents = workers.arrays_from_chief(read)
    if workers.chief:
        yield run
        return
    with TemporaryDirectory() as folder:
        copy = Run(Path(folder), writable=False)
        for name, content in contents.items():
            (copy.path / name).write_bytes(content.tobytes())
        yield copy
