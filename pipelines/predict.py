"""predict: files, folders or globs to a table of classes, with the probabilities that evaluate gives."""

import glob
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.config import PredictConfig
from pipelines.data.audit import inspect_image
from pipelines.data.stream import evaluation_stream
from pipelines.data.trouble import lost_images_named
from pipelines.inference import compiled, outputs, prediction_table, softmax, view_of
from pipelines.run import finished_run, load_classes, load_model, write_csv
from pipelines.terminal import say, warn
from resnet_tf.errors import UserError

BATCH_SIZE = 32
_CURRENT = Path(".")


def predict(config: PredictConfig) -> bool:
    """Prints the likeliest classes of each image, and writes all probabilities where a file is named.

    Args:
        config: Run, images, and what of the answer.

    Returns:
        Whether some files were no images; they are named and left out.

    Raises:
        UserError: A path names nothing, or not one file is an image.
    """
    run = finished_run(config.run)
    files = [file for pattern in config.paths for file in expand(pattern)]
    rows, unreadable = _readable_rows(files)
    for file, reason in unreadable:
        warn(f"left out: {file} ({reason})")
    if rows.empty:
        raise UserError(f"not one of the {len(files)} files is a readable image, such as {str(files[0])!r}")
    classes = load_classes(run)
    compute = compiled(load_model(run), config.mirror)

    stream = evaluation_stream(rows, _CURRENT, classes, view_of(run), batch_size=BATCH_SIZE)
    with lost_images_named(rows, _CURRENT):
        probabilities = softmax(outputs(compute, stream, len(rows), BATCH_SIZE, "predicted"))
    if config.out:
        write_csv(Path(config.out), prediction_table(rows["path"].tolist(), None, probabilities, classes))
        say(f"wrote {config.out}")
    say(_top_table(rows["path"].tolist(), probabilities, classes, config.top))
    return bool(unreadable)


def expand(pattern: str) -> list[Path]:
    """The files behind a file name, a folder (all files in it, at any depth) or a glob.

    Raises:
        UserError: There are none.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    found = path.rglob("*") if path.is_dir() else (Path(name) for name in glob.iglob(pattern, recursive=True))
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    if not files:
        raise UserError(f"no file is named or matched by {pattern!r}")
    return files


def _readable_rows(files: list[Path]) -> tuple[pd.DataFrame, list[tuple[Path, str]]]:
    rows, unreadable = [], []
    for file in files:
        facts = inspect_image(file, file.resolve().parent)
        if facts.readable:
            rows.append((str(file), "", facts.decoder, facts.orientation))
        else:
            unreadable.append((file, facts.reason))
    return pd.DataFrame(rows, columns=["path", "label", "decoder", "orientation"]), unreadable


def _top_table(paths: list[str], probabilities: np.ndarray, classes: list[str], top: int) -> str:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    return "\n".join(
        f"{path}  " + "  ".join(f"{classes[place]} {probabilities[row, place]:.4f}" for place in best[row])
        for row, path in enumerate(paths)
    )
