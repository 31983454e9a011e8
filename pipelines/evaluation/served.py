"""Probabilities that an exported model gives to images: a SavedModel, or a file of ONNX, OpenVINO or LiteRT."""

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.console.terminal import progress
from pipelines.data.value_range import UNKNOWN, ValueRange
from pipelines.evaluation.inference import named_images_of, softmax
from pipelines.evaluation.runtimes import litert_signature, onnx_session, openvino_model
from pipelines.images.decode import decode_file
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import InputSpec
from resnet_tf.errors import UserError
from resnet_tf.weights.readers import SAVED_MODEL_DESCRIPTION
from resnet_tf.weights.weight_file import described

BATCH_SIZE = 32
_SIGNATURE = "serving_default"


class ServedModel:
    """A SavedModel with the signature that `export` writes: uint8 images of any size, and answers with names.

    Args:
        folder: Folder of the SavedModel.

    Raises:
        UserError: It cannot be loaded, or has another signature.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "saved_model.pb").is_file():
            raise UserError(f"{str(folder)!r} is no SavedModel: it has no saved_model.pb")
        try:
            self._model = tf.saved_model.load(str(folder))
            self._serve = self._model.signatures[_SIGNATURE]
            outputs = set(self._serve.structured_outputs)
        except Exception as error:  # TensorFlow raises many kinds of errors for damaged bytes
            raise UserError(f"the SavedModel {str(folder)!r} cannot be loaded: {_first_line(error)}") from error
        _, inputs = self._serve.structured_input_signature
        takes = {name: spec.dtype for name, spec in inputs.items()}
        if takes != {"images": tf.uint8} or not {"probabilities", "class_name"} <= outputs:
            raise UserError(
                f"the SavedModel {str(folder)!r} does not take uint8 'images' and answer with 'probabilities' and "
                "'class_name', as those of `resnet-tf export` do; judge its predictions with --predictions FILE.csv"
            )
        self.classes = _names_in(folder)

    def probabilities(self, rows: pd.DataFrame, root: Path, value_range: ValueRange = UNKNOWN) -> np.ndarray:
        """Returns the probabilities of images, float64 [n, classes]; each is decoded at its own size.

        Args:
            rows: Rows of a manifest.
            root: Folder that their paths are relative to.
            value_range: Stored values that become black and white, where there are more than 8 bits.
        """
        columns = zip(rows["path"], rows["decoder"], rows["orientation"], strict=True)
        found = []
        with lost_images_named(rows, root, value_range=value_range):
            for path, decoder, orientation in progress(columns, len(rows), "served"):
                facts = tf.constant(str(root / path)), tf.constant(decoder), tf.constant(orientation)
                picture = decode_file(*facts, value_range)
                found.append(self._serve(images=picture[None])["probabilities"].numpy()[0])
        return np.asarray(found, np.float64)


@dataclass(frozen=True)
class FileModel:
    """A model in a file of another runtime.

    Args:
        run: Function from a batch of images [n, height, width, 3] to probabilities or logits [n, classes].
        dtype: Type of its images.
        whole: Whether it takes whole pictures and makes the view itself.
        classes: Names of the classes that it says itself, or None. Such a file is one of `resnet-tf export`, and gives
            probabilities; that of another program may give logits.
    """

    run: Callable[[np.ndarray], np.ndarray]
    dtype: type = np.uint8
    whole: bool = False
    classes: list[str] | None = None


def file_probabilities(
    file: Path, rows: pd.DataFrame, root: Path, spec: InputSpec, temperature: float
) -> tuple[np.ndarray, list[str] | None]:
    """Returns the probabilities that an ONNX, OpenVINO or LiteRT model gives to images, and the classes that it names.

    Args:
        file: File with one of `FILE_SUFFIXES`, whose input is a batch of images [n, height, width, 3] in 0 … 255; it
            normalizes them itself.
        rows: Rows of a manifest.
        root: Folder that their paths are relative to.
        spec: Size and view of the images.
        temperature: Number that logits are divided by, if the model returns logits.

    Returns:
        float64 [n, classes], and the names of the classes, or None where the file has none.

    Raises:
        UserError: The runtime is not installed, or the file is no such model.
    """
    if not file.is_file():
        raise UserError(f"there is no model {str(file)!r}")
    kind, load = _LOADERS[file.suffix.lower()]
    model = load(file)
    found = []
    for images in progress(_images(model, rows, root, spec), len(rows), f"computed by {kind}", size=BATCH_SIZE):
        try:
            found.append(np.asarray(model.run(images.astype(model.dtype))))
        except Exception as error:  # runtimes raise errors of their own kinds
            raise UserError(f"the {kind} model {str(file)!r} fails: {_first_line(error)}") from error
    values = np.concatenate(found).astype(np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise UserError(f"the {kind} model {str(file)!r} must return finite numbers [n, classes], not {values.shape}")
    sums = values.sum(axis=1)
    are_probabilities = model.classes is not None or bool((values >= 0.0).all() and np.abs(sums - 1.0).max() < 1e-3)
    return (values / sums[:, None] if are_probabilities else softmax(values / temperature)), model.classes


def _images(model: FileModel, rows: pd.DataFrame, root: Path, spec: InputSpec) -> Iterator[np.ndarray]:
    """Yields batches of images as the network sees them, or whole pictures one by one."""
    if not model.whole:
        yield from (images.numpy() for images in named_images_of(rows, root, spec, BATCH_SIZE))
        return
    columns = zip(rows["path"], rows["decoder"], rows["orientation"], strict=True)
    with lost_images_named(rows, root, value_range=spec.value_range):
        for path, decoder, orientation in columns:
            facts = tf.constant(str(root / path)), tf.constant(decoder), tf.constant(orientation)
            yield decode_file(*facts, spec.value_range).numpy()[None]


def _onnx(file: Path) -> FileModel:
    try:
        session = onnx_session(file)
    except ImportError:
        raise UserError("onnxruntime is not installed, which runs ONNX files: pip install onnxruntime") from None
    except Exception as error:  # ONNX Runtime raises errors of its own kinds
        raise UserError(f"{str(file)!r} is no ONNX model that can be run: {_first_line(error)}") from error
    taken = session.get_inputs()
    kinds: dict[str, type] = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}
    if len(taken) != 1 or taken[0].type not in kinds or len(taken[0].shape) != 4 or taken[0].shape[3] not in (3, None):
        described = ", ".join(f"{each.name} {each.type} {each.shape}" for each in taken)
        raise UserError(
            f"the ONNX model {str(file)!r} must take one batch of images [n, height, width, 3] in 0 … 255, and takes "
            f"{described}"
        )
    said, name = session.get_modelmeta().custom_metadata_map, taken[0].name
    return FileModel(
        lambda images: session.run(None, {name: images})[0], kinds[taken[0].type], "view" in said, _names(said)
    )


def _openvino(file: Path) -> FileModel:
    try:
        read, model = openvino_model(file)
        said = {name: read.get_rt_info(["resnet_tf", name]).astype(str) for name in ("classes", "view")}
    except ImportError:
        raise UserError("openvino is not installed, which runs its files: pip install openvino") from None
    except Exception as error:  # OpenVINO raises errors of its own kinds
        raise UserError(f"{str(file)!r} is no OpenVINO model of `resnet-tf export`: {_first_line(error)}") from error
    return FileModel(lambda images: model(images)[0], whole=True, classes=_names(said))


def _litert(file: Path) -> FileModel:
    try:
        signature = litert_signature(file)
        with zipfile.ZipFile(file) as archive:
            classes = json.loads(archive.read("metadata.json"))["classes"]
    except ImportError:
        raise UserError(
            "ai-edge-litert is not installed, which runs LiteRT files: pip install ai-edge-litert"
        ) from None
    except Exception as error:  # LiteRT raises errors of many kinds
        raise UserError(f"{str(file)!r} is no LiteRT model of `resnet-tf export`: {_first_line(error)}") from error
    return FileModel(lambda images: signature(images=images)["probabilities"], classes=classes)


_LOADERS = {".onnx": ("ONNX", _onnx), ".xml": ("OpenVINO", _openvino), ".tflite": ("LiteRT", _litert)}
FILE_SUFFIXES = tuple(_LOADERS)


def _names(said: dict[str, str]) -> list[str] | None:
    """Returns the classes in the metadata of a file, None where they are not there or of another kind."""
    try:
        found = json.loads(said["classes"])
    except (KeyError, ValueError):
        return None
    return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else None


def _names_in(folder: Path) -> list[str]:
    """Returns the classes of a SavedModel, from its description; the list in its assets has no line breaks in names."""
    said, labels = folder / SAVED_MODEL_DESCRIPTION, folder / "assets" / "labels.txt"
    try:
        classes = described(said, {}, said.read_text(encoding="utf-8")).classes if said.is_file() else None
    except (OSError, ValueError) as error:
        raise UserError(f"the SavedModel {str(folder)!r} is damaged: {said.name}: {_first_line(error)}") from error
    if classes is not None:
        return list(classes)
    if not labels.is_file():
        raise UserError(f"the SavedModel {str(folder)!r} has no assets/labels.txt with the names of its classes")
    return labels.read_text(encoding="utf-8").split("\n")[:-1]


def _first_line(error: Any) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
