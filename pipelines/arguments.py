"""The arguments of every command. Knows neither TensorFlow nor what the commands do."""

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

from pipelines.config.finetune import (
    AUGMENTATIONS,
    AUTO,
    BALANCES,
    CACHES,
    DEMO_RUN,
    EXPORT_FORMATS,
    MIXES,
    PRECISIONS,
    RECIPES,
    SPLITS,
    STRATEGIES,
    TENSOR_NAMES,
    FinetuneConfig,
    NetworkConfig,
    PredictConfig,
    SampleConfig,
    ShowBatchConfig,
)
from resnet_tf.architectures import ARCHITECTURES, DEFAULT, SHORTCUTS, STRIDE_PLACES
from resnet_tf.errors import UserError

# Options of finetune that do nothing by default.
_NONE = ("group", "folds", "fold", "manifest")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands. What it parses has the command's name in `verb`."""
    parser = _Parser(
        prog="resnet-tf",
        description="From a folder of photos, one sub-folder per class, to a fine-tuned ResNet that can be served.",
    )
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(verbs)
    _add_sample(verbs)
    _add_audit(verbs)
    _add_show_batch(verbs)
    _add_finetune(verbs)
    _add_evaluate(verbs)
    _add_predict(verbs)
    _add_export(verbs)
    _add_import(verbs)
    _add_convert(verbs)
    _add_info(verbs)
    return parser


def _verb(verbs: Any, name: str, summary: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=summary, description=summary)
    parser.set_defaults(verb=name)
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    return parser


def _add_demo(verbs: Any) -> None:
    parser = _verb(verbs, "demo", "the main job from nothing: sample images, fine-tune, evaluate, export, predict")
    parser.add_argument("--run", default=DEMO_RUN, help="run directory (default: %(default)s)")
    parser.add_argument("--weights", default="none", help="as for finetune (default: %(default)s)")


def _add_sample(verbs: Any) -> None:
    parser = _verb(verbs, "sample", "draw the built-in folder of images")
    parser.add_argument("folder", metavar="DIR")
    for field in dataclasses.fields(SampleConfig):
        if field.name != "folder":
            option = f"--{field.name.replace('_', '-')}"
            parser.add_argument(option, type=int, default=field.default, metavar="N", help="(default: %(default)s)")


def _add_audit(verbs: Any) -> None:
    parser = _verb(verbs, "audit", "look at every image before any training")
    parser.add_argument("data", metavar="DATA", help="folder of class folders, or CSV with path,label[,split]")
    parser.add_argument("--json", metavar="FILE", help="write what was found as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write a table with one row per image")
    parser.add_argument("--html", metavar="FILE", help="write a page with thumbnails of what is wrong")
    parser.add_argument("--quarantine", metavar="DIR", help="move unreadable files and harmful copies there")
    parser.add_argument("--undo", metavar="DIR", help="move the files of a quarantine back, and do nothing else")


def _add_show_batch(verbs: Any) -> None:
    parser = _verb(verbs, "show-batch", "a picture of what the network will see, with labels")
    parser.add_argument("data", metavar="DATA", help="as for finetune")
    parser.add_argument("--out", metavar="FILE", required=True, help="PNG to write")
    options = {
        "augment": f"what happens to each image: {', '.join(AUGMENTATIONS)}",
        "mix": f"mixing of images and labels in a batch: {', '.join(MIXES)}",
        "balance": f"of classes of unequal size: {', '.join(BALANCES)}",
        "image_size": "height and width, in pixels",
        "images": "how many",
        "epoch": "which, from 0 on",
        "seed": "of order and augmentation",
    }
    for name, summary in options.items():
        default = getattr(ShowBatchConfig, name)
        metavar = "N" if isinstance(default, int) else "NAME"
        option, kind = f"--{name.replace('_', '-')}", type(default)
        parser.add_argument(option, type=kind, default=default, metavar=metavar, help=f"{summary} (default: {default})")


