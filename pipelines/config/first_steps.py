"""The settings of the verbs for the first minutes: everything in one go, the machine, the shell, the hub."""

from dataclasses import dataclass

from pipelines.config.setting import DATA, NETWORK, RUN, Checked, documented, setting
from pipelines.config.shared import (
    RUNS,
    arch_setting,
    follow_links_setting,
    image_size_setting,
    minutes_setting,
    run_setting,
    track_setting,
)

SHELLS = ("bash", "zsh", "fish")


@documented
@dataclass(frozen=True)
class GoConfig(Checked):
    """The main job on somebody's photos, in one go."""

    photos: str = setting(
        "folder with one sub-folder per class, folder with train/, val/ and test/ of such folders, a zip or a tar of "
        "one of these, or a CSV",
        group=DATA,
        positional=True,
        metavar="PHOTOS",
    )
    run: str | None = setting(
        "run directory to make",
        None,
        metavar="RUN",
        none_is=f"{RUNS}/NAME-1, by the name of PHOTOS, or the next number that is free",
    )
    weights: str | None = setting(
        "weights to start from, as finetune takes them",
        None,
        group=NETWORK,
        metavar="WEIGHTS",
        none_is="imagenet; offline, what was downloaded before, or else drawn",
    )
    arch: str | None = arch_setting(None, none_is="resnet50, or what the weights are of")
    image_size: int | None = image_size_setting(None, none_is="decided from the data")
    minutes: float | None = minutes_setting(
        "time until the training is done, in minutes; the evaluation and the export come after it"
    )
    follow_links: bool = follow_links_setting()
    track: str | None = track_setting()


@documented
@dataclass(frozen=True)
class DoctorConfig(Checked):
    """What this machine has."""

    seconds: float = setting(
        "seconds of the speed test; 0 leaves it out",
        10.0,
        kind=float,
        low=0.0,
        high=600.0,
        metavar="X",
        why="A test of 10 seconds gives the same to a tenth when it is repeated.",
    )


@documented
@dataclass(frozen=True)
class CompletionConfig(Checked):
    """A shell whose completion is wanted."""

    shell: str = setting("shell", choices=SHELLS, positional=True, metavar="SHELL")


@documented
@dataclass(frozen=True)
class PushConfig(Checked):
    """A finished run, and the repository of the Hugging Face hub that it goes to."""

    run: str = run_setting()
    target: str = setting("repository of the Hugging Face hub, hf:OWNER/NAME", positional=True, metavar="TARGET")
    private: bool = setting("make the repository private if it is new", False, kind=bool)
    licence: str | None = setting(
        "licence of the model, as the hub names it, such as apache-2.0",
        None,
        group=RUN,
        metavar="NAME",
        none_is="none is stated",
    )
