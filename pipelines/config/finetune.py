"""The settings of finetune: what defines a run."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from pipelines.config.checks import check_pattern
from pipelines.config.setting import (
    DATA,
    DEVICES,
    NETWORK,
    RUN,
    TRAINING,
    absolute,
    check,
    documented,
    setting,
)
from pipelines.config.shared import (
    AUTO,
    RUNS,
    SEED,
    arch_setting,
    augment_setting,
    balance_setting,
    data_setting,
    epochs_of,
    follow_links_setting,
    image_size_setting,
    minutes_setting,
    mix_setting,
    range_setting,
    shortcut_setting,
    strategy_setting,
    stride_setting,
    track_setting,
    view_setting,
)
from resnet_tf.architectures import Shortcut, StridePlace, find_architecture
from resnet_tf.errors import UserError
from resnet_tf.source_kinds import is_path

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
RECIPES = ("he", "modern")
SIMILAR = ("keep", "group", "drop")
CACHES = ("none", "ram", "disk")
USE_ALL = ("val", "test")

_DECIDED = "decided from the data"
# Settings that may differ from call to call without changing the result. A training on all images may be asked for
# later, since it changes nothing in the run that chose it.
_NOT_OF_THE_RESULT = ("run", "checkpoint_seconds", "cache", "use_all", "track")


@documented
@dataclass(frozen=True)
class FinetuneConfig:
    """What defines a run. None leaves a decision to the recipe, which takes it from the data and the weights."""

    data: str = data_setting()
    run: str = setting(
        "run directory to make, or to continue",
        group=RUN,
        metavar="RUN",
        left_out=f"{RUNS}/NAME-1, by the name of DATA, or the next number that is free",
    )

    arch: str = arch_setting("resnet50", why="It is the network of the paper that most weights are published for.")
    weights: str = setting(
        "weights to start from: imagenet, drawn (small, in this package), none, timm:NAME, hf:OWNER/NAME, "
        "https://…#sha256=…, or a file: Keras .h5 and .keras, safetensors, .npz, PyTorch .pth, .caffemodel, SavedModel",
        "imagenet",
        group=NETWORK,
        metavar="WEIGHTS",
        why="Weights that others trained on 1.28 million photos beat any training from scratch on a few thousand.",
    )
    image_size: int | None = image_size_setting(None, none_is=_DECIDED, why="It is 224 unless details need more.")
    view: str | None = view_setting(None, none_is=_DECIDED)
    shortcut: Shortcut | Literal["default"] = shortcut_setting()
    stride_at: StridePlace | None = stride_setting()

    val_fraction: float = setting(
        "share of images for choosing the best epoch, where the data do not say",
        0.15,
        group=DATA,
        kind=float,
        low=0.0,
        high=0.9,
        metavar="X",
        why="It is enough to choose by, and leaves most images for training.",
    )
    test_fraction: float = setting(
        "share of images for the final figures, where the data do not say",
        0.15,
        group=DATA,
        kind=float,
        low=0.0,
        high=0.9,
        metavar="X",
        why="The figures are of images that nothing was chosen by.",
    )
    group: str | None = setting(
        "regular expression with one pair of brackets; files with the same text there stay in one split",
        None,
        group=DATA,
        metavar="PATTERN",
        none_is="none",
    )
    similar: str = setting(
        "what is done about near-identical pictures: keep divides them like any others, group keeps them in one "
        "split, drop uses one of each group",
        "group",
        group=DATA,
        choices=SIMILAR,
        metavar="RULE",
        why="A copy of a training image in the test flatters the figures.",
    )
    folds: int | None = setting(
        "parts for cross-validation, one of which is the test",
        None,
        group=DATA,
        kind=int,
        low=2,
        high=1000,
        metavar="K",
        none_is="none",
    )
    fold: int | None = setting(
        "number of the part that is the test, 0 to K - 1", None, group=DATA, kind=int, metavar="I", none_is="none"
    )
    manifest: str | None = setting(
        "manifest of another run (its manifest.csv), for the same images and splits",
        None,
        group=DATA,
        metavar="FILE",
        none_is="none",
    )
    follow_links: bool = follow_links_setting()
    balance: str | None = balance_setting(
        None,
        none_is=_DECIDED,
        why="With every value but none, the head is fitted and the best model is chosen so that all classes count the "
        "same. It is logits where classes are far from equal, and none elsewhere.",
    )
    range: str = range_setting()

    recipe: str | None = setting(
        "recipe for training from random weights, with --weights none",
        None,
        group=TRAINING,
        choices=RECIPES,
        none_is=_DECIDED,
        metavar="NAME",
    )
    epochs: int | Literal["auto"] | None = setting(
        f"passes over the training images, after the head is fitted; {AUTO}: as many as help",
        None,
        group=TRAINING,
        kind=int,
        low=0,
        high=100_000,
        metavar="N",
        none_is=_DECIDED,
        parse=epochs_of,
    )
    minutes: float | None = minutes_setting(
        "time for the whole command, in minutes: as many epochs as fit into it on this machine; in place of --epochs"
    )
    batch_size: int = setting(
        "images per step, over all devices together",
        32,
        group=TRAINING,
        kind=int,
        low=1,
        high=65536,
        metavar="N",
        why="It fits every machine, and gives few images enough steps.",
    )
    learning_rate: float | None = setting(
        "peak of the learning rate",
        None,
        group=TRAINING,
        kind=float,
        positive=True,
        metavar="X",
        none_is=_DECIDED,
    )
    label_smoothing: float | None = setting(
        "share of the target that is spread over all classes",
        None,
        group=TRAINING,
        kind=float,
        low=0.0,
        high=0.9,
        metavar="X",
        none_is=_DECIDED,
    )
    augment: str | None = augment_setting(None, none_is=_DECIDED)
    mix: str | None = mix_setting(None, none_is=_DECIDED)
    patience: int | None = setting(
        "epochs without a better validation before training stops",
        None,
        group=TRAINING,
        kind=int,
        low=1,
        high=100_000,
        metavar="N",
        none_is=_DECIDED,
    )
    use_all: str | None = setting(
        "once everything is chosen, one more training, into RUN/all, on the validation images as well (val), or on "
        "those and the test images (test)",
        None,
        group=TRAINING,
        choices=USE_ALL,
        metavar="SPLIT",
        none_is="no such training",
        why="More images make a better model, but images that it has learned from say nothing of how good it is.",
    )
    seed: int = setting("seed of split, order, augmentation and initial weights", 0, group=TRAINING, **SEED)

    precision: str = setting(
        "precision of the computation; variables are always float32",
        "auto",
        group=DEVICES,
        choices=PRECISIONS,
        metavar="NAME",
        why="auto is bfloat16 where the processor or the GPU computes in it, and float32 elsewhere.",
    )
    strategy: str = strategy_setting()
    deterministic: bool = setting(
        "the same bits on every repetition on this machine; training is slower", False, group=DEVICES, kind=bool
    )

    checkpoint_seconds: float = setting(
        "seconds between two checkpoints within an epoch",
        60.0,
        group=RUN,
        kind=float,
        low=0.0,
        high=86400.0,
        metavar="X",
        why="A run that is killed loses a minute of work at most.",
    )
    cache: str = setting(
        "where decoded pictures are kept for later epochs; it changes no pixel",
        "none",
        group=RUN,
        choices=CACHES,
        metavar="WHERE",
        why="It pays for large photos, PNG and fast networks, and takes ten times the space of small JPEG files.",
    )
    track: str | None = track_setting()

    def __post_init__(self) -> None:
        find_architecture(self.arch)
        if self.epochs not in (None, AUTO) and type(self.epochs) is not int:
            raise UserError(f"--epochs must be a whole number or {AUTO}, received {self.epochs!r}")
        check(self)
        if self.minutes is not None and self.epochs is not None:
            raise UserError(
                f"--minutes {self.minutes:g} and --epochs {self.epochs} both say when training ends; leave one out"
            )
        if self.epochs == 0 and not self.pretrained:
            raise UserError(
                "--epochs 0 fits a head alone, which needs the features of weights, and --weights none has none; give "
                "more epochs or weights"
            )
        if self.minutes is not None and self.use_all is not None:
            raise UserError(
                f"--use-all {self.use_all} repeats whole epochs, and --minutes {self.minutes:g} may cut one; give one"
            )
        if self.val_fraction + self.test_fraction >= 1.0:
            raise UserError(
                f"--val-fraction {self.val_fraction} and --test-fraction {self.test_fraction} leave nothing to train on"
            )
        if self.recipe is not None and self.pretrained:
            raise UserError(f"--recipe {self.recipe} is for random weights; leave it out, or give --weights none")
        self._check_division()

    def _check_division(self) -> None:
        """What says which image goes where must be complete, and must be said once."""
        if self.manifest is not None and (self.group, self.folds, self.fold) != (None, None, None):
            raise UserError("--manifest has splits already; leave out --group, --folds and --fold")
        if self.manifest is not None and self.similar == "keep":
            raise UserError("--manifest has splits already; leave out --similar keep")
        if (self.folds is None) != (self.fold is None):
            raise UserError(f"--folds and --fold belong together, received --folds {self.folds} and --fold {self.fold}")
        if self.folds is not None and self.fold is not None and not 0 <= self.fold < self.folds:
            raise UserError(f"--fold must be between 0 and {self.folds - 1}, received {self.fold}")
        if self.group is not None:
            check_pattern("--group", self.group)

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from weights."""
        return self.weights != "none"

    def as_arguments(self) -> dict[str, Any]:
        """What config.json keeps: every setting that changes the result, with absolute paths."""
        arguments = {name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_RESULT}
        arguments["data"] = absolute(self.data)
        if is_path(self.weights):
            arguments["weights"] = absolute(self.weights)
        if self.manifest is not None:
            arguments["manifest"] = absolute(self.manifest)
        return arguments


def merged_settings(earlier: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns another run's settings with those that are given now, which take precedence.

    --minutes and --epochs both say when training ends, so that one of them replaces the other.
    """
    ends = {"minutes", "epochs"}
    replaced = ends if any(given.get(name) is not None for name in ends) else set()
    return {**{name: value for name, value in earlier.items() if name not in replaced}, **given}


def known_settings(arguments: dict[str, Any], source: str) -> dict[str, Any]:
    """The arguments of another run's config.json, for a new run with the same settings.

    Raises:
        UserError: A name in it is no setting.
    """
    known = {field.name for field in fields(FinetuneConfig)}
    unknown = sorted(set(arguments) - known)
    if unknown:
        raise UserError(f"{source} has settings that finetune does not know: {', '.join(unknown)}")
    return arguments