def _add_finetune(verbs: Any) -> None:
    parser = _verb(verbs, "finetune", "fit a classifier to your images; continues an unfinished run")
    parser.add_argument(
        "data", metavar="DATA", help="folder of class folders, folder with train/ val/ test/, or CSV path,label[,split]"
    )
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument("--run", default="", help="run directory to make, or to continue")
    result.add_argument(
        "--find-learning-rate",
        metavar="FILE",
        help="make no run; draw the loss over a growing learning rate (PNG), and suggest one",
    )
    parser.add_argument("--config", metavar="FILE", help="config.json of another run, to repeat it")
    options = {field.name: field for field in dataclasses.fields(FinetuneConfig)}

    def add(name: str, option: str, kind: Callable[[str], Any], metavar: str, help: str) -> None:
        default = options[name].default
        decided = "none" if name in _NONE else "decided from the data"
        shown = decided if default is None else default
        parser.add_argument(
            option, dest=name, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=f"{help} (default: {shown})"
        )

    add("arch", "--arch", str, "NAME", ", ".join(ARCHITECTURES))
    add(
        "weights",
        "--weights",
        str,
        "WEIGHTS",
        "imagenet, none, timm:NAME, hf:OWNER/NAME, https://…#sha256=…, or a file: Keras .h5 and .keras, safetensors, "
        ".npz, PyTorch .pth, .caffemodel, SavedModel",
    )
    add("recipe", "--recipe", str, "NAME", f"for --weights none: {', '.join(RECIPES)}")
    add("image_size", "--image-size", int, "N", "height and width, in pixels")
    add("epochs", "--epochs", _epochs_of, "N", f"passes in which all layers are trained; {AUTO}: as many as help")
    add("batch_size", "--batch-size", int, "N", "images per step, over all devices")
    add("learning_rate", "--learning-rate", float, "X", "peak of the schedule")
    add("val_fraction", "--val-fraction", float, "X", "share of images for choosing the best epoch")
    add("test_fraction", "--test-fraction", float, "X", "share of images for the final figures")
    add("seed", "--seed", int, "N", "of split, order, augmentation and initial weights")
    add("precision", "--precision", str, "NAME", ", ".join(PRECISIONS))
    add("strategy", "--strategy", str, "NAME", ", ".join(STRATEGIES))
    add("shortcut", "--shortcut", _shortcut_of, "NAME", ", ".join(str(choice).lower() for choice in SHORTCUTS))
    add("stride_at", "--stride", str, "PLACE", f"of bottlenecks: {', '.join(STRIDE_PLACES)}")
    add("label_smoothing", "--label-smoothing", float, "X", "share of the target spread over all classes")
    add("patience", "--patience", int, "N", "epochs without a better validation before stopping")
    add("augment", "--augment", str, "NAME", f"what happens to each image: {', '.join(AUGMENTATIONS)}")
    add("mix", "--mix", str, "NAME", f"mixing of images and labels in a batch: {', '.join(MIXES)}")
    add("balance", "--balance", str, "NAME", f"of classes of unequal size: {', '.join(BALANCES)}")
    add("group", "--group", str, "PATTERN", "regular expression; files where its group matches the same stay together")
    add("folds", "--folds", int, "K", "cross-validation: divide into K parts")
    add("fold", "--fold", int, "I", "… and test on part I, 0 to K - 1")
    add("manifest", "--manifest", str, "FILE", "manifest.csv of another run: the same images and splits")
    add("checkpoint_seconds", "--checkpoint-seconds", float, "X", "between two checkpoints within an epoch")
    add("cache", "--cache", str, "WHERE", f"decoded pictures for later epochs: {', '.join(CACHES)}")
    parser.add_argument(
        "--deterministic",
        action="store_true",
        default=argparse.SUPPRESS,
        help="the same bits on every repetition on this machine",
    )


