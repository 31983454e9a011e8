"""Failures of the machine stop a command, and are never taken for bad photos."""

import errno
import os

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.cli import main
from pipelines.data import inspect
from pipelines.data.inspect import inspect_image
from pipelines.data.machine import MachineFailure
from pipelines.images import lost_images
from pipelines.images.lost_images import LostImage, lost_images_named
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream

FAILURES = [
    (OSError(errno.EIO, os.strerror(errno.EIO)), "Input/output error"),
    (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files"),
    (OSError(errno.ESTALE, os.strerror(errno.ESTALE)), "Stale file handle"),
    (MemoryError(), "out of memory"),
]


@pytest.fixture
def photos(tmp_path):
    """Returns a folder of two classes with five pictures each."""
    rng = np.random.default_rng(0)
    for label in ("ant", "bee"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(
                tmp_path / "photos" / label / f"{number}.png"
            )
    return tmp_path / "photos"


def rows_of(folder, decoder="tensorflow"):
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    return pd.DataFrame({"path": names, "label": "a", "decoder": decoder, "orientation": 1})


def stream_of(rows, root):
    return evaluation_stream(ImageSource(rows, root, ["a"]), InputSpec(32), 2)


@pytest.mark.parametrize(("error", "words"), FAILURES, ids=[words for _, words in FAILURES])
@pytest.mark.parametrize("where", ["reading", "decoding"])
def test_a_failing_machine_stops_the_audit_and_moves_nothing(where, error, words, photos, monkeypatch, capsys):
    def fail(*arguments):
        raise error

    if where == "reading":
        monkeypatch.setattr(type(photos), "read_bytes", fail)
    else:
        monkeypatch.setattr(inspect, "open_image", fail)
    first, aside = photos / "ant" / "0.png", photos.parent / "aside"
    assert main(["audit", str(photos), "--quarantine", str(aside)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: cannot read '{first}': {words}; this is a failure of the machine")
    assert said.count("\n") == 1
    assert len(list(photos.rglob("*.png"))) == 10
    assert not aside.exists()


def test_what_pillow_says_of_a_damaged_file_is_no_failure_of_the_machine(photos):
    path = photos / "ant" / "0.png"
    path.write_bytes(path.read_bytes()[:300])
    assert inspect_image(path, photos).problems == ("unreadable",)


def test_a_stream_that_runs_out_of_handles_names_no_image_as_lost(photos):
    """The text is TensorFlow's own; with a real limit its iterators abort the process."""
    text = f"{photos}/ant/3.png; Too many open files [[{{node ReadFile}}]] [Op:IteratorGetNext]"
    said = f"cannot read '{photos}/ant/3.png': Too many open files; this is a failure of the machine"
    with pytest.raises(MachineFailure, match=said), lost_images_named(rows_of(photos), photos):
        raise tf.errors.ResourceExhaustedError(None, None, text)


def test_a_machine_that_fails_in_the_search_for_a_lost_image_blames_none(photos, monkeypatch):
    rows = rows_of(photos)
    bad = photos / rows["path"].iloc[5]
    bad.write_bytes(bad.read_bytes()[:-20])

    def fail(*arguments, **options):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(type(photos), "open", fail)
    with pytest.raises(MachineFailure, match="Too many open files"), lost_images_named(rows, photos):
        list(stream_of(rows, photos))


def test_only_the_images_of_the_batch_that_failed_are_opened_again(photos, monkeypatch):
    rows, opened = rows_of(photos), []
    bad = photos / rows["path"].iloc[5]
    bad.write_bytes(bad.read_bytes()[:-20])
    look = lost_images._trouble
    monkeypatch.setattr(lost_images, "_trouble", lambda path, *rest: opened.append(path) or look(path, *rest))
    said = f"{bad.name}' cannot be read any more"
    with pytest.raises(LostImage, match=said), lost_images_named(rows, photos, 2) as watched:
        list(watched(stream_of(rows, photos)))
    assert opened == [photos / path for path in rows["path"].iloc[4:6]]


def test_no_image_is_opened_for_an_error_that_is_not_about_images(photos, monkeypatch):
    rows = rows_of(photos)
    monkeypatch.setattr(lost_images, "_trouble", lambda *arguments: pytest.fail("an image was opened"))
    with pytest.raises(tf.errors.InvalidArgumentError), lost_images_named(rows, photos):
        tf.reshape(tf.zeros([2, 3]), tf.constant([5]))
    with pytest.raises(tf.errors.InvalidArgumentError), lost_images_named(rows, photos):
        list(stream_of(rows, photos).map(lambda images, labels: tf.reshape(images, [5, -1])))
