"""An output never destroys what stands in its place, and never stays half written."""

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path

import keras
import pytest

import resnet_tf
from pipelines.runs.files import check_place, write_atomically, write_text
from pipelines.runs.places import is_standard_output
from pipelines.runs.temporaries import remove_leftovers, temporary_file, temporary_folder
from resnet_tf.errors import UserError
from resnet_tf.weights import Preprocessing, find_weights, write_weights
from tests.networks import TINY

LOOK = Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))


def content(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_keeps_its_mode(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("before")
    file.chmod(0o640)
    write_text(file, "after")
    assert file.read_text() == "after"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert content(tmp_path) == ["table.csv"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_keeps_its_owner(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("before")
    os.chown(file, 1234, 2345)
    write_text(file, "after")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "new.csv", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new.csv").stat().st_mode) == 0o640


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing"])
def test_a_link_keeps_pointing(tmp_path, there):
    (tmp_path / "far").mkdir()
    target, link, first = tmp_path / "far" / "target.csv", tmp_path / "link.csv", tmp_path / "first.csv"
    if there:
        target.write_text("before")
    link.symlink_to("far/target.csv")
    first.symlink_to(link)
    check_place(first)
    write_text(first, "after")
    assert target.read_text() == "after"
    assert link.is_symlink()
    assert first.is_symlink()
    assert content(tmp_path / "far") == ["target.csv"]


def test_a_link_to_itself_is_one_line(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    for write in (check_place, lambda path: write_text(path, "text")):
        with pytest.raises(UserError, match="Too many levels of symbolic links"):
            write(tmp_path / "loop")


def test_a_device_is_written_through():
    before = os.stat("/dev/null")
    check_place(Path("/dev/null"))
    write_text(Path("/dev/null"), "text")
    assert os.stat("/dev/null").st_rdev == before.st_rdev
    assert os.stat("/dev/null").st_mode == before.st_mode
    with pytest.raises(UserError, match="cannot write '/dev/full': No space left on device"):
        write_text(Path("/dev/full"), "text")


def test_a_pipe_is_written_through(tmp_path):
    pipe, received = tmp_path / "pipe.csv", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()))
    reader.start()
    check_place(pipe)
    write_text(pipe, "text")
    reader.join(10)
    assert received == ["text"]
    assert content(tmp_path) == ["pipe.csv"]


def test_a_socket_stays_and_is_one_line(tmp_path):
    place = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        with pytest.raises(UserError, match="cannot write"):
            write_text(place, "text")
        assert place.is_socket()


def test_names_of_standard_output():
    assert all(is_standard_output(name) for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"))
    assert not any(is_standard_output(name) for name in ("", "1", "/dev/stderr", "/dev/null", "/dev/fd/11"))


@pytest.mark.parametrize("number", [1, 2])
def test_a_descriptor_of_the_shell_is_written_to_and_not_replaced(tmp_path, number):
    script = "import sys\nfrom pathlib import Path\nfrom pipelines.runs.files import write_text\n"
    script += f"write_text(Path('/dev/fd/{number}'), 'data\\n')"
    with (tmp_path / "file").open("w") as file:
        file.write("before\n")
        file.flush()
        streams = {"stdout": file, "stderr": file}
        subprocess.run([sys.executable, "-c", script], check=True, **streams)
        subprocess.run(["echo", "after"], check=True, **streams)
    assert (tmp_path / "file").read_text() == "before\ndata\nafter\n"


def test_a_folder_as_a_file_is_one_line(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "link"):
        for write in (check_place, lambda path: write_text(path, "text")):
            with pytest.raises(UserError, match="is a folder; name a file"):
                write(tmp_path / name)
    assert content(tmp_path) == ["folder", "link"]


def test_a_file_in_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("mine")
    for write in (check_place, lambda path: write_text(path, "text")):
        with pytest.raises(UserError, match="cannot write"):
            write(tmp_path / "file" / "x.csv")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(("kind", "status"), [("nothing", 0), ("file", 3), ("folder", 3)])
def test_what_is_read_only_is_one_line(kind, status):
    """The writer runs as a user that the kernel refuses, which root is not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        file = Path(name) / "table.csv"
        file.write_text("before")
        file.chmod(0o444 if kind == "file" else 0o666)
        file.parent.chmod(0o555 if kind == "folder" else 0o777)
        process = os.fork()
        if process == 0:
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            try:
                write_text(file, "after")
            except UserError as error:
                os._exit(3 if "\n" not in str(error) else 4)
            except BaseException:
                os._exit(5)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == status
        assert file.read_text() == ("before" if status else "after")
        file.parent.chmod(0o700)


def test_a_long_ending_is_no_obstacle(tmp_path):
    name = "a." + "b" * 250
    write_text(tmp_path / name, "text")
    assert content(tmp_path) == [name]


def test_an_error_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.csv").write_text("before")

    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.csv", fail)
    assert content(tmp_path) == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "before"


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    hold = "import sys, time\nfrom pathlib import Path\nfrom pipelines.runs.temporaries import temporary_file\n"
    hold += "with temporary_file(Path(sys.argv[1])) as path: print(path.name, flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(tmp_path / "x.csv")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        name = other.stdout.readline().strip()
        assert name.endswith(".csv")
        check_place(tmp_path / "y.csv")
        assert content(tmp_path) == [name]  # its writer lives
        other.kill()
    check_place(tmp_path / "y.csv")
    assert content(tmp_path) == []


def test_only_what_we_have_named_is_removed_from_a_users_folder(tmp_path):
    for name in (".writing-notes.txt", ".writing-", "writing-abcdefgh", ".writing-ABCDEFGH"):
        (tmp_path / name).write_text("mine")
    (tmp_path / ".writing-abcdefgh.csv").write_text("half")
    (tmp_path / ".writing-hgfedcba").mkdir()
    (tmp_path / ".writing-hgfedcba" / "half").write_text("half")
    remove_leftovers(tmp_path)
    assert content(tmp_path) == sorted([".writing-notes.txt", ".writing-", "writing-abcdefgh", ".writing-ABCDEFGH"])


def test_a_temporary_that_is_taken_for_a_leftover_before_its_lock_is_made_again(tmp_path, monkeypatch):
    from pipelines.runs import temporaries

    original, made = temporaries._make_file, []

    def make(folder, suffix):
        made.append(original(folder, suffix))
        if len(made) == 1:
            made[0][1].unlink()
        return made[-1]

    monkeypatch.setattr(temporaries, "_make_file", make)
    with temporary_file(tmp_path / "x.csv") as path:
        assert path.exists()
    assert len(made) == 2
    with temporary_folder(tmp_path) as folder:
        remove_leftovers(tmp_path)  # not even by the same process
        assert folder.is_dir()
    assert content(tmp_path) == []


@pytest.mark.parametrize("ending", [".keras", ".weights.h5", ".npz", ".safetensors"])
def test_a_full_disk_under_weights_is_one_line(tmp_path, tiny, ending):
    """The HDF5 library would end the process with SIGSEGV. A limit on the size of files stands in for a full disk."""
    model = resnet_tf.build(tiny, classes=3, input_shape=(32, 32, 3))
    process = os.fork()
    if process == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            write_atomically(tmp_path / f"w{ending}", lambda path: write_weights(model, path, LOOK))
        except UserError as error:
            os._exit(3 if os.strerror(errno.EFBIG) in str(error) else 4)
        except BaseException:
            os._exit(5)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 3
    assert content(tmp_path) == []


@pytest.mark.parametrize("ending", [".keras", ".weights.h5"])
def test_a_clock_in_1970_writes_files_that_can_be_read(tmp_path, tiny, monkeypatch, ending):
    first = time.gmtime(1000)
    monkeypatch.setattr(time, "localtime", lambda *_: first)
    model = resnet_tf.build(tiny, classes=3, input_shape=(32, 32, 3))
    file = tmp_path / f"w{ending}"
    write_atomically(file, lambda path: write_weights(model, path, LOOK))
    monkeypatch.undo()
    assert len(find_weights(str(file), TINY.name).tensors) == len(model.variables)
    if ending == ".keras":
        assert zipfile.ZipFile(file).testzip() is None
        assert len(keras.saving.load_model(file).variables) == len(model.variables)
