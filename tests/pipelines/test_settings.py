"""One description per setting: checks, --help, docs/options.md and docstrings are made from it."""

import dataclasses
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.judging import PredictConfig
from pipelines.config.options_page import render_options
from pipelines.config.setting import GROUPS, described
from pipelines.config.verbs import VERBS, SampleConfig
from resnet_tf import __version__
from resnet_tf.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [config for _, config in VERBS.values()]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.__name__)
def test_every_field_of_a_verb_is_described_in_a_group(config):
    found = list(described(config))
    assert [each.name for each in found] == [field.name for field in dataclasses.fields(config)]
    assert all(each.setting.help and each.setting.group in GROUPS for each in found)


def test_the_options_page_is_what_the_code_says():
    assert (ROOT / "docs" / "options.md").read_text(encoding="utf-8") == render_options(), "run `make docs`"


def test_a_python_caller_reads_the_same_descriptions():
    assert FinetuneConfig.__doc__ is not None
    for each in described(FinetuneConfig):
        assert f"    {each.name}: {each.setting.help[0].upper()}{each.setting.help[1:]}." in FinetuneConfig.__doc__


WRONG = [
    ({"batch_size": "8"}, "--batch-size must be a whole number, received '8'"),
    ({"batch_size": 8.0}, "--batch-size must be a whole number, received 8.0"),
    ({"seed": True}, "--seed must be a whole number, received True"),
    ({"deterministic": 1}, "--deterministic must be True or False, received 1"),
    ({"val_fraction": "much"}, "--val-fraction must be a number, received 'much'"),
    ({"val_fraction": float("nan")}, "--val-fraction must be between 0.0 and 0.9, received nan"),
    ({"learning_rate": float("inf")}, "--learning-rate must be a positive number, received inf"),
    ({"learning_rate": 0}, "--learning-rate must be a positive number, received 0"),
    ({"epochs": "many"}, "--epochs must be a whole number or auto, received 'many'"),
    ({"epochs": 2.5}, "--epochs must be a whole number or auto, received 2.5"),
    ({"group": "("}, "--group must be a regular expression"),
    ({"cache": "tape"}, "--cache must be one of none, ram, disk, received 'tape'"),
    ({"fold": 5, "folds": 5}, "--fold must be between 0 and 4, received 5"),
    ({"precision": None}, "--precision must be one of auto, float32, bfloat16, float16, received None"),
    ({"data": 3}, "DATA must be text, received 3"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG, ids=[str(settings) for settings, _ in WRONG])
def test_a_wrong_value_from_python_is_named_as_on_the_command_line(settings, message):
    with pytest.raises(UserError) as error:
        FinetuneConfig(**{"data": "photos", "run": "run", "weights": "none", **settings})
    assert str(error.value).startswith(message)


def test_numbers_of_numpy_are_numbers():
    import numpy as np

    config = FinetuneConfig("photos", "run", batch_size=int(np.int64(8)), val_fraction=np.float64(0.2))
    assert config.val_fraction == 0.2


def test_the_version_is_printed_and_is_no_error(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"resnet-tf {__version__}\n"


def test_a_file_on_standard_output_has_nothing_else_beside_it(images, finished, capsysbinary):
    assert main(["audit", str(images), "--json", "-"]) == 0
    captured = capsysbinary.readouterr()
    assert json.loads(captured.out)["summary"]["files"] == 30
    assert b"30 files in 3 classes" in captured.err
    picture = next(images.rglob("*.jpg"))
    assert main(["predict", str(finished.path), str(picture), "--out", "-"]) == 0
    captured = capsysbinary.readouterr()
    assert pd.read_csv(io.BytesIO(captured.out))["path"].tolist() == [str(picture)]
    assert main(["show-batch", str(images), "--out", "-", "--images", "2", "--image-size", "32"]) == 0
    assert Image.open(io.BytesIO(capsysbinary.readouterr().out)).format == "PNG"
    assert not Path("-").exists()


def test_two_files_cannot_both_be_standard_output(images, capsys):
    assert main(["audit", str(images), "--json", "-", "--csv", "-"]) == 2
    assert capsys.readouterr().err == "error: only one output can be standard output, received --json and --csv\n"


def test_defaults_hold_without_a_command_line():
    assert PredictConfig("run", ("a.jpg",)).top == 5
    assert SampleConfig("folder").classes == 30
