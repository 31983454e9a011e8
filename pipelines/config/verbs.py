"""The settings of most verbs, and the table of all verbs."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from pipelines.config.experiments import ReproduceConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.first_steps import CompletionConfig, DoctorConfig, GoConfig, PushConfig
from pipelines.config.formats import FORMATS, PRECISIONS, Target, targets_of
from pipelines.config.judging import CompareConfig, EvaluateConfig, PageConfig, PredictConfig
from pipelines.config.setting import DATA, NETWORK, RUN, Checked, absolute, documented, setting
from pipelines.config.shared import (
    RUNS,
    SEED,
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
    shortcut_setting,
    source_setting,
    stride_setting,
    view_setting,
)
from resnet_tf.architectures import Shortcut, StridePlace
from resnet_tf.errors import UserError
from resnet_tf.source_kinds import DRAWN, is_path

TENSOR_NAMES = ("keras", "torchvision")
DEMO_RUN = f"{RUNS}/demo"


@documented
@dataclass(frozen=True)
class DemoConfig(Checked):
    """The main job from nothing."""

    run: str = setting("run directory to make", DEMO_RUN, metavar="RUN")
    weights: str = setting(
        "weights, as finetune takes them",
        DRAWN,
        group=NETWORK,
        metavar="WEIGHTS",
        why="They are in this package, and have seen other drawn pictures. The demo downloads nothing.",
    )


@documented
@dataclass(frozen=True)
class SampleConfig(Checked):
    """The built-in folder of drawn images."""

    folder: str = setting("folder to make; it must not exist, or be empty", positional=True, metavar="DIR")
    classes: int = setting("how many of the 30 classes", 30, kind=int, low=2, high=30, metavar="N")
    per_class: int = setting("images of each class", 24, kind=int, low=1, high=100_000, metavar="N")
    size: int = setting("height and width of an image, in pixels", 96, kind=int, low=32, high=1024, metavar="N")
    seed: int = setting("the same seed draws the same pixels", 0, **SEED)


@documented
@dataclass(frozen=True)
class AuditConfig(Checked):
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
class ShowBatchConfig(Checked):
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
class RangeTestConfig(Checked):
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
class ExplainConfig(Checked):
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
class ExportConfig(Checked):
    """Which run to export."""

    run: str = run_setting()
    data: str | None = moved_data_setting()
    mirror: bool = mirror_setting()
    unfinished: bool = setting("export the best model so far of a run that is not finished", False, kind=bool)
    format: tuple[str, ...] | None = setting(
        f"formats to write and to measure: {', '.join(FORMATS)}",
        None,
        kind=tuple,
        metavar="NAME",
        none_is="a SavedModel, which is checked and not measured",
    )
    precision: tuple[str, ...] | None = setting(
        f"precisions to write each format in: {', '.join(PRECISIONS)}",
        None,
        kind=tuple,
        metavar="NAME",
        none_is="float32",
        why="Not every format has all of them.",
    )
    runtime: str | None = setting(
        "where the npm package onnxruntime-web is, for --format web: a folder or a .tgz file",
        None,
        metavar="PATH",
        none_is="downloaded from npm once",
    )
    deploy: str | None = setting(
        "folder to make for servers: the model, with files for TensorFlow Serving, Triton, KServe and clients",
        None,
        metavar="DIR",
        none_is="no folder",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.precision is not None and self.format is None:
            raise UserError("--precision needs --format: say what to write, such as --format onnx")
        if self.runtime is not None and "web" not in (self.format or ()):
            raise UserError("--runtime is for --format web; give both, or leave it out")
        self.targets()

    def targets(self) -> list[Target]:
        """Returns the exports to write and to measure; none stands for a SavedModel that is not measured.

        A folder for servers needs the SavedModel, whatever else is written.
        """
        asked = targets_of(self.format or (), self.precision or PRECISIONS[:1])
        served = [Target("saved_model")] if asked and self.deploy is not None else []
        return list(dict.fromkeys([*served, *asked]))


@documented
@dataclass(frozen=True)
class ImportConfig(Checked):
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
class ConvertConfig(Checked):
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
class NetworkConfig(Checked):
    """A network to look at."""

    arch: str = arch_setting(positional=True, metavar="ARCH")
    classes: int = setting("outputs of its head", 1000, group=NETWORK, kind=int, low=1, high=1_000_000, metavar="N")
    image_size: int | None = image_size_setting(None, low=8, none_is="the paper's")
    shortcut: Shortcut | Literal["default"] = shortcut_setting()
    stride_at: StridePlace | None = stride_setting()
    width: float = setting("factor of the channels", 1.0, group=NETWORK, kind=float, low=0.01, high=16.0, metavar="X")


# name: (what the verb does, its settings)
VERBS: dict[str, tuple[str, Any]] = {
    "go": ("audit, finetune, evaluate and export in one go; `resnet-tf PHOTOS` is the same", GoConfig),
    "demo": ("the main job on drawn images: sample, finetune, evaluate, export, predict", DemoConfig),
    "doctor": ("what this machine has, and how fast it is", DoctorConfig),
    "sample": ("draw the built-in folder of images", SampleConfig),
    "audit": ("look at every image before any training", AuditConfig),
    "show-batch": ("a picture of what the network will see, with labels", ShowBatchConfig),
    "finetune": ("fit a classifier to your images, or continue an unfinished run", FinetuneConfig),
    "evaluate": ("metrics and the confusion matrix of a run, an exported model or any predictions", EvaluateConfig),
    "compare": ("whether one run is better than another on the same photos", CompareConfig),
    "predict": ("classes of image files", PredictConfig),
    "explain": ("a picture of what in photos speaks for their likeliest classes", ExplainConfig),
    "page": ("a web page on this machine: drop a photo, see the answer", PageConfig),
    "export": ("a run's model for other engines, checked and measured in fresh processes", ExportConfig),
    "push": ("a run's model and its card to the Hugging Face hub", PushConfig),
    "import": ("a network that others trained, classifier included, as a run", ImportConfig),
    "convert": ("weights of one format into another, bit for bit", ConvertConfig),
    "info": ("a network's layers, parameters, multiply-adds and known weights", NetworkConfig),
    "reproduce": ("repeat an experiment of the ResNet papers", ReproduceConfig),
    "completion": ("a script that completes commands and options in a shell", CompletionConfig),
}
