"""The settings of every verb but finetune, and the table of all verbs."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.setting import DATA, NETWORK, RUN, TRAINING, absolute, check, documented, setting
from pipelines.config.shared import (
    SEED,
    SPLITS,
    arch_setting,
    augment_setting,
    balance_setting,
    data_setting,
    follow_links_setting,
    image_size_setting,
    mirror_setting,
    mix_setting,
    moved_data_setting,
    range_setting,
    run_setting,
    scales_of,
    shortcut_setting,
    source_setting,
    strategy_setting,
    stride_setting,
    view_setting,
)
from resnet_tf.architectures import Shortcut, StridePlace, find_architecture
from resnet_tf.errors import UserError
from resnet_tf.source_kinds import is_path

TENSOR_NAMES = ("keras", "torchvision")
DEMO_RUN = "saved_models/demo"
# What `pipelines.experiments.table` describes, and the sizes in which it does.
EXPERIMENT_NAMES = ("degradation", "shortcuts", "depth", "responses", "bottleneck")
SCALE_NAMES = ("quick", "half", "paper")


class _Checked:
    """A config whose values are checked when it is made."""

    def __post_init__(self) -> None:
        if hasattr(self, "arch"):
            find_architecture(self.arch)
        check(self)


@documented
@dataclass(frozen=True)
class DemoConfig(_Checked):
    """The main job from nothing."""

    run: str = setting("run directory to make", DEMO_RUN, metavar="RUN")
    weights: str = setting(
        "weights, as finetune takes them", "none", group=NETWORK, metavar="WEIGHTS", why="The demo downloads nothing."
    )


@documented
@dataclass(frozen=True)
class SampleConfig(_Checked):
    """The built-in folder of drawn images."""

    folder: str = setting("folder to make; it must not exist, or be empty", positional=True, metavar="DIR")
    classes: int = setting("how many of the 30 classes", 30, kind=int, low=2, high=30, metavar="N")
    per_class: int = setting("images of each class", 24, kind=int, low=1, high=100_000, metavar="N")
    size: int = setting("height and width of an image, in pixels", 96, kind=int, low=32, high=1024, metavar="N")
    seed: int = setting("the same seed draws the same pixels", 0, **SEED)


@documented
@dataclass(frozen=True)
class AuditConfig(_Checked):
    """What to look at before any training, and where to write what was found."""

    data: str = data_setting()
    range: str = range_setting()
    json: str | None = setting("file for everything that was found, as JSON", None, metavar="FILE", written=True)
    csv: str | None = setting("file for a table with one row per image", None, metavar="FILE", written=True)
    html: str | None = setting("file for a page with thumbnails of what is wrong", None, metavar="FILE", written=True)
    quarantine: str | None = setting("folder to move unreadable files and harmful copies to", None, metavar="DIR")
    quarantine_most: bool = setting(
        "move files to the quarantine also if they are more than a quarter of all images, or most of a class",
        False,
        kind=bool,
        why="So many faults are more often a misunderstanding, such as shots from one camera that look the same.",
    )
    undo: str | None = setting(
        "folder of an earlier quarantine: moves its files back, and does nothing else", None, metavar="DIR"
    )
    follow_links: bool = follow_links_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.undo is not None and (self.json, self.csv, self.html, self.quarantine) != (None,) * 4:
            raise UserError("--undo only brings files back; leave out the other options")
        if self.quarantine_most and self.quarantine is None:
            raise UserError("--quarantine-most is for --quarantine DIR; give both, or leave it out")


@documented
@dataclass(frozen=True)
class ShowBatchConfig(_Checked):
    """What the network would see in training."""

    data: str = data_setting()
    out: str = setting("PNG to write", ending=".png", metavar="FILE", written=True)
    follow_links: bool = follow_links_setting()
    image_size: int = image_size_setting(224)
    view: str = view_setting("crop")
    augment: str = augment_setting("light")
    mix: str = mix_setting("none")
    balance: str = balance_setting()
    range: str = range_setting()
    images: int = setting("images to show, from the start of the epoch", 32, kind=int, low=1, high=256, metavar="N")
    epoch: int = setting("number of the epoch, from 0 on", 0, kind=int, low=0, high=100_000, metavar="N")
    seed: int = setting("seed of order and augmentation", FinetuneConfig.seed, **SEED)


@documented
@dataclass(frozen=True)
class RangeTestConfig(_Checked):
    """A range test of the learning rate (finetune --find-learning-rate).

    Nothing is read from the training's run or written there, and what is about epochs, checkpoints and the cache does
    nothing.
    """

    training: FinetuneConfig
    picture: str = setting("PNG to write", ending=".png", option="--find-learning-rate", metavar="FILE", written=True)


@documented
@dataclass(frozen=True)
class FinetuneWords:
    """What the command line of finetune takes beside the settings of a run."""

    config: str | None = setting(
        "config of another run (its config.json), to repeat it", None, metavar="FILE", none_is="none"
    )
    find_learning_rate: str | None = setting(
        "PNG to write: makes no run; draws the loss over a growing learning rate, and suggests one",
        None,
        metavar="FILE",
        none_is="none",
        written=True,
    )


@documented
@dataclass(frozen=True)
class EvaluateConfig(_Checked):
    """What to judge, and by which images."""

    run: str | None = setting(
        "run directory; may be left out with --predictions, or with --model of a SavedModel",
        None,
        group=RUN,
        positional=True,
        metavar="RUN",
    )
    split: str = setting(
        "part of the images", "test", group=DATA, choices=SPLITS, metavar="NAME", why="Nothing was chosen by it."
    )
    data: str | None = setting(
        "folder or CSV where the images are now, or other labelled photos to judge by",
        None,
        group=DATA,
        metavar="DATA",
        none_is="where the run found them",
    )
    predictions: str | None = setting(
        "CSV of another program's predictions to judge: path, label, and one probability per class, or predicted",
        None,
        metavar="FILE",
        none_is="those of the run",
    )
    model: str | None = setting(
        "SavedModel folder or ONNX file to judge in place of the run's model.keras",
        None,
        metavar="FILE",
        none_is="model.keras",
        why="It sees the images as the run does.",
    )
    out: str | None = setting(
        "folder for the evaluation", None, metavar="DIR", none_is="RUN/evaluation and the name of the images"
    )
    labels: bool = setting(
        "also look for wrong labels among all images of the run, for one look at each of them", False, kind=bool
    )
    mirror: bool = mirror_setting()
    crops: int = setting(
        "crops of each image to average over: 1, or 10 (corners, centre, and their mirror images)",
        1,
        group=DATA,
        kind=int,
        choices=(1, 10),
        metavar="N",
        parse=int,
    )
    scales: tuple[int, ...] | None = setting(
        "lengths of the shorter side of the whole picture to average over, in pixels, such as 224,256,288",
        None,
        group=DATA,
        kind=tuple,
        metavar="N,N",
        none_is="the usual view",
        parse=scales_of,
    )
    strategy: str = strategy_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run is None and self.predictions is None and self.model is None:
            raise UserError("evaluate needs a RUN, --predictions FILE.csv of another program, or --model SAVED_MODEL")
        if self.run is None and self.out is None:
            raise UserError("without a RUN, evaluate needs --out DIR, the folder for the evaluation")
        if self.run is None and self.model is not None and self.data is None:
            raise UserError("--model without a RUN needs --data DATA, the labelled photos to judge by")
        if self.predictions is not None and self.model is not None:
            raise UserError("--predictions and --model name two different things to judge; leave one out")
        if self.crops > 1 and self.scales:
            raise UserError("--crops and --scales are two ways to look at an image; leave one out")
        looks = self.mirror or self.crops > 1 or self.scales
        if looks and (self.predictions is not None or self.model is not None):
            raise UserError("--mirror, --crops and --scales are for the run's own model; leave them out")
        if self.labels and (self.run is None or self.predictions is not None or self.model is not None):
            raise UserError("--labels looks through the run's own model; leave out --predictions and --model")


@documented
@dataclass(frozen=True)
class PredictConfig(_Checked):
    """Which images to name, and what of the answer to show."""

    run: str = run_setting()
    paths: tuple[str, ...] = setting("files, folders or globs", group=DATA, kind=tuple, positional=True, metavar="PATH")
    follow_links: bool = follow_links_setting()
    top: int = setting(
        "classes to show for each image, the likeliest first", 5, kind=int, low=1, high=100_000, metavar="K"
    )
    out: str | None = setting("CSV to write, with all probabilities", None, metavar="FILE", written=True)
    level: float | None = setting(
        "also give sets of classes that contain the true one with this probability",
        None,
        kind=float,
        low=0.5,
        high=0.9999,
        option="--set",
        metavar="LEVEL",
        none_is="no sets",
        why="The guarantee is that of conformal prediction, for photos like those of the validation.",
    )
    mirror: bool = mirror_setting()
    strategy: str = strategy_setting()


@documented
@dataclass(frozen=True)
class ExplainConfig(_Checked):
    """Which photos to explain."""

    run: str = run_setting()
    paths: tuple[str, ...] = setting(
        "photos: files, folders or globs", group=DATA, kind=tuple, positional=True, metavar="PHOTO"
    )
    out: str = setting("PNG to write", ending=".png", metavar="FILE", written=True)
    follow_links: bool = follow_links_setting()
    top: int = setting(
        "classes to explain for each photo, the likeliest first", 3, kind=int, low=1, high=10, metavar="K"
    )


@documented
@dataclass(frozen=True)
class ExportConfig(_Checked):
    """Which run to export."""

    run: str = run_setting()
    data: str | None = moved_data_setting()
    mirror: bool = mirror_setting()
    unfinished: bool = setting("export the best model so far of a run that is not finished", False, kind=bool)


@documented
@dataclass(frozen=True)
class ImportConfig(_Checked):
    """A trained network that becomes a run."""

    source: str = source_setting()
    arch: str = arch_setting()
    run: str = setting("run directory to make", metavar="RUN")
    data: str | None = setting(
        "images to evaluate it on, whose folders name its classes",
        None,
        group=DATA,
        metavar="DATA",
        none_is="ImageNet's classes",
    )
    follow_links: bool = follow_links_setting()
    image_size: int | None = image_size_setting(None, low=8, none_is="the paper's")
    shortcut: Shortcut | Literal["default"] = shortcut_setting()
    stride_at: StridePlace | None = stride_setting()

    def as_arguments(self) -> dict[str, Any]:
        """What config.json keeps: every setting but the place of the run, with absolute paths."""
        arguments = asdict(self)
        del arguments["run"]
        if is_path(self.source):
            arguments["source"] = absolute(self.source)
        if self.data is not None:
            arguments["data"] = absolute(self.data)
        return arguments


@documented
@dataclass(frozen=True)
class ConvertConfig(_Checked):
    """A file of weights to convert."""

    source: str = source_setting()
    target: str = setting(
        "file to write: .safetensors, .npz, .weights.h5 or .keras", group=RUN, positional=True, metavar="TARGET"
    )
    arch: str = arch_setting()
    shortcut: Shortcut | Literal["default"] = shortcut_setting()
    stride_at: StridePlace | None = stride_setting()
    names: str = setting(
        "names of the tensors in .safetensors and .npz", "keras", group=RUN, choices=TENSOR_NAMES, metavar="NAME"
    )


@documented
@dataclass(frozen=True)
class NetworkConfig(_Checked):
    """A network to look at."""

    arch: str = arch_setting(positional=True, metavar="ARCH")
    classes: int = setting("outputs of its head", 1000, group=NETWORK, kind=int, low=1, high=1_000_000, metavar="N")
    image_size: int | None = image_size_setting(None, low=8, none_is="the paper's")
    shortcut: Shortcut | Literal["default"] = shortcut_setting()
    stride_at: StridePlace | None = stride_setting()
    width: float = setting("factor of the channels", 1.0, group=NETWORK, kind=float, low=0.01, high=16.0, metavar="X")


@documented
@dataclass(frozen=True)
class ReproduceConfig(_Checked):
    """An experiment of the papers to repeat."""

    name: str = setting("experiment", choices=EXPERIMENT_NAMES, positional=True, metavar="NAME")
    out: str = setting("folder for results.csv, the figures and the page; the same command continues it", metavar="DIR")
    data: str | None = setting(
        "CIFAR-10: a folder or a zip with train/ and test/ by class, or cifar-10-binary.tar.gz",
        None,
        group=DATA,
        metavar="FILE",
    )
    scale: str = setting(
        "how large it is: quick is minutes on a processor, half a quarter of the paper's steps, paper all of them",
        "quick",
        group=TRAINING,
        choices=SCALE_NAMES,
        metavar="NAME",
        why="What it will cost is measured and said first.",
    )
    seeds: int | None = setting(
        "trainings of each network, from different random starts",
        None,
        group=TRAINING,
        kind=int,
        low=1,
        high=100,
        metavar="N",
        none_is="1 at quick, 2 at half, 5 at paper",
    )
    trained: str | None = setting(
        "folder of an earlier degradation, whose trainings are shown or measured; nothing is trained",
        None,
        group=DATA,
        option="--from",
        metavar="DIR",
    )


# name: (what the verb does, its settings)
VERBS: dict[str, tuple[str, Any]] = {
    "demo": ("the main job from nothing: sample images, fine-tune, evaluate, export, predict", DemoConfig),
    "sample": ("draw the built-in folder of images", SampleConfig),
    "audit": ("look at every image before any training", AuditConfig),
    "show-batch": ("a picture of what the network will see, with labels", ShowBatchConfig),
    "finetune": ("fit a classifier to your images, or continue an unfinished run", FinetuneConfig),
    "evaluate": ("metrics and the confusion matrix of a run", EvaluateConfig),
    "predict": ("classes of image files", PredictConfig),
    "explain": ("a picture of what in photos speaks for their likeliest classes", ExplainConfig),
    "export": ("a SavedModel to serve, checked in a fresh process", ExportConfig),
    "import": ("a network that others trained, classifier included, as a run", ImportConfig),
    "convert": ("weights of one format into another, bit for bit", ConvertConfig),
    "info": ("a network's layers, parameters, multiply-adds and known weights", NetworkConfig),
    "reproduce": ("repeat an experiment of the ResNet papers", ReproduceConfig),
}
