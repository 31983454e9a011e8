"""Commands that are interrupted or killed leave nothing half done, and two of them do not write one place."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.runs.directory import Run
from pipelines.runs.temporaries import WRITING
from resnet_tf.errors import UserError
from tests.conftest import small_config
from tests.pipelines.processes import start

PATIENCE = 120.0  # seconds that a process may take to write a file or to end


@pytest.fixture(scope="module")
def trained(images, small, tmp_path_factory):
    """Returns a finished run, which tests must not change."""
    return finetune(small_config(images, tmp_path_factory.mktemp("trained") / "run", arch=small))


@pytest.fixture
def run(trained, tmp_path):
    return Run(shutil.copytree(trained.path, tmp_path / "run"))


def wait_for(process, found):
    limit = time.monotonic() + PATIENCE
    while process.is_alive() and not found():
        assert time.monotonic() < limit
        time.sleep(0.002)
    assert process.is_alive()


def leftovers(folder):
    return [path for path in folder.rglob(f"{WRITING}*") if path.exists()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_modules_are_imported_ends_the_process_at_once(number):
    chance = random.Random(int(number))
    for seconds in (0.15, chance.uniform(0.2, 1.0), chance.uniform(1.0, 3.0)):
        command = [sys.executable, "-m", "pipelines", "info", "resnet18"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(seconds)
            process.send_signal(number)
            out, error = process.communicate(timeout=PATIENCE)
        ended = {signal.SIGINT: (130, "interrupted\n"), signal.SIGTERM: (143, "terminated\n")}[number]
        said = error.removeprefix("starting TensorFlow …\n")
        assert (process.returncode, said) == ended, f"after {seconds:.2f} s"
        assert out == ""


def test_a_signal_within_an_import_that_catches_everything_is_not_forgotten(tmp_path):
    (tmp_path / "catching.py").write_text(
        "import os, signal, time\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(0.05)\n"
        "except BaseException:\n    pass\n"
    )
    script = "import time\nfrom pipelines.console.signals import Interrupts\nwith Interrupts():\n"
    script += "    import catching\n    time.sleep(20)\n"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    started = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "KeyboardInterrupt: interrupted" in result.stderr
    assert time.monotonic() - started < 15


def test_an_export_is_locked_cleaned_at_sigterm_and_swept_after_sigkill(run, tmp_path):
    place = run.saved_model.parent

    def begun():
        return place.exists() and leftovers(place)

    process = start(["export", str(run.path)], tmp_path / "output")
    wait_for(process, begun)
    with pytest.raises(UserError, match=f"is being written by process {process.pid}; wait for its end"):
        export(run)
    assert begun()
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 143, (tmp_path / "output").read_text()
    assert (tmp_path / "output").read_text().splitlines()[-1] == "terminated"
    assert list(place.iterdir()) in ([], [run.saved_model])  # nothing, or all of it where the signal came last

    process = start(["export", str(run.path)], tmp_path / "output")
    wait_for(process, begun)
    process.kill()
    process.join()
    assert begun()
    export(run)
    assert list(place.iterdir()) == [run.saved_model]


def test_an_export_that_cannot_replace_the_old_one_leaves_it(run, monkeypatch):
    from pipelines.export import _replace

    old, new = run.saved_model, run.path / "export" / "work" / "1"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "name").write_text(folder.parent.name)
    rename = Path.rename

    def fail(self, target):
        if self == new:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
        _replace(new, old)
    assert (old / "name").read_text() == "saved_model"


def test_several_exports_of_one_command_replace_those_of_an_earlier_one(tmp_path):
    from pipelines.export import _replace

    places = ("model.onnx", "openvino", "openvino-int8")
    for content in ("earlier", "new"):
        written = tmp_path / "written"
        written.mkdir(exist_ok=True)
        for name in places:
            file = written / name if name.endswith(".onnx") else written / name / "model.xml"
            file.parent.mkdir(exist_ok=True)
            file.write_text(content)
            _replace(written / name, tmp_path / name)
    assert (tmp_path / "model.onnx").read_text() == "new"
    assert [(tmp_path / name / "model.xml").read_text() for name in places[1:]] == ["new", "new"]


def test_two_evaluations_of_one_split_are_locked_and_leftovers_go(run, tmp_path):
    hold = "import sys\nfrom pathlib import Path\nfrom pipelines.runs.lock import locked_part\n"
    hold += "from pipelines.runs.directory import Run\nrun = Run(Path(sys.argv[1]))\n"
    hold += "with locked_part(run, run.evaluation('test')): print('mine', flush=True); sys.stdin.read()"
    folder = run.evaluation("test")
    command = [sys.executable, "-c", hold, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"mine\n"
        with pytest.raises(UserError, match=f"is being written by process {other.pid}; wait for its end"):
            evaluate(run, "test")
        assert not folder.exists()  # it was refused before anything was computed
        folder.mkdir(parents=True)
        (folder / f"{WRITING}abcdefgh.csv").write_text("half")
        other.kill()
    evaluate(run, "val")  # another split is another folder
    evaluate(run, "test")
    assert leftovers(run.path) == []
    assert (folder / "metrics.json").exists()


@pytest.mark.parametrize("verb", ["convert", "import"])
def test_what_is_half_written_goes_at_sigterm_and_after_sigkill(trained, small, images, tmp_path, verb):
    target = tmp_path / "place" / "target.npz"
    words = {"convert": [str(target)], "import": ["--run", str(target.parent), "--data", str(images)]}[verb]
    words = [verb, str(trained.model), *words, "--arch", small]
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = start(words, tmp_path / "output", RESNET_TF_SLOW_WRITING="30")
        wait_for(process, lambda: leftovers(tmp_path))
        os.kill(process.pid, number)
        process.join()
        assert process.exitcode == {signal.SIGTERM: 143, signal.SIGKILL: -9}[number], (tmp_path / "output").read_text()
        assert bool(leftovers(tmp_path)) == (number == signal.SIGKILL)
        if number == signal.SIGTERM:  # all of it is there where a destructor has swallowed the signal's exception
            shutil.rmtree(target.parent, ignore_errors=True)
    process = start(words, tmp_path / "output")
    process.join()
    assert process.exitcode == 0, (tmp_path / "output").read_text()
    assert leftovers(tmp_path) == []
