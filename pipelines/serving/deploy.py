"""The folder that `export --deploy` makes: the model, and what servers and their clients need to know about it."""

import re
import shutil
from importlib.resources import files
from pathlib import Path

import tensorflow as tf
from jinja2 import Environment, FunctionLoader, StrictUndefined

from pipelines.config.formats import Target
from pipelines.console.terminal import say, warn
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, write_text
from pipelines.runs.temporaries import temporary_folder
from pipelines.serving.entries import entries_of
from resnet_tf.errors import UserError

LARGEST_BATCH = 32
_TEMPLATES = files("pipelines.serving") / "templates"
# What two exports of the same answers have in common, in the words for another one.
_FACTS = {"model_sha256": "another model", "mirror": "another --mirror", "temperature": "another temperature"}
_LONGEST_NAME = 50  # a name in Kubernetes has at most 63 letters, and KServe adds some
# Places in the folder, with their templates; NAME is the model's name.
_FILES = {
    "README.md": "README.md",
    "tensorflow-serving/models.config": "models.config",
    "tensorflow-serving/batching.config": "batching.config",
    "tensorflow-serving/monitoring.config": "monitoring.config",
    "tensorflow-serving/Dockerfile": "Dockerfile",
    "tensorflow-serving/compose.yaml": "serving.compose.yaml",
    "triton/NAME/config.pbtxt": "config.pbtxt",
    "triton/compose.yaml": "triton.compose.yaml",
    "kserve/inference-service.yaml": "inference-service.yaml",
    "clients/client.py": "client.py.template",
    "clients/ask.sh": "ask.sh",
}
_FILES_OF_ONNX = {
    "triton/NAME-onnx/config.pbtxt": "onnx.config.pbtxt",
    "openvino/config.json": "openvino.config.json",
    "openvino/compose.yaml": "openvino.compose.yaml",
}


def check_deployment(folder: Path) -> None:
    """Checks that a folder for the deployment is empty or does not exist.

    Raises:
        UserError: It is anything else.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"--deploy {str(folder)!r} exists and is not an empty folder; name a new one")


def deploy(run: Run, folder: Path) -> None:
    """Writes a folder with the exported model of a run, and files for servers and clients.

    If the same model was exported to ONNX too, with the same answers, the folder has that file as well.

    Args:
        run: Run whose SavedModel is exported.
        folder: Folder to make.

    Raises:
        UserError: The folder exists and is not empty, or cannot be written.
    """
    check_deployment(folder)
    name, onnx = model_name(run), _onnx_file(run)
    content = {
        "name": name,
        "classes": len(read_json(run.classes)),
        "batch": LARGEST_BATCH,
        "tensorflow": tf.__version__,
        "onnx": onnx is not None,
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder.parent) as temporary:
            made = temporary / "made"
            shutil.copytree(run.saved_model, made / "models" / name / "1")
            if onnx is not None:
                (made / "models" / f"{name}-onnx" / "1").mkdir(parents=True)
                shutil.copyfile(onnx, made / "models" / f"{name}-onnx" / "1" / "model.onnx")
            for place, template in (_FILES | _FILES_OF_ONNX if onnx else _FILES).items():
                file = made / place.replace("NAME", name)
                file.parent.mkdir(parents=True, exist_ok=True)
                write_text(file, _environment().get_template(template).render(content))
            made.rename(folder)  # an empty folder is replaced
    except OSError as error:
        raise UserError(f"--deploy {str(folder)!r} cannot be written: {error.strerror or error}") from error
    say(f"deployment: {folder}; its README.md says how each server is started")


def _onnx_file(run: Run) -> Path | None:
    """Returns the ONNX file in float32 that answers as the SavedModel does, or None."""
    file, saved_model = (Target(name).place(run.export_report.parent) for name in ("onnx", "saved_model"))
    of_path = {run.export_report.parent / str(each.get("path")): each for each in entries_of(run)}
    if file not in of_path:
        return None
    others, ours = of_path[file], of_path.get(saved_model, {})
    differing = [words for name, words in _FACTS.items() if others.get(name) != ours.get(name)]
    if differing:
        warn(f"{file.name} is left out, since it has {' and '.join(differing)} than the SavedModel; export both again")
    return None if differing else file


def model_name(run: Run) -> str:
    """Returns the name under which servers know a run: of its folder's name, what all of them allow."""
    letters = re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-")[:_LONGEST_NAME].strip("-")
    return letters if letters[:1].isalpha() else f"model-{letters}".strip("-")


def _environment() -> Environment:
    load = lambda name: (_TEMPLATES / name).read_text(encoding="utf-8")  # noqa: E731
    # The files are no HTML. All that is put into them are numbers, and a name of small letters, digits and hyphens.
    return Environment(loader=FunctionLoader(load), undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701
