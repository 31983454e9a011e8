"""A quarantine can be undone from wherever it was cut off, and its list moves nothing but the files it names."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.data import quarantine as module

HEADER = "from,to,reason\n"


@pytest.fixture
def photos(images, tmp_path):
    """Returns photos with two files at fault."""
    folder = shutil.copytree(images, tmp_path / "photos")
    label = sorted(folder.iterdir())[0]
    for name in ("photo\r.jpg", "cut.jpg"):
        (label / name).write_bytes(f"no image {name}".encode())
    (label / "cut.jpg").chmod(0o640)
    os.utime(label / "cut.jpg", (1, 1))
    return folder


@pytest.fixture
def aside(tmp_path):
    return tmp_path / "aside"


def tree(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def moved(photos, aside):
    return main(["audit", str(photos), "--quarantine", str(aside)])


def back(photos, aside):
    return main(["audit", str(photos), "--undo", str(aside)])


class Killed(BaseException):
    """Stands in for SIGKILL, after which nothing of the process runs."""


@pytest.fixture
def other_file_system(monkeypatch):
    """Makes every rename one across file systems."""

    def rename(self, target):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "rename", rename)


def killed(source):
    raise Killed


@pytest.mark.usefixtures("other_file_system")
def test_a_quarantine_that_was_killed_between_copy_and_removal_can_be_undone(photos, aside, monkeypatch, capsys):
    before = tree(photos)
    with monkeypatch.context() as patch:
        patch.setattr(module, "_remove_source", killed)
        with pytest.raises(Killed):
            moved(photos, aside)
    assert tree(photos) == before  # the copy is there as well
    assert len(tree(aside)) == 2  # the list and one copy
    assert back(photos, aside) == 0
    assert tree(photos) == before
    assert not aside.exists()


@pytest.mark.usefixtures("other_file_system")
def test_an_undo_that_was_killed_between_copy_and_removal_can_be_repeated(photos, aside, monkeypatch):
    before = tree(photos)
    assert moved(photos, aside) == 1
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(module, "_remove_source", killed)
            with pytest.raises(Killed):
                back(photos, aside)
    assert back(photos, aside) == 0
    assert tree(photos) == before
    assert not aside.exists()


@pytest.mark.usefixtures("other_file_system")
def test_half_a_copy_of_a_killed_quarantine_goes_with_the_undo(photos, aside):
    before = tree(photos)
    assert moved(photos, aside) == 1
    label = sorted(photos.iterdir())[0].name
    for place in (aside, photos):
        (place / label / ".writing-abcdefgh.jpg").write_bytes(b"half")
    assert back(photos, aside) == 0
    assert tree(photos) == before
    assert not aside.exists()


@pytest.mark.usefixtures("other_file_system")
def test_a_file_that_moves_between_file_systems_keeps_mode_and_time(photos, aside):
    assert moved(photos, aside) == 1
    copies = list(aside.rglob("cut.jpg"))
    assert [(copy.stat().st_mode & 0o777, copy.stat().st_mtime) for copy in copies] == [(0o640, 1.0)]


def test_a_carriage_return_in_a_name_moves_one_file_there_and_back(photos, aside):
    before = tree(photos)
    assert moved(photos, aside) == 1
    assert len(before) - len(tree(photos)) == 2
    assert back(photos, aside) == 0
    assert tree(photos) == before


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (",,x", "names '', which is no file"),
        (".,.,x", "names '.', which is no file"),
        ("./,./,x", "names './', which is no file"),
        ("{label}/0000.jpg,,x", "names '', which is no file"),
        ("/etc/passwd,a,x", "names '/etc/passwd', which leads out of the folder"),
        ("a,../a,x", "names '../a', which leads out of the folder"),
        ("a/../../b,a,x", "which leads out of the folder"),
        ("new,folder,x", "A folder stands where a file was"),
        ("outside/x,file,x", "is behind a link that leads out of"),
        ("new,outside/x,x", "is behind a link that leads out of"),
    ],
)
def test_undo_moves_no_folder_and_nothing_outside(photos, aside, tmp_path, capsys, row, message):
    elsewhere = tmp_path / "elsewhere"
    for folder in (aside / "folder", elsewhere):
        folder.mkdir(parents=True)
        (folder / "x").write_bytes(b"mine")
    (aside / "file").write_bytes(b"file")
    for place in (aside, photos):
        (place / "outside").symlink_to(elsewhere)
    (aside / "quarantine.csv").write_text(HEADER + row.format(label=sorted(photos.iterdir())[0].name) + "\n")
    before = tree(tmp_path)
    assert back(photos, aside) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert tree(tmp_path) == before


def test_what_two_files_hold_decides_whether_one_is_a_copy(photos, aside, capsys):
    assert moved(photos, aside) == 1
    label = sorted(photos.iterdir())[0]
    (label / "cut.jpg").write_bytes(b"another file, made meanwhile")
    before = tree(photos)
    assert back(photos, aside) == 2
    assert "File exists already" in capsys.readouterr().err
    assert tree(photos) | before == tree(photos)  # nothing was overwritten
    (label / "cut.jpg").unlink()
    assert back(photos, aside) == 0


def test_a_quarantine_that_is_interrupted_says_how_to_undo_it(photos, aside, monkeypatch, capsys):
    before = tree(photos)

    def interrupt(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "_move", interrupt)
        assert moved(photos, aside) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"interrupted; `resnet-tf audit {photos} --undo {aside}` puts back what was moved"
    assert back(photos, aside) == 0
    assert tree(photos) == before


def test_two_quarantines_do_not_share_a_list(photos, aside, monkeypatch, capsys):
    original = module.files_at_fault

    def other_begins(images):
        aside.mkdir()
        (aside / "quarantine.csv").write_text(f"{HEADER}a,a,x\n")
        return original(images)

    monkeypatch.setattr(module, "files_at_fault", other_begins)
    before = tree(photos)
    assert moved(photos, aside) == 2
    assert "holds files that were moved before" in capsys.readouterr().err
    assert tree(photos) == before
    assert (aside / "quarantine.csv").read_text() == f"{HEADER}a,a,x\n"
