"""The curves of a training, and how long the rest of it takes."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.console.clock import as_clock
from pipelines.finetune import finetune
from pipelines.report import curves as module
from pipelines.report.curves import HEIGHT, WIDTH, CurvesFile, best_row, draw_curves, places_of
from pipelines.training.checkpoint import Progress, load_checkpoint
from pipelines.training.history import HISTORY_COLUMNS
from pipelines.training.remaining import seconds_left
from tests.conftest import cut_off_before_epoch, small_config

HEAD = {"epoch": 0, "phase": "head", "val_accuracy": 0.5, "val_log_loss": 1.1}
SCORES = ("loss", "accuracy", "val_accuracy", "val_log_loss", "learning_rate", "seconds")


def epoch(number, *, val_log_loss=1.0):
    scores = dict(zip(SCORES, (0.9, 0.6, 0.55, val_log_loss, 1e-3, 2.0), strict=True))
    return {"epoch": number, "phase": "all layers", **scores}


def average(share, number):
    scores = {"val_accuracy": 0.6, "val_log_loss": 0.9}
    return {"epoch": number, "phase": f"average: {share:g} of epoch {number}", **scores}


def history(*rows):
    return pd.DataFrame(rows, columns=list(HISTORY_COLUMNS))


WHOLE = (HEAD, epoch(1), epoch(2), average(0.25, 2), average(0.5, 2))


@pytest.mark.parametrize(
    ("rows", "best"),
    [
        ([HEAD], "head on frozen features"),
        ([epoch(1)], "epoch 1"),
        (WHOLE, "average: 0.5 of epoch 2"),
        ([HEAD, epoch(1, val_log_loss=np.nan), epoch(2)], "epoch 2"),
        ([epoch(1, val_log_loss=np.nan)], ""),
        ([epoch(1, val_log_loss=1e-4), epoch(2, val_log_loss=np.inf), epoch(3, val_log_loss=30.0)], "epoch 1"),
        ([epoch(number, val_log_loss=9.0 / number) for number in range(1, 301)], "epoch 300"),
    ],
)
def test_any_history_is_a_picture_of_one_size(rows, best, tmp_path, recwarn):
    draw_curves(history(*rows), best, tmp_path / "curves.png", "run $x$")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (WIDTH, HEIGHT)
        assert len(picture.convert("RGB").getcolors(WIDTH * HEIGHT)) > 20
    assert not [str(warning.message) for warning in recwarn]


def test_averages_stand_beside_the_epoch_that_they_are_made_of():
    assert places_of([0, 1, 2, 2, 2]).tolist() == [0, 1, 2, 2.5, 3]
    assert places_of([0]).tolist() == [0]
    assert places_of([*range(1, 301), 300])[-1] == 318  # as far away as the eye can tell among 300


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_the_best_model_is_found_by_its_name(number):
    best = ("head on frozen features", "epoch 1", "epoch 2", "average: 0.25 of epoch 2", "average: 0.5 of epoch 2")
    assert best_row(history(*WHOLE), best[number]) == number
    assert best_row(history(*WHOLE), "epoch 3") is None


def test_a_run_has_its_curves_and_they_mark_its_best_model(finished):
    progress, table = load_checkpoint(finished).progress, pd.read_csv(finished.history)
    row = table.iloc[best_row(table, progress.best)]
    assert row["val_log_loss"] == pytest.approx(progress.best_log_loss)
    with Image.open(finished.curves) as picture:
        assert picture.size == (WIDTH, HEIGHT)


def test_a_continued_run_draws_all_epochs_and_says_what_remains(images, tiny, tmp_path, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(module, "draw_curves", lambda history, *_: drawn.append(history["epoch"].tolist()))
    with cut_off_before_epoch(2):
        finetune(small_config(images, tmp_path / "run", arch=tiny, epochs=4))
    assert drawn == [[1], [1, 2]]
    finetune(small_config(images, tmp_path / "run", arch=tiny, epochs=4))
    assert drawn[2:] == [[1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4]]
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert [" remain" in line for line in lines] == [True, True, True, False]
    assert not any("at most" in line for line in lines)


def test_epochs_that_take_no_time_are_not_drawn_one_by_one(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "draw_curves", lambda history, *_: drawn.append(len(history)))
    file, progress = CurvesFile(tmp_path / "curves.png", "title"), Progress(best="head on frozen features")
    for last in (False, False, True):
        progress.rows.append(HEAD)
        file.draw(progress, last)
    assert drawn == [1, 3]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ValueError("no font")])
def test_a_picture_that_cannot_be_drawn_is_said_once(failure, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise failure

    monkeypatch.setattr(module, "draw_curves", fail)
    monkeypatch.setattr(module, "SECONDS_BETWEEN", 0.0)
    file = CurvesFile(tmp_path / "curves.png", "title")
    for _ in range(2):
        file.draw(Progress(rows=[HEAD], best="head on frozen features"))
    warning = capsys.readouterr().err
    assert warning.startswith("warning: curves.png is not drawn, and the training continues: ")
    assert warning.count("\n") == 1
    assert (failure.strerror if isinstance(failure, OSError) else str(failure)) in warning
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    file.draw(Progress(rows=[HEAD], best="head on frozen features"), at_end=True)  # there is room again
    assert file.path.is_file()


def test_what_remains_is_the_usual_epoch_times_the_epochs():
    assert seconds_left([], 3) is None
    assert seconds_left([20.0], 3) == 60.0
    assert seconds_left([50.0, 20.0], 2) == 40.0  # graphs were made in the first
    assert seconds_left([50.0, 20.0, 21.0, 90.0, 22.0], 10) == 220.0
    assert seconds_left([20.0], 0) == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0:00"),
        (45, "0:45"),
        (59.7, "1:00"),
        (750, "12:30"),
        (3599.6, "1:00:00"),
        (3900, "1:05:00"),
        (360000, "100:00:00"),
    ],
)
def test_a_duration_is_shown_as_a_clock_does(seconds, text):
    assert as_clock(seconds) == text
