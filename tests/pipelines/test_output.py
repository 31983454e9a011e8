"""Output of commands that nobody reads, that has no room, or that has strange names in it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipelines.console.streams import lasting_streams
from pipelines.finetune import finetune
from pipelines.runs.directory import Run
from tests.campaigns.names import run as campaign
from tests.conftest import small_config
from tests.pipelines.processes import start

PATIENCE = 120.0  # seconds that a process may take to print a line or write a file
LOST = "error: standard output took not all of the answer, since it is closed or full\n"
COMMAND = f"{sys.executable} -m pipelines"


def shell(script, **variables):
    """Runs a script with bash, whose exit status is that of the first command of a pipe."""
    script = f"set -o pipefail; {script}"
    environment = {**os.environ, "RESNET": COMMAND, **{name: str(value) for name, value in variables.items()}}
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def run(images, small, tmp_path_factory):
    """Returns a finished run, which tests must not change."""
    return finetune(small_config(images, tmp_path_factory.mktemp("trained") / "run", arch=small))


@pytest.fixture
def faulty(images, tmp_path):
    """Returns photos with one file at fault."""
    folder = shutil.copytree(images, tmp_path / "photos")
    (sorted(folder.iterdir())[0] / "cut.jpg").write_bytes(b"no image")
    return folder


def with_reader_that_leaves(arguments, tmp_path):
    """Runs a command whose output nobody reads after its first bytes, and returns its exit code."""
    pipe = tmp_path / "output"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    process = start(arguments, pipe)
    limit = time.monotonic() + PATIENCE
    while not _read(reader):
        assert time.monotonic() < limit
        time.sleep(0.005)
    os.close(reader)
    process.join()
    return process.exitcode


def _read(reader):
    try:
        return os.read(reader, 1)
    except BlockingIOError:
        return b""


def test_predict_into_a_closed_pipe_writes_its_table(run, images, tmp_path):
    table = tmp_path / "p.csv"
    assert with_reader_that_leaves(["predict", str(run.path), str(images), "--out", str(table)], tmp_path) == 0
    assert len(pd.read_csv(table)) == 30


def test_predict_whose_answer_is_lost_is_no_success(run, images, tmp_path):
    assert with_reader_that_leaves(["predict", str(run.path), str(images)], tmp_path) == 2


def test_finetune_into_a_closed_pipe_finishes_its_work(images, small, tmp_path):
    words = ["--arch", small, "--weights", "none", "--image-size", "32", "--epochs", "1", "--batch-size", "8"]
    new = tmp_path / "new"
    assert with_reader_that_leaves(["finetune", str(images), "--run", str(new), *words], tmp_path) == 0
    assert Run(new).model.exists()
    assert len(pd.read_csv(Run(new).history)) >= 1


def test_import_without_any_output_finishes_its_work(run, small, images, tmp_path):
    words = ["import", str(run.model), "--arch", small, "--data", str(images), "--image-size", "32"]
    assert with_reader_that_leaves([*words, "--run", str(tmp_path / "again")], tmp_path) == 0
    assert Run(tmp_path / "again").config.exists()


@pytest.mark.parametrize("end", ["| true", ">&-", "2>&-", ">&- 2>&-", "2>&1 | true", "> /dev/full", "2> /dev/full"])
def test_a_quarantine_that_nobody_watches_is_done(faulty, tmp_path, end):
    result = shell(f'$RESNET audit "$DATA" --quarantine "$ASIDE" {end}', DATA=faulty, ASIDE=tmp_path / "aside")
    assert result.returncode == 1, result.stderr  # something is at fault
    assert len(list((tmp_path / "aside").rglob("cut.jpg"))) == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("end", [">&-", "> /dev/full"])
def test_a_lost_answer_is_no_success(images, end):
    result = shell(f'$RESNET audit "$DATA" {end}', DATA=images)
    assert (result.returncode, result.stderr) == (2, LOST)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("--csv - | true", "Broken pipe"),
        ("--csv - >&-", "Bad file descriptor"),
        ("--csv /dev/stdout > /dev/full", "No space left on device"),
        ("--json /dev/full", "No space left on device"),
    ],
)
def test_a_lost_table_is_one_line_and_no_success(images, end, reason):
    result = shell(f'$RESNET audit "$DATA" {end}', DATA=images)
    if "| true" in end:  # the reader may end after the table has gone into the pipe
        for _ in range(20):
            if result.returncode:
                break
            result = shell(f'$RESNET audit "$DATA" {end}', DATA=images)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith("error: cannot write")
    assert reason in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("words", ["--help", "audit --help", "--version", "info resnet0"])
def test_words_that_cannot_be_printed_are_no_success(words):
    for end in (">&-", "> /dev/full"):
        result = shell(f"$RESNET {words} {end}")
        assert result.returncode == 2
        assert "Traceback" not in result.stderr
        assert "Exception ignored" not in result.stderr


def test_an_error_without_standard_error_keeps_its_exit_code_and_harms_no_file(tmp_path):
    for end in ("2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        assert shell(f'$RESNET audit "$DATA" {end}', DATA=tmp_path / "none").returncode == 2


def test_messages_do_not_get_into_a_file_that_has_the_number_of_standard_error(faulty, tmp_path):
    table = tmp_path / "audit.csv"
    assert shell('$RESNET audit "$DATA" --csv "$OUT" <&- >&- 2>&-', DATA=faulty, OUT=table).returncode == 1
    assert len(pd.read_csv(table)) == 31


def test_names_cannot_steer_a_terminal_and_are_exact_in_files(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "photos")
    label = sorted(folder.iterdir())[0]
    names = ["a\x1b[31mb.jpg", "photo\r.jpg", "two\nlines.jpg", "\u202egpj.jpg", "\x9b2J.jpg", "=1+1.jpg"]
    for name in names:
        (label / name).write_bytes(b"no image")
    result = shell('$RESNET audit "$DATA" --json "$OUT" --html "$PAGE"', DATA=folder, **outputs(tmp_path))
    assert result.returncode == 1, result.stderr
    assert not set("\x1b\r\u202e\x9b") & set(result.stdout + result.stderr)
    assert "a\\x1b[31mb.jpg" in result.stdout
    assert "two\\nlines.jpg (not an image, but text)" in result.stdout
    found = {Path(image["path"]).name for image in json.loads((tmp_path / "audit.json").read_bytes())["images"]}
    assert set(names) <= found
    page = (tmp_path / "audit.html").read_bytes().decode()
    assert not set("\x1b\r\u202e\x9b") & set(page)
    assert "a\\x1b[31mb.jpg" in page


def outputs(tmp_path):
    return {"OUT": tmp_path / "audit.json", "PAGE": tmp_path / "audit.html"}


def test_an_error_that_names_a_strange_path_is_one_plain_line():
    result = shell("$RESNET audit $'none\\e]0;title\\a\\n2'")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "none\\x1b]0;title\\x07\\n2" in result.stderr.replace("\\\\", "\\")


def test_a_terminal_that_knows_ascii_alone_is_no_obstacle(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "盆栽")
    (sorted(folder.iterdir())[0] / "盆.jpg").write_bytes(b"no image")
    result = shell('PYTHONIOENCODING=ascii $RESNET audit "$DATA"', DATA=folder)
    assert result.returncode == 1, result.stderr
    assert "\\u76c6.jpg" in result.stdout


def test_a_run_in_a_place_with_a_strange_name_works(run, images, tmp_path):
    strange = tmp_path / "a\rb\n=1"
    shutil.copytree(run.path, strange)
    photo = tmp_path / "Icon\r.png"
    Image.effect_noise((40, 40), 50).convert("RGB").save(photo)
    process = start(["predict", str(strange), str(photo), "--out", str(tmp_path / "p.csv")], tmp_path / "output")
    process.join()
    assert process.exitcode == 0, (tmp_path / "output").read_text()
    assert pd.read_csv(tmp_path / "p.csv")["path"].tolist() == [str(photo)]
    assert "Icon\\r.png" in (tmp_path / "output").read_text()


def test_strange_names_go_through_audit_tables_quarantine_and_undo():
    assert campaign(count=4, seed=0) == []


def test_what_a_library_prints_cannot_steer_a_terminal_either(capsys):
    with lasting_streams():
        print("a tensor named \x1b]0;title\x07\n\tand \u202emore")
    assert capsys.readouterr().out == "a tensor named \\x1b]0;title\\x07\n\tand \\u202emore\n"
