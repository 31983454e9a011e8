"""Where the images and the probabilities of an evaluation come from: a run, other photos, another model, a CSV."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.config.judging import EvaluateConfig
from pipelines.data.find import composed
from pipelines.data.manifest import data_root
from pipelines.data.table import table_rows
from pipelines.evaluation.integrity import check_same_images, load_run_manifest
from pipelines.evaluation.judged import Judged, unknown_apart
from pipelines.evaluation.looks import Looks
from pipelines.evaluation.matching import in_order_of, labelled_otherwise, other_labels, places_of
from pipelines.evaluation.other_photos import find_photos, known_photos, with_photos
from pipelines.evaluation.predictions import BATCH_SIZE, input_spec_of, probabilities_of
from pipelines.evaluation.predictions_file import read_predictions
from pipelines.evaluation.run_calibration import temperature_of
from pipelines.evaluation.served import FILE_SUFFIXES, ServedModel, file_probabilities
from pipelines.runs.chosen_by import chosen_in_words, learned_from
from pipelines.runs.directory import Run, load_classes, read_config
from pipelines.runs.files import sha256
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers

_NAME_LETTERS = 40
_LOOKED_THROUGH = 100


def name_of(config: EvaluateConfig, run: Run | None) -> str:
    """Returns the name of what is judged, which its folder has too.

    Args:
        config: What to judge.
        run: Finished run, or None.
    """
    if config.predictions is not None:
        name = f"predictions-{_slug(config.predictions)}"
    elif config.data is not None and (run is None or not holds_images_of(run, config.split, config.data)):
        name = f"photos-{_slug(config.data)}"
    else:
        name = config.split
    return name if config.model is None else f"{name}-{_slug(config.model)}"


def judged_by_run(config: EvaluateConfig, run: Run, name: str, workers: Workers) -> Judged:
    """Returns the images of a run's split, or other photos, with the probabilities of the run's model or of another
    model of its classes. All workers must call this together.

    Args:
        config: What to judge.
        run: Finished run.
        name: Result of `name_of`.
        workers: All workers.

    Raises:
        UserError: There are no such images, one of them is missing, or the model is of another kind.
    """
    classes, notes = load_classes(run), tuple[str, ...]()
    if name.startswith("photos-"):
        found = workers.from_chief(lambda: find_photos(str(config.data), config.split))
        rows, root, notes = pd.DataFrame(found["rows"]), Path(found["root"]), tuple(found["notes"])
        notes = (*notes, *known_photos(rows, run))
    else:
        rows, root = rows_of_split(run, config.split), root_of(run, config.data)
        check_same_images(workers.part_of(rows, BATCH_SIZE), root)
        if config.data is not None and os.path.isfile(config.data):
            notes = labelled_otherwise(rows, _labels_of(config.data), config.data)
    if config.model is None:
        probabilities = probabilities_of(
            rows,
            root,
            run,
            workers,
            strategy=config.strategy,
            looks=Looks(config.mirror, config.crops, config.scales or ()),
            label=f"evaluated on {name}",
        )
    else:
        probabilities = _by_another_model(Path(config.model), rows, root, run, classes)
    return unknown_apart(Judged(name, classes, rows, probabilities, root, notes=notes))


def judged_by_served_model(config: EvaluateConfig, name: str) -> Judged:
    """Returns other photos with the probabilities of a SavedModel that no run is known of.

    Raises:
        UserError: There are no such photos, or the model is of another kind.
    """
    assert config.model is not None
    _check_judged(Path(config.model))
    if not (Path(config.model) / "saved_model.pb").is_file():
        raise UserError(
            f"{config.model!r} is not the folder of a SavedModel, which alone is judged without a RUN; name the "
            "RUN that it was exported from"
        )
    model = ServedModel(Path(config.model))
    found = find_photos(str(config.data), config.split)
    rows, root = pd.DataFrame(found["rows"]), Path(found["root"])
    probabilities = model.probabilities(rows, root)
    return unknown_apart(Judged(name, model.classes, rows, probabilities, root, notes=tuple(found["notes"])))


def judged_by_file(config: EvaluateConfig, run: Run | None, name: str) -> Judged:
    """Returns the predictions of another program, with the labels of the run's split, of other photos, or of the file.

    Args:
        config: What to judge.
        run: Finished run whose images and classes count, or None.
        name: Result of `name_of`.

    Raises:
        UserError: The file is no such table, or has no prediction for an image.
    """
    assert config.predictions is not None
    file = Path(config.predictions)
    read = read_predictions(file)
    notes = (read.note,) if read.note else ()
    if run is not None:
        rows, root, classes = rows_of_split(run, config.split), root_of(run, config.data), load_classes(run)
        probabilities = in_order_of(classes, read, file)[places_of(rows["path"], root, read, file)]
        notes = (*notes, *other_labels(rows, root, read, file))
        return Judged(name, classes, rows, probabilities, root, notes=notes)
    if config.data is not None:
        found = find_photos(str(config.data), config.split)
        rows, root = pd.DataFrame(found["rows"]), Path(found["root"])
        probabilities = read.probabilities[places_of(rows["path"], root, read, file)]
        notes = (*notes, *found["notes"])
        return unknown_apart(Judged(name, read.classes, rows, probabilities, root, notes=notes))
    if "label" not in read.table:
        raise UserError(
            f"{str(file)!r} has no column 'label' with the true classes; add it, or name the labelled photos with "
            "--data, or the RUN whose images they are"
        )
    rows, there = with_photos(read.table, file.parent)
    return unknown_apart(
        Judged(name, read.classes, rows, read.probabilities, file.parent if there else None, notes=notes)
    )


def rows_of_split(run: Run, split: str) -> pd.DataFrame:
    """Returns the rows of a run's manifest that are in a split.

    Raises:
        UserError: There are none.
    """
    manifest = load_run_manifest(run)
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    if rows.empty and (learned := learned_from(run)):
        raise UserError(
            f"{str(run.path)!r} has learned from {learned}, so that {split!r} has no image to evaluate it on; "
            f"{chosen_in_words(run)}"
        )
    if rows.empty:
        others = ", ".join(sorted(manifest["split"].unique())) or "none at all"
        instead = "; `--split val` judges by the validation images" if (manifest["split"] == "val").any() else ""
        raise UserError(f"the run {str(run.path)!r} has no images in the split {split!r}; it has {others}{instead}")
    return rows


def root_of(run: Run, data: str | None) -> Path:
    """Returns the folder that the paths of a run's manifest are relative to.

    Args:
        run: Run.
        data: Folder or CSV where the images are now, or None if they have not moved.

    Raises:
        UserError: There is no such folder or CSV.
    """
    if data is not None and not Path(data).exists():
        raise UserError(f"there is nothing at {data!r}; --data names the folder, or the table, of the images")
    return data_root(read_config(run.config)["arguments"]["data"] if data is None else data)


def holds_images_of(run: Run, split: str, data: str) -> bool:
    """Returns whether a folder or a CSV has images of a run's split, by their content; otherwise it has other photos.

    A CSV has the images that it names, and not all of its folder.

    Where the run has no image in the split, such as a training on all images, the images of its other splits say
    whether the folder is the run's. A folder that has none of the run's paths and no images of its own is taken for
    that of the run, whose images are then missing there.
    """
    root, manifest = root_of(run, data), load_run_manifest(run)
    of_split = manifest[manifest["split"] == split]
    rows = manifest if of_split.empty else of_split
    named = set(rows["path"]) if os.path.isdir(data) else set(_labels_of(data))
    there = [place for place, path in enumerate(rows["path"]) if path in named and (root / path).is_file()]
    if not there:
        return os.path.isdir(data) and not os.listdir(data)
    looked = there[:: max(1, len(there) // _LOOKED_THROUGH)]
    digests = rows["sha256"].tolist()
    return any(not digests[place] or sha256(root / rows["path"].iloc[place]) == digests[place] for place in looked)


def _labels_of(table: str) -> dict[str, str]:
    """Returns the labels that a CSV gives to images, by the images' paths."""
    return {path: composed(label) for path, label, *_ in table_rows(Path(table))}


