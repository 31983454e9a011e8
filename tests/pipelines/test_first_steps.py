"""What somebody does in the first minutes: one command on a folder, a look at the machine, trackers and the hub."""

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import resnet_tf
from pipelines.cli import main
from pipelines.console import quiet
from pipelines.data.split import with_test
from pipelines.go import weakest_class
from pipelines.report import trackers
from pipelines.report.trackers import check_tracker, following, track_evaluation
from pipelines.runs.directory import Run
from pipelines.runs.newest import name_of, new_run
from pipelines.training import starting_weights
from pipelines.training.starting_weights import choose_start
from resnet_tf.architectures import DEFAULT
from resnet_tf.errors import UserError
from resnet_tf.networks import build
from resnet_tf.weights import find_weights, load_weights

SMALL = ["--weights", "drawn", "--image-size", "32"]


@pytest.fixture(scope="module")
def desk(images, tmp_path_factory):
    """Returns a folder with an archive of photos without a test, on which the whole job was done, and what it said."""
    folder = tmp_path_factory.mktemp("desk")
    with zipfile.ZipFile(folder / "My Photos.zip", "w") as archive:
        for file in sorted(images.rglob("*.jpg")):
            split = "Train" if int(file.stem) < 8 else "Valid"
            archive.write(file, f"my photos/{split}/{file.parent.name.replace('_', ' ')}/{file.name}")
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.chdir(folder)
        assert main(["My Photos.zip", *SMALL]) == 0
    return folder, out.getvalue()


@pytest.fixture
def at_desk(desk, monkeypatch):
    monkeypatch.chdir(desk[0])
    return desk[0]


def test_an_archive_alone_becomes_a_run_with_its_report_and_its_export(desk):
    folder, out = desk
    run = Run(folder / "saved_models" / "My-Photos-1")
    assert run.saved_model.is_dir()
    assert (run.path / "audit.html").is_file()
    assert (run.evaluation("test") / "report.html").is_file()
    assert json.loads(run.config.read_text())["arguments"]["weights"] == "drawn"
    *_, report, sentence = out.splitlines()
    assert report.split()[1] == (run.evaluation("test") / "report.html").resolve().as_uri()
    assert re.fullmatch(
        r"\d\.\d\d \(\d\.\d\d–\d\.\d\d\) of new photos right; (weakest: .+|no class was missed)", sentence
    )


def test_it_says_beforehand_what_it_does_how_long_and_how_much_disk(desk):
    before, found, _ = desk[1].partition("head on frozen features")
    assert found
    assert "saved_models/My-Photos-1" in before
    assert "weights  drawn" in before
    assert re.search(r"about \d+ .*minutes? .*on this machine, and \d+ MB on the disk", before)
    assert "no folder is for the test" in before


def test_the_only_images_that_are_held_out_judge_and_do_not_choose(desk):
    manifest = pd.read_csv(desk[0] / "saved_models" / "My-Photos-1" / "manifest.csv")
    held_out = manifest["path"].str.startswith("Valid")
    assert set(manifest.loc[held_out, "split"]) == {"test"}
    assert set(manifest.loc[~held_out, "split"]) == {"train", "val"}


def test_a_manifest_with_a_test_is_not_divided_again():
    columns = {"label": ["a", "a", "a"], "similar": 0, "group": "", "split": ["train", "val", "test"]}
    manifest = pd.DataFrame(columns)
    assert with_test(manifest, 0.15, 0) is manifest


def test_a_verb_takes_the_newest_finished_run_and_says_so(at_desk, capsys):
    shutil.copytree(at_desk / "saved_models" / "My-Photos-1", at_desk / "saved_models" / "older", dirs_exist_ok=True)
    os.utime(at_desk / "saved_models" / "older" / "model.keras", (1, 1))
    picture = next((at_desk / "saved_models" / "My-Photos-1-photos").rglob("*.jpg"))
    assert main(["predict", str(picture), str(picture)]) == 0
    captured = capsys.readouterr()
    assert "predict takes the newest finished one, saved_models/My-Photos-1\n" in captured.err
    assert captured.out.count(str(picture)) == 2
    shutil.rmtree(at_desk / "saved_models" / "older")


def test_without_a_run_a_verb_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export"]) == 2
    assert f"there is no finished run in {str(tmp_path / 'saved_models')!r}" in capsys.readouterr().err


def test_json_is_all_that_is_on_standard_output(at_desk, capsysbinary):
    assert main(["evaluate", "--json", "--split", "val"]) == 0
    found = json.loads(capsysbinary.readouterr().out)
    assert found["run"] == "saved_models/My-Photos-1"
    assert found["split"] == "val"
    assert Path(found["report"]).is_file()


