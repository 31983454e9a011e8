"""The settings of reproduce."""

from dataclasses import dataclass

from pipelines.config.setting import DATA, NETWORK, TRAINING, Checked, documented, setting

# What `pipelines.experiments.table` describes, and the sizes in which it does.
EXPERIMENT_NAMES = (
    "degradation",
    "shortcuts",
    "depth",
    "responses",
    "bottleneck",
    "identity-mappings",
    "thirty-classes",
)
SCALE_NAMES = ("quick", "half", "paper")


@documented
@dataclass(frozen=True)
class ReproduceConfig(Checked):
    """An experiment of the papers to repeat."""

    name: str = setting("experiment", choices=EXPERIMENT_NAMES, positional=True, metavar="NAME")
    out: str = setting("folder for results.csv, the figures and the page; the same command continues it", metavar="DIR")
    data: str | None = setting(
        "CIFAR-10: a folder or a zip with train/ and test/ by class, or cifar-10-binary.tar.gz; for thirty-classes, a "
        "folder of photos as finetune takes it",
        None,
        group=DATA,
        metavar="FILE",
    )
    scale: str = setting(
        "how large it is; quick: minutes on a processor; half: a quarter of the paper's steps; paper: all of them",
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
        "folder of an earlier experiment degradation, whose networks are shown or measured; nothing is trained",
        None,
        group=DATA,
        option="--from",
        metavar="DIR",
    )
    weights: str | None = setting(
        "ImageNet weights for thirty-classes: imagenet, or a folder with files such as resnet18_imagenet.safetensors",
        None,
        group=NETWORK,
        metavar="WEIGHTS",
        none_is="rows with such weights are left out, and their commands are printed",
    )
