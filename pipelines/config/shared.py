"""Settings that several verbs have, each described once."""

import argparse
from typing import Any

from pipelines.config.setting import DATA, DEVICES, NETWORK, RUN, TRAINING, setting
from resnet_tf.architectures import ARCHITECTURES, DEFAULT, SHORTCUTS, STRIDE_PLACES

STRATEGIES = ("auto", "one", "mirrored", "multiworker")
SPLITS = ("train", "val", "test")
AUGMENTATIONS = ("light", "paper", "cifar", "colour", "trivial", "strong")
MIXES = ("none", "mixup", "cutmix")
VIEWS = ("crop", "squeeze", "pad")
# The values of --balance, and what each of them does.
BALANCES = {
    "none": "every image counts the same",
    "weights": "images of rare classes count more in the loss",
    "sampling": "training shows all classes equally often",
    "logits": "the loss adds the logarithm of each class's share to the logits (Menon et al. 2021)",
}
TRACKERS = ("tensorboard", "mlflow", "wandb")
RANGES = ("auto", "type", "percentiles")
RUNS = "saved_models"  # the folder of runs that nobody has named
AUTO = "auto"  # what --epochs may be beside a number

# More unreadable files than this share mean that something is wrong with the folder, not with a file.
MAX_UNREADABLE = 0.03

SEED: dict[str, Any] = {"kind": int, "low": 0, "high": 2**31 - 1, "metavar": "N"}


def data_setting() -> Any:
    """DATA: the images with their classes."""
    return setting(
        "folder with one sub-folder per class, folder with train/, val/ and test/ of such folders, or CSV with the "
        "columns path,label[,split][,group]",
        group=DATA,
        positional=True,
        metavar="DATA",
    )


def follow_links_setting() -> Any:
    """--follow-links: whether DATA may lie in several places."""
    return setting(
        "follow links that lead out of the folder",
        False,
        group=DATA,
        kind=bool,
        why="Without it they are left out and counted, since anything may be behind them. Links that stay in the "
        "folder are always followed.",
    )


def moved_data_setting() -> Any:
    """--data: where the images of a run are now."""
    return setting(
        "folder or CSV where the images are now", None, group=DATA, metavar="DATA", none_is="where the run found them"
    )


def run_setting(help: str = "run directory") -> Any:
    """RUN: the directory of a finished run."""
    newest = f"the newest finished run in {RUNS}"
    return setting(help, group=RUN, positional=True, metavar="RUN", left_out=newest)


def arch_setting(*default: str | None, **more: Any) -> Any:
    """--arch, or ARCH: the name of a network."""
    return setting(
        f"architecture: {', '.join(ARCHITECTURES)}", *default, **{"group": NETWORK, "metavar": "NAME", **more}
    )


def source_setting() -> Any:
    """SOURCE: weights, wherever they are."""
    return setting("weights, as --weights of finetune names them", group=NETWORK, positional=True, metavar="SOURCE")


def shortcut_setting() -> Any:
    """--shortcut: which of the paper's shortcuts a network has."""
    return setting(
        "shortcut of a residual block: A pads with zeros, B projects where the shape changes, C projects everywhere, "
        "none makes the plain net",
        DEFAULT,
        group=NETWORK,
        choices=(DEFAULT, *SHORTCUTS),
        metavar="NAME",
        parse=shortcut_of,
        why="default is the choice of the weights, else of the paper: A in the CIFAR nets, B in the others.",
    )


def stride_setting() -> Any:
    """--stride: where a bottleneck has its stride."""
    return setting(
        "which convolution of a bottleneck has the stride",
        None,
        group=NETWORK,
        choices=STRIDE_PLACES,
        option="--stride",
        metavar="PLACE",
        none_is="that of the weights, else the paper's",
    )


def image_size_setting(default: int | None, low: int = 32, **more: Any) -> Any:
    """--image-size: what the network sees, in pixels."""
    return setting(
        "height and width of what the network sees, in pixels",
        default,
        **{"group": NETWORK, "kind": int, "low": low, "high": 2048, "metavar": "N", **more},
    )