def test_quiet_prints_the_answer_alone(at_desk, capsys):
    picture = str(next((at_desk / "saved_models").rglob("*.jpg")))
    assert main(["predict", "--quiet", "saved_models/My-Photos-1", picture]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0].startswith(picture)
    assert len(captured.out.splitlines()) == 1
    assert captured.err == ""


def test_the_next_run_has_the_next_number_and_an_unfinished_one_is_continued(tmp_path, at_desk):
    assert name_of("/a/My photos (2).tar.gz") == "My-photos-2"
    assert name_of("photos/") == "photos"
    assert new_run("photos", lambda _: True, tmp_path).path == tmp_path / "photos-1"
    shutil.copytree(at_desk / "saved_models" / "My-Photos-1", tmp_path / "photos-1")
    (tmp_path / "photos-9-photos").mkdir()
    assert new_run("photos", lambda _: True, tmp_path).path == tmp_path / "photos-10"
    for checkpoint in (tmp_path / "photos-1" / "checkpoints").glob("[0-9]*.npz"):
        checkpoint.unlink()  # nothing says any more that it is finished
    assert new_run("photos", lambda _: True, tmp_path).path == tmp_path / "photos-1"
    assert new_run("photos", lambda _: False, tmp_path).path == tmp_path / "photos-10"


def test_the_weakest_class_is_the_one_with_the_lowest_recall_that_has_images():
    table = pd.DataFrame({"class": ["a", "b", "c"], "images": [3, 4, 0], "recall": [1.0, 0.75, np.nan]})
    assert weakest_class(table) == "b"
    assert weakest_class(table[:1]) == ""