def _check_judged(model: Path) -> None:
    """Checks that a path is a model of a kind that can be judged.

    Raises:
        UserError: There is none, or it is of another kind.
    """
    known = "--model names the folder of a SavedModel or of an OpenVINO model, or a file of ONNX, OpenVINO or LiteRT"
    if not model.exists():
        raise UserError(f"there is no model {str(model)!r}; {known}")
    inside = any((model / name).is_file() for name in ("saved_model.pb", "model.xml"))
    if not (inside if model.is_dir() else model.suffix.lower() in FILE_SUFFIXES):
        raise UserError(f"{str(model)!r} is of no kind that can be judged; {known} ({', '.join(FILE_SUFFIXES)})")


def _by_another_model(model: Path, rows: pd.DataFrame, root: Path, run: Run, classes: list[str]) -> np.ndarray:
    _check_judged(model)
    spec = input_spec_of(run)
    if (model / "model.xml").is_file():  # the folder of an OpenVINO export
        model = model / "model.xml"
    if not model.is_dir():
        found, names = file_probabilities(model, rows, root, spec, temperature_of(run))
    else:
        served = ServedModel(model)
        found, names = served.probabilities(rows, root, spec.value_range), served.classes
    if names is not None:
        if sorted(names) != sorted(classes):
            raise UserError(f"the model {str(model)!r} has other classes than the run {str(run.path)!r}")
        found = found[:, [names.index(name) for name in classes]]
    if found.shape[1] != len(classes):
        raise UserError(
            f"the model {str(model)!r} has {found.shape[1]} outputs, and the run has {len(classes)} classes"
        )
    return found


def _slug(path: str) -> str:
    """Returns a name for a folder: the last part of a path, and a few digits of the whole of it."""
    whole = Path(path).resolve()
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", whole.name).strip("-.")[:_NAME_LETTERS]
    digits = hashlib.sha256(os.fsencode(whole)).hexdigest()[:6]
    return f"{plain or 'photos'}-{digits}"
