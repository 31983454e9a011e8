"""The settings of each verb, and the only place of their defaults."""

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from resnet_tf.architectures import DEFAULT, SHORTCUTS, STRIDE_PLACES, Shortcut, StridePlace, find_architecture
from resnet_tf.errors import UserError
from resnet_tf.source_kinds import is_path

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
STRATEGIES = ("auto", "one", "mirrored", "multiworker")
SPLITS = ("train", "val", "test")
EXPORT_FORMATS = ("saved_model",)
TENSOR_NAMES = ("keras", "torchvision")
AUGMENTATIONS = ("light", "paper", "cifar", "colour", "trivial", "strong")
MIXES = ("none", "mixup", "cutmix")
BALANCES = ("none", "weights", "sampling")
RECIPES = ("he", "modern")
CACHES = ("none", "ram", "disk")
AUTO = "auto"  # what --epochs may be beside a number

# More unreadable files than this share mean that something is wrong with the folder, not with a file.
MAX_UNREADABLE = 0.03

DEMO_RUN = "saved_models/demo"


@dataclass(frozen=True)
class FinetuneConfig:
    """What defines a run. None means that the recipe decides, from the data and the weights.

    Args:
        data: Folder of class folders, folder with train/, val/ and test/, or CSV with path,label[,split].
        run: The run directory.
        arch: Name of the architecture.
        weights: "imagenet", "none", or another source, see `resnet_tf.weights.find_weights`.
        recipe: For random weights, "he" or "modern", see `pipelines.recipe.scratch`.
        image_size: Height and width of what the network sees, in pixels.
        epochs: Passes over the training images in which all layers are trained; "auto" for as many as help, see
            `pipelines.recipe.schedule`.
        batch_size: Images per step, over all devices together.
        learning_rate: Peak of the schedule.
        val_fraction: Share of the images for choosing the best epoch, where the data do not say.
        test_fraction: Share of the images for the final figures, where the data do not say.
        seed: Of the split, the order, the augmentation and the initial weights.
        precision: Of the computation; variables are always float32.
        strategy: "one" device; "mirrored", all of this machine; "multiworker", those of all machines that TF_CONFIG or
            Slurm names; "auto" the last of these that there is.
        shortcut: "A", "B", "C", None for the plain net, or "default" for the architecture's.
        stride_at: Where a bottleneck has its stride, "1x1" or "3x3"; None takes that of the weights.
        label_smoothing: Share of the target that is spread over all classes (Szegedy et al. 2015).
        patience: Epochs without a better validation before training stops early.
        augment: What training does to each image, see `pipelines.images.augment.AUGMENTATIONS`.
        mix: Whether it mixes the images of a batch and their labels, see `pipelines.images.mix`.
        balance: Of classes of unequal size: "weights" in the loss, or "sampling" all equally often.
        group: Regular expression with one group; images whose paths give the same match stay in one split.
        folds: Parts for cross-validation, one of which is the test; None for a test by `test_fraction`.
        fold: Which of them, from 0.
        manifest: manifest.csv of another run, for the same images and splits; None makes a new one.
        deterministic: Whether two runs of these settings on one machine agree in every bit; training is slower.
        checkpoint_seconds: Between two checkpoints within an epoch.
        cache: Where decoded pictures are kept for later epochs, see `pipelines.images.cache`; it changes no pixel.
    """

    data: str
    run: str
    arch: str = "resnet50"
    weights: str = "imagenet"
    recipe: str | None = None
    image_size: int = 224
    epochs: int | Literal["auto"] | None = None
    batch_size: int = 32
    learning_rate: float | None = None
    val_fraction: float = 0.15
    test_fraction: float = 0.15
    seed: int = 0
    precision: str = "auto"
    strategy: str = "auto"
    shortcut: Shortcut | Literal["default"] = DEFAULT
    stride_at: StridePlace | None = None
    label_smoothing: float | None = None
    patience: int | None = None
    augment: str | None = None
    mix: str | None = None
    balance: str = "none"
    group: str | None = None
    folds: int | None = None
    fold: int | None = None
    manifest: str | None = None
    deterministic: bool = False
    checkpoint_seconds: float = 60.0
    cache: str = "none"

    def __post_init__(self) -> None:
        find_architecture(self.arch)
        check_choice("--precision", self.precision, PRECISIONS)
        check_choice("--strategy", self.strategy, STRATEGIES)
        check_choice("--shortcut", self.shortcut, (DEFAULT, *SHORTCUTS))
        check_choice("--stride", self.stride_at, (None, *STRIDE_PLACES))
        check_choice("--recipe", self.recipe, (None, *RECIPES))
        check_choice("--augment", self.augment, (None, *AUGMENTATIONS))
        check_choice("--mix", self.mix, (None, *MIXES))
        check_choice("--balance", self.balance, BALANCES)
        check_choice("--cache", self.cache, CACHES)
        _check_range("--image-size", self.image_size, 32, 2048)
        _check_range("--batch-size", self.batch_size, 1, 65536)
        if not isinstance(self.epochs, str):
            _check_range("--epochs", self.epochs, 0, 100_000)
        elif self.epochs != AUTO:
            raise UserError(f"--epochs must be a whole number or {AUTO}, received {self.epochs!r}")
        _check_range("--patience", self.patience, 1, 100_000)
        _check_range("--seed", self.seed, 0, 2**31 - 1)
        _check_range("--val-fraction", self.val_fraction, 0.0, 0.9)
        _check_range("--test-fraction", self.test_fraction, 0.0, 0.9)
        _check_range("--label-smoothing", self.label_smoothing, 0.0, 0.9)
        _check_range("--checkpoint-seconds", self.checkpoint_seconds, 0.0, 86400.0)
        if self.learning_rate is not None and not 0.0 < self.learning_rate < float("inf"):
            raise UserError(f"--learning-rate must be a positive number, received {self.learning_rate}")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise UserError(
                f"--val-fraction {self.val_fraction} and --test-fraction {self.test_fraction} leave nothing to train on"
            )
        if self.recipe is not None and self.pretrained:
            raise UserError(f"--recipe {self.recipe} is for random weights; leave it out, or give --weights none")
        _check_division(self.group, self.folds, self.fold, self.manifest)

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from weights."""
        return self.weights != "none"

    def as_arguments(self) -> dict[str, Any]:
        """What config.json keeps: everything that changes the result, with absolute paths."""
        arguments = asdict(self)
        del arguments["run"], arguments["checkpoint_seconds"], arguments["cache"]
        arguments["data"] = str(Path(self.data).resolve())
        if is_path(self.weights):
            arguments["weights"] = str(Path(self.weights).resolve())
        if self.manifest is not None:
            arguments["manifest"] = str(Path(self.manifest).resolve())
        return arguments


@dataclass(frozen=True)
class RangeTestConfig:
    """A range test of the learning rate.

    Args:
        training: The training whose learning rate is looked for. Nothing is read from its run or written there, and
            what is about epochs, checkpoints and the cache does nothing.
        picture: PNG to write.
    """

    training: FinetuneConfig
    picture: str

    def __post_init__(self) -> None:
        _check_png("--find-learning-rate", self.picture)


@dataclass(frozen=True)
class AuditConfig:
    """What to look at before any training, and where to write what was found.

    Args:
        data: As for `FinetuneConfig`.
        json: File for everything that was found, or None.
        csv: File for a table with one row per image, or None.
        html: File for a page with thumbnails, or None.
        quarantine: Folder to move the files at fault to, or None.
        undo: Folder of an earlier quarantine, whose files are to come back, or None.
    """

    data: str
    json: str | None = None
    csv: str | None = None
    html: str | None = None
    quarantine: str | None = None
    undo: str | None = None

    def __post_init__(self) -> None:
        if self.undo is not None and (self.json, self.csv, self.html, self.quarantine) != (None,) * 4:
            raise UserError("--undo only brings files back; leave out the other options")


@dataclass(frozen=True)
class NetworkConfig:
    """A network to look at.

    Args:
        arch: Name of the architecture.
        classes: Outputs of its head.
        image_size: Height and width, in pixels; None takes the paper's.
        shortcut: As for `FinetuneConfig`.
        stride_at: As for `FinetuneConfig`.
        width: Factor of the channels.
    """

    arch: str
    classes: int = 1000
    image_size: int | None = None
    shortcut: Shortcut | Literal["default"] = DEFAULT
    stride_at: StridePlace | None = None
    width: float = 1.0

    def __post_init__(self) -> None:
        find_architecture(self.arch)
        check_choice("--shortcut", self.shortcut, (DEFAULT, *SHORTCUTS))
        check_choice("--stride", self.stride_at, (None, *STRIDE_PLACES))
        _check_range("--classes", self.classes, 1, 1_000_000)
        _check_range("--image-size", self.image_size, 8, 2048)
        _check_range("--width", self.width, 0.01, 16.0)


@dataclass(frozen=True)
class ConvertConfig:
    """A file of weights to convert.

    Args:
        source: See `resnet_tf.weights.find_weights`.
        target: To be written; its ending says the kind.
        arch: Name of the architecture.
        shortcut: As for `FinetuneConfig`.
        stride_at: As for `FinetuneConfig`.
        names: "keras" or "torchvision", of the tensors in .safetensors and .npz.
    """

    source: str
    target: str
    arch: str
    shortcut: Shortcut | Literal["default"] = DEFAULT
    stride_at: StridePlace | None = None
    names: str = "keras"

    def __post_init__(self) -> None:
        find_architecture(self.arch)
        check_choice("--shortcut", self.shortcut, (DEFAULT, *SHORTCUTS))
        check_choice("--stride", self.stride_at, (None, *STRIDE_PLACES))
        check_choice("--names", self.names, TENSOR_NAMES)


@dataclass(frozen=True)
class ImportConfig:
    """A trained network that becomes a run.

    Args:
        source: See `resnet_tf.weights.find_weights`.
        arch: Name of the architecture.
        run: The run directory to make.
        data: Images to evaluate it on, whose folders name the classes; None for ImageNet's classes.
        image_size: Height and width of what the network sees, in pixels; None takes the paper's.
        shortcut: As for `FinetuneConfig`.
        stride_at: As for `FinetuneConfig`.
    """

    source: str
    arch: str
    run: str
    data: str | None = None
    image_size: int | None = None
    shortcut: Shortcut | Literal["default"] = DEFAULT
    stride_at: StridePlace | None = None

    def __post_init__(self) -> None:
        find_architecture(self.arch)
        check_choice("--shortcut", self.shortcut, (DEFAULT, *SHORTCUTS))
        check_choice("--stride", self.stride_at, (None, *STRIDE_PLACES))
        _check_range("--image-size", self.image_size, 8, 2048)

    def as_arguments(self) -> dict[str, Any]:
        """What config.json keeps: everything but the place of the run, with absolute paths."""
        arguments = asdict(self)
        del arguments["run"]
        if is_path(self.source):
            arguments["source"] = str(Path(self.source).resolve())
        if self.data is not None:
            arguments["data"] = str(Path(self.data).resolve())
        return arguments


@dataclass(frozen=True)
class SampleConfig:
    """The built-in folder of drawn images.

    Args:
        folder: Where; must not exist, or be empty.
        classes: How many of the 30 classes.
        per_class: Images of each.
        size: Height and width, in pixels.
        seed: The same seed draws the same pixels.
    """

    folder: str
    classes: int = 30
    per_class: int = 24
    size: int = 96
    seed: int = 0

    def __post_init__(self) -> None:
        _check_range("--classes", self.classes, 2, 30)
        _check_range("--per-class", self.per_class, 1, 100_000)
        _check_range("--size", self.size, 32, 1024)
        _check_range("--seed", self.seed, 0, 2**31 - 1)


@dataclass(frozen=True)
class ShowBatchConfig:
    """What the network would see in training.

    Args:
        data: As for `FinetuneConfig`.
        out: PNG to write.
        image_size: As for `FinetuneConfig`, and so are the next ones.
        augment: Likewise.
        mix: Likewise.
        balance: Likewise.
        seed: Likewise.
        images: How many to show, from the start of the epoch.
        epoch: Which, from 0 on.
    """

    data: str
    out: str
    image_size: int = FinetuneConfig.image_size
    augment: str = "light"
    mix: str = "none"
    balance: str = FinetuneConfig.balance
    seed: int = FinetuneConfig.seed
    images: int = 32
    epoch: int = 0

    def __post_init__(self) -> None:
        check_choice("--augment", self.augment, AUGMENTATIONS)
        check_choice("--mix", self.mix, MIXES)
        check_choice("--balance", self.balance, BALANCES)
        _check_range("--image-size", self.image_size, 32, 2048)
        _check_range("--seed", self.seed, 0, 2**31 - 1)
        _check_range("--images", self.images, 1, 256)
        _check_range("--epoch", self.epoch, 0, 100_000)
        _check_png("--out", self.out)


@dataclass(frozen=True)
class PredictConfig:
    """Which images, and what of the answer.

    Args:
        run: The run directory.
        paths: Files, folders or globs.
        top: Classes to show for each image, the likeliest first.
        out: CSV to write, or None.
        mirror: Whether the probabilities are means over each image and its mirror image.
        strategy: Which devices compute, as in `FinetuneConfig`.
    """

    run: str
    paths: tuple[str, ...]
    top: int = 5
    out: str | None = None
    mirror: bool = False
    strategy: str = "auto"

    def __post_init__(self) -> None:
        _check_range("--top", self.top, 1, 100_000)
        check_choice("--strategy", self.strategy, STRATEGIES)


def check_choice(option: str, value: object, choices: tuple[object, ...]) -> None:
    """Whether an option's value is one that it takes.

    Raises:
        UserError: It is none of the choices.
    """
    if value not in choices:
        names = ", ".join(str(choice).lower() for choice in choices if choice is not None)
        raise UserError(f"{option} must be one of {names}, received {value!r}")


def known_settings(arguments: dict[str, Any], source: str) -> dict[str, Any]:
    """The arguments of another run's config.json, for a new run of the same settings.

    Raises:
        UserError: A name in it is not a setting.
    """
    known = {field.name for field in fields(FinetuneConfig)}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise UserError(f"{source} has settings that finetune does not know: {', '.join(unknown)}")
    return arguments


def _check_division(group: str | None, folds: int | None, fold: int | None, manifest: str | None) -> None:
    """What says who goes where must be complete, and said once."""
    if manifest is not None and (group, folds, fold) != (None, None, None):
        raise UserError("--manifest has splits already; leave out --group, --folds and --fold")
    if (folds is None) != (fold is None):
        raise UserError(f"--folds and --fold belong together, received --folds {folds} and --fold {fold}")
    _check_range("--folds", folds, 2, 1000)
    _check_range("--fold", fold, 0, (folds or 1) - 1)
    if group is not None:
        _check_pattern("--group", group)


def _check_pattern(option: str, pattern: str) -> None:
    """A regular expression must have one group, and only one."""
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise UserError(f"{option} must be a regular expression, received {pattern!r}: {error}") from error
    if groups != 1:
        raise UserError(f"{option} must have one group in brackets, such as '_(\\d+)_', received {pattern!r}")


def _check_png(option: str, path: str) -> None:
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"{option} must end in .png, received {path!r}")


def _check_range(option: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise UserError(f"{option} must be between {low} and {high}, received {value}")
