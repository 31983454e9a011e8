"""The command line answers at once, and bad input leads to one line and exit code 2."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pipelines.audit import audit_report
from pipelines.cli import main
from pipelines.data.manifest import look_at_images
from pipelines.data.outlines import OTHER_OUTLINES, SAMPLE_OUTLINES
from pipelines.data.patterns import OTHER_PATTERNS, SAMPLE_PATTERNS
from pipelines.data.sample import CLASSES, draw_image
from pipelines.runs.directory import finished_run
from resnet_tf.errors import UserError


def command(*words):
    return subprocess.run([sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [[], ["--help"], ["finetune", "--help"]])
def test_help_needs_no_tensorflow(words):
    script = (
        "import sys\nfrom pipelines.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        "    assert not {'tensorflow', 'keras', 'pandas'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert "resnet-tf" in result.stdout


WRONG = [
    (["finetune"], "required: DATA"),
    (["finetun", "{data}"], "no folder or archive, 'finetun' (did you mean finetune?)"),
    (["help", "evalute"], "'evalute' (did you mean evaluate?)"),
    (
        ["finetune", "{data}", "--run", "{new}", "--learnin-rate", "1"],
        "--learnin-rate 1 (did you mean --learning-rate?)",
    ),
    (["finetune", "{data}", "--run", "{new}", "--find-learning-rate", "x.png"], "not allowed with argument --run"),
    (["finetune", "{data}", "--find-learning-rate", "{new}.jpg"], "must end in .png, received"),
    (["finetune", "{data}", "--find-learning-rate", "{run}/config.json/x.png", "--weights", "none"], "cannot write '"),
    (["finetune", "{data}/none", "--find-learning-rate", "{new}/x.png", "--weights", "none"], "there is no folder"),
    (["finetune", "{data}", "--run", "{new}", "--epochs", "-1"], "between 0 and 100000, received -1"),
    (["finetune", "{data}", "--run", "{new}", "--arch", "resnet19"], "unknown architecture 'resnet19'"),
    (["finetune", "{data}", "--run", "{new}", "--weights", "none", "--epochs", "0"], "--epochs 0 fits a head alone"),
    (["finetune", "{data}", "--run", "{new}", "--epochs", "many"], "must be a whole number or auto, received 'many'"),
    (["finetune", "{data}", "--run", "{new}", "--learning-rate", "nan"], "received nan"),
    (["finetune", "{data}", "--run", "{new}", "--val-fraction", "0.6", "--test-fraction", "0.6"], "leave nothing"),
    (["finetune", "{data}", "--run", "{new}", "--precision", "int8"], "received 'int8'"),
    (["finetune", "{data}", "--run", "{new}", "--shortcut", "Z"], "received 'Z'"),
    (["finetune", "{data}", "--run", "{new}", "--image-size", "8"], "between 32 and 2048, received 8"),
    (["finetune", "{data}/none", "--run", "{new}", "--weights", "none"], "there is no folder or CSV"),
    (["finetune", "{data}/none", "--run", "{new}"], "there is no folder or CSV"),  # before any download
    (["finetune", "{data}", "--run", "{new}", "--weights", "none.h5"], "there is no weights file 'none.h5'"),
    (["finetune", "{data}", "--run", "{new}", "--config", "none.json"], "cannot read 'none.json'"),
    (["finetune", "{data}", "--run", "{new}", "--augment", "heavy"], "received 'heavy'"),
    (["finetune", "{data}", "--run", "{new}", "--mix", "all"], "received 'all'"),
    (["finetune", "{data}", "--run", "{new}", "--recipe", "old"], "must be one of he, modern, received 'old'"),
    (["finetune", "{data}", "--run", "{new}", "--recipe", "he"], "--recipe he is for random weights"),
    (["finetune", "{data}", "--run", "{new}", "--balance", "yes"], "received 'yes'"),
    (["show-batch", "{data}"], "required: --out"),
    (["show-batch", "{data}", "--out", "batch.jpg"], "must end in .png, received 'batch.jpg'"),
    (["show-batch", "{data}/none", "--out", "batch.png"], "there is no folder or CSV"),
    (["evaluate", "{new}"], "there is no run directory"),
    (["evaluate", "{run}", "--split", "dev"], "received 'dev'"),
    (["evaluate", "{run}", "--strategy", "two"], "--strategy must be one of auto, one, mirrored, multiworker"),
    (["predict", "{run}", "x.jpg", "--strategy", "two"], "--strategy must be one of auto, one, mirrored, multiworker"),
    (["evaluate", "{data}"], "has no config.json"),
    (["predict", "{run}", "none.jpg"], "named or matched by 'none.jpg'"),
    (["predict", "{run}", "{data}", "--top", "0"], "received 0"),
    (["export", "{run}", "--format", "pickle"], "must be one of saved_model, onnx, openvino, litert, web, keras"),
    (["export", "{run}", "--format", "onnx", "--precision", "int4"], "--precision must be one of float32, float16"),
    (["export", "{run}", "--format", "litert", "--precision", "bfloat16"], "litert does not exist in bfloat16; it has"),
    (["export", "{run}", "--precision", "int8"], "--precision needs --format"),
    (["audit", "{data}/none"], "there is no folder or CSV"),
    (["sample", "{data}"], "exists and is not empty"),
    (["sample", "{new}", "--classes", "99"], "between 2 and 30, received 99"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words[:1] + words[-2:]) for words, _ in WRONG])
def test_a_wrong_argument_is_one_line_and_exit_code_2(words, message, images, finished, tmp_path, capsys):
    new = tmp_path / "new"
    filled = [word.format(data=images, run=finished.path, new=new) for word in words]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not new.exists()


def test_the_installed_module_answers_with_exit_code_2_and_no_traceback():
    result = command("finetune", "nowhere", "--run", "x", "--arch", "resnet0")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: unknown architecture 'resnet0'")
    assert "Traceback" not in result.stderr


def test_debug_shows_where_an_error_came_from(images, tmp_path, capsys):
    assert main(["finetune", str(images / "none"), "--run", str(tmp_path / "x"), "--weights", "none", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_is_one_word_and_exit_code_130(monkeypatch, images, tmp_path, capsys):
    def interrupt(*settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.finetune.finetune", interrupt)
    assert main(["finetune", str(images), "--run", str(tmp_path / "x"), "--weights", "none"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_audit_of_good_images_finds_nothing(images, tmp_path, capsys):
    assert main(["audit", str(images), "--json", str(tmp_path / "audit.json")]) == 0
    report = json.loads((tmp_path / "audit.json").read_text())
    assert report["summary"]["files"] == len(report["images"]) == 30
    assert all(image["readable"] and image["problems"] == [] for image in report["images"])
    assert "0 unreadable" in capsys.readouterr().out


def test_audit_finds_what_would_damage_training(images, tmp_path, capsys):
    folder = shutil.copytree(images, tmp_path / "images")
    first, second, third = sorted(folder.iterdir())
    shutil.copy(first / "0000.jpg", second / "same.jpg")
    (third / "cut.jpg").write_bytes((third / "0000.jpg").read_bytes()[:300])
    assert main(["audit", str(folder)]) == 1
    out = capsys.readouterr().out
    assert f"unreadable: {third.name}/cut.jpg" in out
    assert f"several labels or splits: {first.name}/0000.jpg, {second.name}/same.jpg" in out


def test_audit_agrees_with_the_shared_odd_manifest(shared, tmp_path):
    import pandas as pd

    shutil.copytree(shared / "odd", tmp_path / "data" / "odd")
    (tmp_path / "data" / "odd" / "manifest.csv").unlink()
    report = audit_report(look_at_images(tmp_path / "data"))
    expected = pd.read_csv(shared / "odd" / "manifest.csv").set_index("file")["should_be_readable"] == "yes"
    assert {image["path"].removeprefix("odd/"): image["readable"] for image in report["images"]} == expected.to_dict()


def test_the_sample_is_the_same_for_the_same_seed_only():
    first, again, other = (np.asarray(draw_image("striped_star", 96, np.random.default_rng(s))) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.shape == (96, 96, 3)
    assert len(set(CLASSES)) == 30


def test_colour_alone_does_not_tell_the_classes_of_the_sample_apart():
    """Logistic regression on the mean and spread of the colours stays near chance, 1/30."""
    from sklearn.linear_model import LogisticRegression

    pictures = [
        np.asarray(draw_image(name, 48, np.random.default_rng([number, copy])), float).reshape(-1, 3)
        for number, name in enumerate(CLASSES)
        for copy in range(16)
    ]
    features = np.array([np.concatenate([p.mean(axis=0), p.std(axis=0)]) for p in pictures]) / 255
    labels = np.arange(len(pictures)) // 16
    test = np.arange(len(pictures)) % 4 == 0
    accuracy = LogisticRegression(max_iter=2000).fit(features[~test], labels[~test]).score(features[test], labels[test])
    assert accuracy < 0.25


def test_the_drawn_weights_have_seen_no_outline_and_no_pattern_of_the_sample():
    assert not set(SAMPLE_OUTLINES) & set(OTHER_OUTLINES)
    assert not set(SAMPLE_PATTERNS) & set(OTHER_PATTERNS)
    assert not any(ours == theirs for ours in SAMPLE_OUTLINES.values() for theirs in OTHER_OUTLINES.values())


def test_sample_writes_class_folders(tmp_path):
    assert main(["sample", str(tmp_path / "s"), "--classes", "2", "--per-class", "3", "--size", "40"]) == 0
    files = sorted(path.relative_to(tmp_path / "s").as_posix() for path in (tmp_path / "s").rglob("*.jpg"))
    assert len(files) == 6
    with Image.open(tmp_path / "s" / files[0]) as picture:
        assert picture.size == (40, 40)


def test_a_command_in_a_message_quotes_a_path_with_blanks():
    with pytest.raises(UserError, match="`resnet-tf finetune DATA --run 'my photos/a'` makes one"):
        finished_run("my photos/a")