def _add_evaluate(verbs: Any) -> None:
    parser = _verb(verbs, "evaluate", "metrics and the confusion matrix of a run")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--split", default="test", help=f"{', '.join(SPLITS)} (default: %(default)s)")
    parser.add_argument("--data", metavar="DIR", help="where the images are now, if they have moved")
    _add_mirror(parser)
    _add_strategy(parser)


def _add_predict(verbs: Any) -> None:
    parser = _verb(verbs, "predict", "classes of image files")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("paths", metavar="PATH", nargs="+", help="files, folders or globs")
    parser.add_argument("--top", type=int, default=PredictConfig.top, metavar="K", help="(default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", help="write all probabilities as CSV")
    _add_mirror(parser)
    _add_strategy(parser)


def _add_export(verbs: Any) -> None:
    parser = _verb(verbs, "export", "a SavedModel to serve, checked in a fresh process")
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("--format", nargs="+", default=["saved_model"], help=f"{', '.join(EXPORT_FORMATS)}")
    _add_mirror(parser)


def _add_import(verbs: Any) -> None:
    parser = _verb(verbs, "import", "a network that others trained, classifier included, as a run")
    parser.add_argument("source", metavar="SOURCE", help="as --weights of finetune")
    parser.add_argument("--arch", required=True, metavar="NAME", help=", ".join(ARCHITECTURES))
    parser.add_argument("--run", required=True, help="run directory to make")
    parser.add_argument("--data", metavar="DATA", help="images whose folders name its classes (default: ImageNet's)")
    _add_network_options(parser)


def _add_convert(verbs: Any) -> None:
    parser = _verb(verbs, "convert", "weights of one format into another, bit for bit")
    parser.add_argument("source", metavar="SOURCE", help="as --weights of finetune")
    parser.add_argument("target", metavar="TARGET", help=".safetensors, .npz, .weights.h5 or .keras")
    parser.add_argument("--arch", required=True, metavar="NAME", help=", ".join(ARCHITECTURES))
    parser.add_argument(
        "--stride", dest="stride_at", metavar="PLACE", help=f"of bottlenecks: {', '.join(STRIDE_PLACES)}"
    )
    parser.add_argument("--names", default="keras", help=f"{', '.join(TENSOR_NAMES)} (default: %(default)s)")
    _add_shortcut(parser)


def _add_info(verbs: Any) -> None:
    parser = _verb(verbs, "info", "a network's layers, parameters, multiply-adds and known weights")
    parser.add_argument("arch", metavar="ARCH", help=", ".join(ARCHITECTURES))
    parser.add_argument(
        "--classes", type=int, default=NetworkConfig.classes, metavar="N", help="(default: %(default)s)"
    )
    parser.add_argument("--width", type=float, default=NetworkConfig.width, metavar="X", help="factor of the channels")
    _add_network_options(parser)


def _add_mirror(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mirror", action="store_true", help="average over each image and its mirror image, for twice the work"
    )


def _add_strategy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--strategy", default="auto", metavar="NAME", help=f"{', '.join(STRATEGIES)} (default: %(default)s)"
    )


def _add_network_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-size", type=int, metavar="N", help="height and width (default: the paper's)")
    parser.add_argument("--stride", dest="stride_at", metavar="PLACE", help=f"{', '.join(STRIDE_PLACES)}")
    _add_shortcut(parser)


def _add_shortcut(parser: argparse.ArgumentParser) -> None:
    choices = ", ".join(str(choice).lower() for choice in SHORTCUTS)
    parser.add_argument("--shortcut", type=_shortcut_of, default=DEFAULT, metavar="NAME", help=choices)


def _epochs_of(word: str) -> int | str:
    try:
        return word if word == AUTO else int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number or {AUTO}, received {word!r}") from None


def _shortcut_of(word: str) -> str | None:
    """ "none" is the plain net, and letters may be small."""
    return {"none": None, DEFAULT: DEFAULT}.get(word.lower(), word.upper())