def minutes_setting(help: str) -> Any:
    """--minutes: the time that there is."""
    return setting(
        help,
        None,
        group=TRAINING,
        kind=float,
        positive=True,
        low=0.0,
        high=1e6,  # two years; numbers of steps of far more would be infinite in float32
        metavar="M",
        none_is="as long as the epochs take",
    )


def view_setting(default: str | None, **more: Any) -> Any:
    """--view: what the network sees of a picture that is no square."""
    return setting(
        "what the network sees of each picture: the crop at its centre, the whole of it squeezed to a square, or the "
        "whole of it padded to a square",
        default,
        group=NETWORK,
        choices=VIEWS,
        metavar="NAME",
        **more,
    )


def augment_setting(default: str | None, **more: Any) -> Any:
    """--augment: what training does to each image."""
    return setting(
        "what training does to each image", default, group=TRAINING, choices=AUGMENTATIONS, metavar="NAME", **more
    )


def mix_setting(default: str | None, **more: Any) -> Any:
    """--mix: what training does to each batch."""
    return setting(
        "how training mixes the images and labels of a batch",
        default,
        group=TRAINING,
        choices=MIXES,
        metavar="NAME",
        **more,
    )


def balance_setting(default: str | None = "none", **more: Any) -> Any:
    """--balance: what is done about classes of unequal size."""
    values = "; ".join(f"{name}: {does}" for name, does in BALANCES.items())
    return setting(
        f"what is done about classes of unequal size; {values}",
        default,
        group=DATA,
        choices=tuple(BALANCES),
        metavar="NAME",
        **more,
    )


def range_setting() -> Any:
    """--range: how values of more than 8 bits become the levels that the network sees."""
    return setting(
        "which stored values become black and white in images of more than 8 bits, one range for all of them: the "
        "usual depth that holds all values, the whole type, or from the 0.1th to the 99.9th percentile",
        "auto",
        group=DATA,
        choices=RANGES,
        metavar="RULE",
        why="auto is the first of 1, 2, 4, 8, 10, 12, 14 and 16 bits that holds all values, 0 … 1 or 0 … 255 for "
        "floating-point numbers, and percentiles where no such range holds them.",
    )


def strategy_setting() -> Any:
    """--strategy: which devices compute."""
    return setting(
        "which devices compute: one, mirrored (all of this machine), or multiworker (all machines that TF_CONFIG or "
        "Slurm names)",
        "auto",
        group=DEVICES,
        choices=STRATEGIES,
        metavar="NAME",
        why="auto is multiworker where several workers are named, mirrored where there are GPUs, and one elsewhere.",
    )


def track_setting() -> Any:
    """--track: what else shows a run, beside its own files."""
    return setting(
        "tracker that is told what the run's files say: tensorboard, in RUN/tensorboard, adds the matrix and photos; "
        "mlflow and wandb are their own packages, which take their settings from the environment",
        None,
        group=RUN,
        choices=TRACKERS,
        metavar="NAME",
        none_is="none",
    )


def mirror_setting() -> Any:
    """--mirror: whether mirror images are looked at as well."""
    return setting("average over each image and its mirror image, for twice the work", False, group=DATA, kind=bool)


def epochs_of(word: str) -> int | str:
    """The value of --epochs: a number, or "auto".

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    try:
        return word if word == AUTO else int(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number or {AUTO}, received {word!r}") from None


def scales_of(word: str) -> tuple[int, ...]:
    """The value of --scales: lengths in pixels with commas between them.

    Raises:
        argparse.ArgumentTypeError: It is none, or a length is too small or too large.
    """
    try:
        scales = tuple(int(part) for part in word.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be lengths in pixels such as 224,256, received {word!r}") from None
    if not all(32 <= scale <= 2048 for scale in scales) or len(scales) > 16 or len(set(scales)) < len(scales):
        raise argparse.ArgumentTypeError(f"must be up to 16 different lengths from 32 to 2048, received {word!r}")
    return scales


def shortcut_of(word: str) -> str | None:
    """The value of --shortcut: "none" is the plain net, and letters may be small."""
    return {"none": None, DEFAULT: DEFAULT}.get(word.lower(), word.upper())
