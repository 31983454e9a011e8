"""The settings of the verbs that use a trained model: evaluate, compare, predict and page."""

from dataclasses import dataclass

from pipelines.config.setting import DATA, RUN, Checked, documented, setting
from pipelines.config.shared import (
    RUNS,
    SPLITS,
    follow_links_setting,
    mirror_setting,
    moved_data_setting,
    run_setting,
    scales_of,
    strategy_setting,
    track_setting,
)
from resnet_tf.errors import UserError


@documented
@dataclass(frozen=True)
class EvaluateConfig(Checked):
    """What to judge, and by which images."""

    run: str | None = setting(
        "run directory; not needed with --predictions, or with --model and a SavedModel",
        None,
        group=RUN,
        positional=True,
        metavar="RUN",
        none_is=f"the newest finished run in {RUNS}",
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
        "SavedModel folder, or file of ONNX, OpenVINO (.xml) or LiteRT, to judge in place of the run's model.keras",
        None,
        metavar="PATH",
        none_is="model.keras",
        why="It sees the images as the run does.",
    )
    out: str | None = setting(
        "folder for the evaluation", None, metavar="DIR", none_is="RUN/evaluation and the name of the images"
    )
    labels: bool = setting(
        "also look for wrong labels among all images of the run, which takes one more pass over them", False, kind=bool
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
    track: str | None = track_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.run is None and self.predictions is None and self.model is None:
            raise UserError("evaluate needs a RUN, --predictions FILE.csv of another program, or --model SAVED_MODEL")
        if self.run is None and self.out is None:
            raise UserError("without a RUN, evaluate needs --out DIR, the folder for the evaluation")
        if self.run is None and self.model is not None and self.data is None:
            raise UserError("--model without a RUN needs --data DATA, the labelled photos to judge by")
        if self.run is None and self.track is not None:
            raise UserError("--track tells of a run; name the RUN, or leave --track out")
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
class CompareConfig(Checked):
    """Which models to compare, and on which photos."""

    runs: tuple[str, ...] = setting(
        "run directories, or folders of evaluations; every other one is compared with the first",
        kind=tuple,
        positional=True,
        metavar="RUN",
    )
    against: tuple[str, ...] | None = setting(
        "run directories of the other side, if the runs are several seeds of one side",
        None,
        kind=tuple,
        metavar="RUN",
        none_is="none",
    )
    split: str = setting(
        "part of the images", "test", group=DATA, choices=SPLITS, metavar="NAME", why="Nothing was chosen by it."
    )
    out: str | None = setting(
        "folder for the comparison", None, metavar="DIR", none_is="RUN/comparison and the name of the other run"
    )


@documented
@dataclass(frozen=True)
class PredictConfig(Checked):
    """Which images to name, and what of the answer to show."""

    run: str = run_setting()
    paths: tuple[str, ...] = setting(
        "files, folders, globs or http addresses; - reads names of files and addresses from standard input, one a line",
        group=DATA,
        kind=tuple,
        positional=True,
        metavar="PATH",
    )
    follow_links: bool = follow_links_setting()
    null: bool = setting(
        "names on standard input end with a NUL, as those of find -print0", False, group=DATA, kind=bool
    )
    top: int = setting(
        "classes to show for each image, the likeliest first", 5, kind=int, low=1, high=100_000, metavar="K"
    )
    out: str | None = setting(
        "file to write, with all probabilities: .csv, .jsonl or .parquet",
        None,
        metavar="FILE",
        none_is="none",
        written=True,
        why="What there is of it lies in FILE.partial until it is complete, and the same command continues there.",
    )
    level: float | None = setting(
        "also give each picture a set of classes that contains the true one with this probability, such as 0.95",
        None,
        kind=float,
        low=0.5,
        high=0.9999,
        option="--set",
        metavar="LEVEL",
        none_is="no sets",
        why="The guarantee is that of conformal prediction, for photos like those for validation.",
    )
    mirror: bool = mirror_setting()
    strategy: str = strategy_setting()


@documented
@dataclass(frozen=True)
class PageConfig(Checked):
    """Which run answers on a page, and where the page is."""

    run: str = run_setting()
    data: str | None = moved_data_setting()
    host: str = setting(
        "name or address of this machine that the page listens to",
        "127.0.0.1",
        metavar="HOST",
        why="Only programs and people of this machine reach 127.0.0.1; on a machine that you share, these are others, "
        "too. The page has no password.",
    )
    port: int = setting("port of the page; 0 takes a free one", 0, kind=int, low=0, high=65535, metavar="N")
