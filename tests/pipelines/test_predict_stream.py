"""predict over many pictures: what is kept after a kill, which files it writes, and where names may come from."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.config.judging import PredictConfig
from pipelines.data.looked_at import LookedAt, grouped, looked_at
from pipelines.data.picture_names import picture_names
from pipelines.data.walk import files_below, walk
from pipelines.evaluation.answers import Network
from pipelines.evaluation.pictures import predict_images, prediction_tables
from pipelines.notebook import predict_many
from pipelines.predict import predict
from pipelines.runs.files import read_json
from pipelines.runs.row_files import csv_bytes, json_lines, write_parquet
from pipelines.runs.tables import read_table
from pipelines.runs.unfinished import Unfinished
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def many(tmp_path_factory, images):
    """Returns a folder of 96 pictures, three batches, with three files among them that are none."""
    folder, pictures = tmp_path_factory.mktemp("many"), sorted(images.rglob("*.jpg"))
    for number in range(96):
        (folder / f"{number:03d}.jpg").write_bytes(pictures[number % len(pictures)].read_bytes())
    for number in (0, 50, 95):
        (folder / f"{number:03d}-text.jpg").write_text("a text")
    return folder


@pytest.fixture(scope="module")
def whole(finished, many, tmp_path_factory):
    """Returns the CSV of a command that nobody interrupted."""
    out = tmp_path_factory.mktemp("whole") / "answers.csv"
    assert predict(PredictConfig(str(finished.path), (str(many),), out=str(out))) is True
    return out


@pytest.fixture(scope="module")
def lines(finished, many, tmp_path_factory):
    """Returns the same as JSON lines, with sets."""
    out = tmp_path_factory.mktemp("lines") / "answers.jsonl"
    predict(PredictConfig(str(finished.path), (str(many),), out=str(out), level=0.5))
    return out


@contextmanager
def interrupted_after(groups):
    """Within it, a command gets Ctrl-C where it has written some groups of 32 answers."""
    original, calls = Unfinished.append, []

    def append(self, *arguments):
        original(self, *arguments)
        calls.append(arguments)
        if len(calls) == groups:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Unfinished, "append", append)
        with pytest.raises(KeyboardInterrupt):
            yield


@contextmanager
def standard_input(content):
    """Gives this process some bytes as standard input."""
    kept, (reading, writing) = os.dup(0), os.pipe()
    os.write(writing, content)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_a_table_has_the_readable_pictures_in_order_and_a_list_names_the_others(whole, many):
    table = pd.read_csv(whole)
    assert list(table["path"]) == [str(many / f"{number:03d}.jpg") for number in range(96)]
    others = pd.read_csv(whole.with_name("answers.csv.left-out.csv"))
    assert list(others["path"]) == [str(many / f"{number:03d}-text.jpg") for number in (0, 50, 95)]
    assert set(others["reason"]) == {"not an image, but text"}
    assert {file.name for file in whole.parent.iterdir()} == {"answers.csv", "answers.csv.left-out.csv"}


def test_a_killed_command_continues_and_writes_the_same_bytes(finished, many, whole, tmp_path):
    """The process is killed while it waits for further names, after the first of its answers are on the disk."""
    out, names = tmp_path / "answers.csv", sorted(map(str, many.iterdir()))
    command = [sys.executable, "-m", "pipelines", "predict", str(finished.path), "-", "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write("".join(f"{name}\n" for name in names * 3).encode())
    process.stdin.flush()
    kept = tmp_path / "answers.csv.partial" / "progress.json"
    for _ in range(600):
        if kept.exists():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < read_json(kept)["names"] < 297
    assert not out.exists()

    with standard_input("".join(f"{name}\0" for name in names).encode()):
        assert main(["predict", str(finished.path), "-", "--null", "--out", str(out)]) == 1
    assert out.read_bytes() == whole.read_bytes()
    assert not kept.parent.exists()


def test_what_an_interrupted_command_has_written_is_no_file_of_answers(finished, many, lines, tmp_path, capsys):
    out = tmp_path / "answers.jsonl"
    config = PredictConfig(str(finished.path), (str(many),), out=str(out), level=0.5)
    with interrupted_after(2):
        predict(config)
    assert "64 rows are kept in" in capsys.readouterr().err
    assert not out.exists()
    rows = tmp_path / "answers.jsonl.partial" / "rows"
    rows.write_bytes(rows.read_bytes() + b"half a r")  # as a process leaves it that is killed within a write
    assert predict(config) is True
    assert "66 images are done" in capsys.readouterr().out  # two of them were left out
    assert out.read_bytes() == lines.read_bytes()
    assert len(pd.read_csv(tmp_path / "answers.jsonl.left-out.csv")) == 3


def test_another_command_does_not_continue_the_answers_of_an_earlier_one(finished, many, tmp_path):
    out = tmp_path / "answers.csv"

    def command(*names, **more):
        return PredictConfig(str(finished.path), names or (str(many),), out=str(out), **more)

    with interrupted_after(2):
        predict(command())
    with pytest.raises(UserError, match="was begun with another --mirror; give that command again, or remove"):
        predict(command(mirror=True))
    with pytest.raises(UserError, match="the first 66 of the named images are no longer those"):
        predict(command(*sorted(map(str, many.iterdir()))[1:]))
    picture = many / "007.jpg"
    times = picture.stat()
    os.utime(picture, (1, 1))
    with pytest.raises(UserError, match="are no longer those that were predicted"):
        predict(command())
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    progress = tmp_path / "answers.csv.partial" / "progress.json"
    progress.write_text(progress.read_text().replace(read_json(progress)["made_by"]["model"][0], "0" * 64))
    with pytest.raises(UserError, match="was begun with another model"):
        predict(command())
    progress.write_text("[]")
    with pytest.raises(UserError, match="cannot be continued; remove it"):
        predict(command())


def test_json_lines_and_parquet_have_the_numbers_of_the_csv(finished, many, whole, lines, tmp_path):
    expected = pd.read_csv(whole)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert all(line["predicted"] in line.pop("set") for line in found)
    pd.testing.assert_frame_equal(pd.DataFrame(found), expected)
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    predict(PredictConfig(str(finished.path), (str(many),), out=str(tmp_path / "answers.parquet")))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "answers.parquet"), expected, check_dtype=False)


def test_parquet_without_pyarrow_is_one_clear_line(finished, many, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    words = ["predict", str(finished.path), str(many), "--out"]
    assert main([*words, str(tmp_path / "a.parquet")]) == 2
    assert "needs pyarrow: pip install" in capsys.readouterr().err
    assert main([*words, str(tmp_path / "a.xlsx")]) == 2
    assert "--out must end in .csv, .jsonl or .parquet, received" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_standard_output_gets_json_lines_or_csv_and_nothing_else(finished, many, whole, capfdbinary):
    names = [str(many / "000-text.jpg"), str(many / "001.jpg")]
    assert main(["predict", str(finished.path), *names, "--json"]) == 1
    first, second = (json.loads(line) for line in capfdbinary.readouterr().out.splitlines())
    assert first == {"path": names[0], "error": "not an image, but text"}
    assert second["path"] == names[1]
    assert second["confidence"] == max(value for name, value in second.items() if name.startswith("p:"))
    assert main(["predict", str(finished.path), str(many), "--out", "-"]) == 1
    assert capfdbinary.readouterr().out == whole.read_bytes()
    assert main(["predict", str(finished.path), names[1], "--out", "-", "--json"]) == 2


def test_names_on_standard_input_may_be_wrong_and_too_long_ones_are_refused(finished, many, tmp_path, capfdbinary):
    strange = os.fsencode(tmp_path) + b"/a\xff.jpg"
    Path(os.fsdecode(strange)).write_bytes((many / "003.jpg").read_bytes())
    content = strange + f"\r\n\nftp://example.org/a.jpg\n{many}/none.jpg".encode()
    with standard_input(content):
        assert main(["predict", str(finished.path), "-", "--json"]) == 1
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert lines[0]["path"] == os.fsdecode(strange)
    assert [line.get("error") for line in lines] == [None, "an address that is neither http nor https", "missing"]
    with standard_input(b"x" * 40_000), pytest.raises(UserError, match="more than 32768 bytes"):
        list(picture_names(["-"], False))
    with standard_input(b"\n"), pytest.raises(UserError, match="no name came on standard input"):
        predict(PredictConfig(str(finished.path), ("-",)))
    with pytest.raises(UserError, match="read once"):
        predict(PredictConfig(str(finished.path), ("-", "-")))
    with pytest.raises(UserError, match="only http and https addresses are fetched, received 'file:///etc/passwd'"):
        predict(PredictConfig(str(finished.path), ("file:///etc/passwd",)))


def test_only_some_hundred_pictures_are_looked_at_before_the_first_answer(finished, many, tmp_path):
    """Memory does not grow with the number of pictures, since nobody holds more than these."""
    asked = 0

    def names():
        nonlocal asked
        while True:  # without an end
            asked += 1
            yield str(many / "001.jpg")

    network = Network(finished, Workers(), "one", False)
    answers = network.answers(grouped(looked_at(names(), tmp_path), 32))
    assert len(next(answers).names) == 32
    answers.close()
    assert asked < 2000
    assert not [thread for thread in threading.enumerate() if "ThreadPoolExecutor" in thread.name and thread.is_alive()]


def test_decoders_are_silent_and_a_program_hears_its_own_warnings_meanwhile(tmp_path):
    name = tmp_path / "a.jpg"
    Image.new("RGB", (40, 40)).save(name, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # ends too early
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(name) as image:
        image.getexif()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        pictures = looked_at([str(name)] * 200, tmp_path)
        assert next(pictures).readable
        warnings.warn("the program's own", stacklevel=1)
        assert len(list(pictures)) == 199
    assert [str(each.message) for each in heard] == ["the program's own"]


def test_a_command_that_waits_for_names_hears_ctrl_c(finished, many, tmp_path):
    kept, (reading, writing), stop = os.dup(0), os.pipe(), threading.Event()
    os.dup2(reading, 0)
    os.write(writing, f"{many}/001.jpg\n".encode() * 300)  # and then nothing more, but no end either
    network = Network(finished, Workers(), "one", False)
    answers = network.answers(grouped(looked_at(picture_names(["-"], stop=stop), tmp_path), 32), stop)
    try:
        assert len(next(answers).names) == 32
        with interrupted_in(2.0), pytest.raises(KeyboardInterrupt):
            list(answers)
    finally:
        os.dup2(kept, 0)
        for handle in (kept, reading, writing):
            os.close(handle)
    assert stop.is_set()


@contextmanager
def interrupted_in(seconds):
    """Raises KeyboardInterrupt within it after some time."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_tables_of_a_program_come_one_after_the_other(finished, many, monkeypatch):
    left_out, forgotten, waiting = [], [], []
    pictures = sorted(map(str, many.glob("*.jpg")))

    def names():
        for number, name in enumerate(pictures * 11):
            waiting.append(number - len(forgotten))
            yield name

    monkeypatch.setattr(LookedAt, "forget", lambda picture: forgotten.append(picture))
    tables = prediction_tables(finished, names(), left_out=lambda *told: left_out.append(told))
    first = next(tables)
    assert len(first) == 1024
    rest = pd.concat([first, *tables])
    assert len(rest) == 1056
    assert len(left_out) == 33
    assert max(waiting) < 700  # so many files of addresses lie in the temporary folder at most, and not a whole table's
    known = predict_images(finished, [name for name in pictures if "text" not in name])
    assert list(first.columns) == list(known.columns)
    classes = [name for name in known.columns if name.startswith("p:")]
    # Different images in a batch change the last bits of float32.
    np.testing.assert_allclose(first[classes][:96], known[classes], atol=1e-6)


