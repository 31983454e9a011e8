"""The whole job from Python: everything that a notebook calls, with types, and with results that a notebook shows.

    from pipelines.notebook import audit, evaluate, export, finetune, plan, predict

See docs/python.md.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.console.quiet import import_tensorflow, set_up_tensorflow

set_up_tensorflow()
import_tensorflow()

import pandas as pd  # noqa: E402  TensorFlow comes first, with its settings

from pipelines import audit as _audit  # noqa: E402
from pipelines import evaluate as _evaluate  # noqa: E402
from pipelines import export as _export  # noqa: E402
from pipelines import finetune as _finetune  # noqa: E402
from pipelines.audit import AuditReport  # noqa: E402
from pipelines.config.finetune import FinetuneConfig  # noqa: E402
from pipelines.config.formats import FLOAT32, targets_of  # noqa: E402
from pipelines.config.verbs import AuditConfig  # noqa: E402
from pipelines.evaluation.pictures import Picture, predict_images, prediction_tables  # noqa: E402
from pipelines.report.evaluation_files import Evaluation  # noqa: E402
from pipelines.runs.directory import Run, finished_run  # noqa: E402
from pipelines.training.plan import Plan  # noqa: E402
from pipelines.training.setup import make_plan  # noqa: E402

__all__ = [
    "AuditReport",
    "Evaluation",
    "Plan",
    "Run",
    "audit",
    "evaluate",
    "export",
    "export_formats",
    "finetune",
    "plan",
    "predict",
    "predict_many",
]


def audit(data: str | Path, **settings: Any) -> AuditReport:
    """Looks at every image before any training.

    Args:
        data: Folder with one sub-folder per class, folder with train/, val/ and test/ of such folders, or CSV.
        settings: Files to write, folders to move to, and what else `pipelines.config.verbs.AuditConfig` has.

    Returns:
        What was found: `images` is a DataFrame, `damages` says whether something would damage training.

    Raises:
        UserError: DATA is none of these.
    """
    return _audit.audit(AuditConfig(str(data), **settings))


def plan(data: str | Path, run: str | Path, **settings: Any) -> Plan:
    """Looks at all images, divides them, finds the weights, and decides everything else. Nothing is trained or written.

    Args:
        data: The images, as for `audit`.
        run: Run directory to make.
        settings: Other settings, as in `pipelines.config.finetune.FinetuneConfig`.

    Returns:
        The plan. It can be printed, and changed with `changed(epochs=5)`.

    Raises:
        UserError: A setting has a wrong value, or something is missing.
    """
    return make_plan(FinetuneConfig(str(data), str(run), **settings))


def finetune(plan: Plan) -> Run:
    """Fits a classifier as planned. The same plan on an unfinished run continues it.

    Args:
        plan: From `plan`.

    Returns:
        The run.

    Raises:
        UserError: Something that the user can mend; nothing that was earned is lost.
        KeyboardInterrupt: The cell was interrupted; what was trained until then is saved.
    """
    return _finetune.finetune(plan)


def evaluate(
    run: Run | str | Path, split: str = "test", *, data: str | None = None, mirror: bool = False
) -> Evaluation:
    """Judges a finished run by one of its splits, and writes its report.

    Args:
        run: The run, or its directory.
        split: "train", "val" or "test".
        data: Where the images are now, if they have moved.
        mirror: Whether the probabilities are means over each image and its mirror image.

    Returns:
        Metrics, confusion matrix, predictions and the report; a notebook shows the report.

    Raises:
        UserError: The run is not finished, or the split has no images, or one of them is missing.
    """
    return _evaluate.evaluate(_run(run), split, data, mirror)


def export(run: Run | str | Path, *, mirror: bool = False, unfinished: bool = False, data: str | None = None) -> Path:
    """Writes a SavedModel to serve, checked in a fresh process.

    Args:
        run: The run, or its directory.
        mirror: Whether the probabilities are means over each image and its mirror image.
        unfinished: Whether the best model so far of an unfinished run will do.
        data: Where the images are now, if they have moved.

    Returns:
        The SavedModel's folder.

    Raises:
        UserError: The run is not finished, or the SavedModel does not serve what the model says.
    """
    return _export.export(_run(run), mirror, unfinished=unfinished, data=data)


def export_formats(
    run: Run | str | Path,
    formats: Sequence[str],
    precisions: Sequence[str] = (FLOAT32,),
    *,
    mirror: bool = False,
    unfinished: bool = False,
    data: str | None = None,
    runtime: str | None = None,
) -> pd.DataFrame:
    """Writes exports for other engines, and measures each beside the SavedModel.

    Args:
        run: The run, or its directory.
        formats: Names among `pipelines.config.formats.FORMATS`, such as "onnx".
        precisions: Precisions that each of them is written in, such as "int8".
        mirror: Whether the probabilities are means over each image and its mirror image.
        unfinished: Whether the best model so far of an unfinished run will do.
        data: Where the images are now, if they have moved.
        runtime: Where ONNX Runtime for browsers is, for the format "web"; None downloads it.

    Returns:
        A row for each export with the figures of export.json. The first is the SavedModel in float32, also where it is
        only measured for comparison and not kept; it has no `path` then.

    Raises:
        UserError: The run is not finished, a package is missing, or an export does not agree with the run's model.
    """
    targets = targets_of(formats, precisions)
    found = _export.export_formats(_run(run), targets, mirror, unfinished=unfinished, data=data, runtime=runtime)
    return pd.DataFrame([each.as_dict() for each in found.exports])


def predict(run: Run | str | Path, images: Picture | Iterable[Picture], *, mirror: bool = False) -> pd.DataFrame:
    """Names the classes of pictures.

    Args:
        run: The run, or its directory.
        images: One picture or several: a path of a file, folder or glob; a PIL image; or an array, uint8 RGB
            [height, width, 3] or gray [height, width].
        mirror: Whether the probabilities are means over each image and its mirror image.

    Returns:
        One row per picture: path, predicted, confidence, and one column "p:CLASS" per class.

    Raises:
        UserError: The run is not finished, a path names nothing or is no image, or an array is of another kind.
    """
    several = images if isinstance(images, list | tuple) else [images]
    return predict_images(_run(run), several, mirror=mirror)  # type: ignore[arg-type]


def predict_many(
    run: Run | str | Path,
    names: str | Path | Iterable[str | Path],
    *,
    mirror: bool = False,
    left_out: Callable[[str, str], None] | None = None,
) -> Iterator[pd.DataFrame]:
    """Names the classes of any number of pictures, about a thousand at a time; memory does not grow with their number.

    Args:
        run: The run, or its directory.
        names: One or several files, folders, globs or http addresses; they may be yielded one by one.
        mirror: Whether the probabilities are means over each image and its mirror image.
        left_out: Function that is told the name of a picture that cannot be read, and the reason; without one, a
            warning is printed.

    Yields:
        Tables as those of `predict`, as they are computed.

    Raises:
        UserError: The run is not finished, or a path names nothing.
    """
    return prediction_tables(_run(run), names, mirror=mirror, left_out=left_out)


def _run(run: Run | str | Path) -> Run:
    return run if isinstance(run, Run) else finished_run(run)