def test_offline_the_weights_are_what_this_machine_has(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(starting_weights, "_answers", lambda address: False)
    assert (choose_start(None, None).arch, choose_start(None, None).weights) == ("resnet10_slim", "drawn")
    with pytest.raises(UserError, match="no weights of resnet34 can be had here"):
        choose_start("resnet34", None)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resnet18.a1_in1k.safetensors").touch()
    assert choose_start(None, None).arch == "resnet18"
    monkeypatch.setattr(starting_weights, "_answers", lambda address: True)
    assert (choose_start(None, None).arch, choose_start(None, None).weights) == ("resnet50", "imagenet")
    assert choose_start(None, "drawn").arch == "resnet10_slim"


def test_a_server_that_does_not_answer_counts_as_no_network(monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    assert not starting_weights._answers("http://127.0.0.1:9/x")


def test_the_weights_of_this_package_fill_their_network_and_no_other():
    file = find_weights("drawn", "resnet10_slim")
    assert file.path.stat().st_size < 1_000_000
    assert file.architecture == "resnet10_slim"
    model = build("resnet10_slim", classes=3, shortcut=DEFAULT)
    assert load_weights(model, file, verbose=False).convolutions == (12, 12)
    with pytest.raises(UserError, match="give --arch resnet10_slim"):
        find_weights("drawn", "resnet50")


def test_the_first_line_comes_before_tensorflow(monkeypatch, capsys):
    seen = []
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setattr(quiet, "import_tensorflow", lambda: seen.append(capsys.readouterr().err))
    with quiet.imports():
        assert seen == ["starting TensorFlow …\n"]


def test_the_doctor_says_what_the_machine_has(capsysbinary):
    assert main(["doctor", "--json", "--seconds", "0"]) == 0
    captured = capsysbinary.readouterr()
    found = json.loads(captured.out)
    assert found["packages"]["tensorflow"]
    assert bool(found["devices"]["gpus"]) != bool(found["devices"]["why_no_gpu"])
    assert found["devices"]["precision"] in ("float32", "bfloat16")
    assert "oneDNN" in captured.err.decode()


def test_help_of_a_verb_is_that_of_its_option(capsys):
    pages = []
    for words in (["help", "audit"], ["audit", "--help"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 0
        pages.append(capsys.readouterr().out)
    assert pages[0] == pages[1]
    assert pages[0].startswith("usage: resnet-tf audit")


# Trackers, which are told of the run that exists.


def test_tensorboard_has_the_matrix_and_the_photos(at_desk, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(["evaluate", "--track", "tensorboard"]) == 0
    found = EventAccumulator(str(at_desk / "saved_models" / "My-Photos-1" / "tensorboard" / "evaluation"))
    found.Reload()
    assert {"confusion matrix", "photos", "test accuracy", "test log_loss"} <= set(found.Tags()["tensors"])
    width, height, png = found.Tensors("confusion matrix")[0].tensor_proto.string_val[:3]
    assert Image.open(io.BytesIO(png)).size == (int(width), int(height))
    assert "tensorboard has the evaluation on test" in capsys.readouterr().out


def test_mlflow_has_the_figures_of_the_files(at_desk, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    run = Run(Path("saved_models/My-Photos-1"))
    follow = following("mlflow", run)
    follow()
    follow()
    track_evaluation("mlflow", run, run.evaluation("test"))
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'resnet-tf'")
    (kept,) = client.search_runs([experiment.experiment_id])
    metrics = json.loads((run.evaluation("test") / "metrics.json").read_text())
    assert kept.data.metrics["test accuracy"] == metrics["accuracy"]
    assert kept.data.params["weights"] == "drawn"
    history = pd.read_csv(run.history)
    told = client.get_metric_history(kept.info.run_id, "val_log_loss")
    assert len(told) == history["val_log_loss"].notna().sum()
    assert {file.path for file in client.list_artifacts(kept.info.run_id)} == {"evaluation", "photos"}


def test_wandb_is_told_offline(at_desk, monkeypatch, capsys):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = Run(Path("saved_models/My-Photos-1"))
    track_evaluation("wandb", run, run.evaluation("test"))
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "wandb has the evaluation on test" in captured.out
    assert list(at_desk.glob("saved_models/My-Photos-1/wandb/offline-run-*/*.wandb"))


def test_a_tracker_that_fails_is_a_warning_once_and_one_that_is_missing_an_error(at_desk, monkeypatch, capsys):
    def fail(run):
        raise ConnectionError("no server")

    monkeypatch.setitem(trackers._TRACKERS, "mlflow", fail)
    follow = following("mlflow", Run(Path("saved_models/My-Photos-1")))
    follow()
    follow()
    assert capsys.readouterr().err == "warning: mlflow is not told of saved_models/My-Photos-1: no server\n"
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="--track wandb needs the package wandb"):
        check_tracker("wandb")


# The hub, as far as huggingface_hub asks for it.


class Hub(BaseHTTPRequestHandler):
    """Takes a commit of small files, and gives them back."""

    files: ClassVar[dict[str, bytes]] = {}
    commit = "c" * 40
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def _send(self, content, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "X-Repo-Commit": self.commit, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        place = f"http://{self.headers['Host']}/me/flowers"
        if self.path == "/api/repos/create":
            answer = {"url": place, "id": "me/flowers"}
        elif "/preupload/" in self.path:
            answer = {
                "files": [
                    {**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]
                ]
            }
        elif "/commit/" not in self.path:
            answer = {"errors": [], "warnings": []}  # of the card
        else:
            rows = [json.loads(line) for line in body.decode().splitlines()]
            files = [row["value"] for row in rows if row["key"] == "file"]
            self.files.update({file["path"]: base64.b64decode(file["content"]) for file in files})
            answer = {"commitUrl": f"{place}/commit/{self.commit}", "commitOid": self.commit, "success": True}
        self._send(json.dumps(answer).encode())

    def do_GET(self):
        name = self.path.rpartition("/")[2]
        if "/resolve/" not in self.path:
            self._send(json.dumps({"id": "me/flowers", "sha": self.commit, "siblings": []}).encode())
        elif name in self.files:
            self._send(self.files[name], ETag=hashlib.sha1(self.files[name]).hexdigest())
        else:
            self._send(b"", 404, X_Error_Code="EntryNotFound")

    do_HEAD = do_GET


def test_what_is_pushed_comes_back_as_weights_with_its_card(at_desk, tmp_path, monkeypatch, capsys):
    pytest.importorskip("huggingface_hub")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    try:
        assert main(["push", "hf:me/flowers", "--licence", "cc-by-4.0"]) == 0
        assert f"{address}/me/flowers\n" in capsys.readouterr().out
        assert set(Hub.files) == {
            *("README.md", "config.json", "classes.json", "metrics.json", "model.keras", "model.safetensors"),
            "confusion_matrix.png",
        }
        card = Hub.files["README.md"].decode()
        assert "license: cc-by-4.0" in card
        assert "pipeline_tag: image-classification" in card
        assert "checked arrow" in card
        file = find_weights("hf:me/flowers", "resnet10_slim")
    finally:
        server.shutdown()
        server.server_close()
    assert (file.assumed, file.image_size, len(file.classes)) == (False, 32, 3)
    run = Run(at_desk / "saved_models" / "My-Photos-1")
    assert file.preprocessing == resnet_tf.load(run.path).preprocessing
    kernel = keras.saving.load_model(run.model).get_layer("conv2_block1_1_conv").kernel
    np.testing.assert_array_equal(file.tensors["conv2_block1_1_conv/kernel"], np.asarray(kernel))
    assert main(["push", "flowers"]) == 2
    assert "TARGET must be hf:OWNER/NAME, received 'flowers'" in capsys.readouterr().err