def test_one_path_is_not_taken_for_the_names_of_its_letters(finished, many):
    name = many / "001.jpg"
    for alone in (name, str(name)):
        assert [list(table["path"]) for table in predict_many(finished, alone)] == [[str(name)]]


def test_two_files_of_answers_have_two_lists_of_what_was_left_out(finished, many, tmp_path):
    def command(names, ending):
        return PredictConfig(
            str(finished.path), tuple(str(many / each) for each in names), out=f"{tmp_path}/a.{ending}"
        )

    predict(command(["000-text.jpg", "001.jpg"], "csv"))
    predict(command(["001.jpg"], "jsonl"))
    assert {file.name for file in tmp_path.iterdir()} == {"a.csv", "a.csv.left-out.csv", "a.jsonl"}


def test_many_answers_and_warnings_are_shown_in_part(finished, many, tmp_path, capsys):
    texts = tmp_path / "texts"
    texts.mkdir()
    for number in range(25):
        (texts / f"{number}.jpg").write_text("a text")
    out = tmp_path / "answers.csv"
    assert main(["predict", str(finished.path), str(many), str(texts), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == f"… and 76 more in {out}"
    assert said.err.count("left out: ") == 20
    assert f"warning: 28 images were left out; {tmp_path}/answers.csv.left-out.csv has all of them" in said.err
    assert main(["predict", str(finished.path), str(many / "000.jpg"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"run": str(finished.path), "out": str(out), "images": 1, "left_out": 0}
    assert not (tmp_path / "answers.csv.left-out.csv").exists()  # it was that of the earlier answers


def test_two_commands_do_not_write_one_file(finished, many, tmp_path):
    out = tmp_path / "answers.csv"
    other = "import fcntl, sys; file = open(sys.argv[1], 'a+'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True)"
    (tmp_path / "answers.csv.partial").mkdir()
    lock = tmp_path / "answers.csv.partial" / ".lock"
    with subprocess.Popen([sys.executable, "-c", f"{other}; input()", str(lock)], stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        with pytest.raises(UserError, match=r"is being written by process .*; wait for its end, or name another file"):
            predict(PredictConfig(str(finished.path), (str(many),), out=str(out)))
        process.communicate(b"\n")


def test_files_come_in_the_order_of_a_walk_and_the_same_is_skipped(tmp_path):
    names = ["b/1.jpg", "a.b/2.jpg", "a/3.jpg", "a/b/4.jpg", "a-b.jpg", "a/.hidden.jpg", "c/Thumbs.db", "z.jpg"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "manifest.csv", "model.keras", "photo.jpg"):
        (run / name).write_text("")
    (tmp_path / "a" / "circle").symlink_to(tmp_path)
    (tmp_path / "b" / "outward").symlink_to("/")
    folder, skipped = walk(tmp_path)
    *files, also_skipped = files_below(tmp_path)
    assert files == sorted(folder.all_files())
    assert also_skipped.lines() == skipped.lines()
    with pytest.raises(UserError, match="is the directory of a run"):
        list(files_below(run))


def test_a_name_that_is_not_utf8_comes_back_from_every_file(tmp_path):
    name = 'a\udcff,\n".jpg'
    (tmp_path / "answers.csv").write_bytes(csv_bytes([("path", "set"), (name, "[]")]))
    assert list(read_table(tmp_path / "answers.csv")["path"]) == [name]
    (tmp_path / "answers.jsonl").write_bytes(json_lines(("path", "set"), [(name, "[]")]))
    assert json.loads((tmp_path / "answers.jsonl").read_bytes()) == {"path": name, "set": []}
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    write_parquet(("path", "set"), tmp_path / "answers.jsonl", tmp_path / "answers.parquet")
    assert pd.read_parquet(tmp_path / "answers.parquet")["path"][0] == 'a\\xff,\n".jpg'
