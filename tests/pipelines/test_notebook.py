"""The whole job from Python, as it stands in docs/python.md."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.notebook import audit, evaluate, finetune, plan, predict
from resnet_tf.errors import UserError
from tests.conftest import cut_off_before_epoch

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def desk(images, small_weights, tmp_path_factory):
    """Returns a folder with the files that the page names."""
    folder = tmp_path_factory.mktemp("desk")
    shutil.copytree(images, folder / "photos")
    first = min(path for path in (folder / "photos").iterdir())
    first.rename(folder / "photos" / "ant")
    (folder / "photos" / "ant" / "0000.jpg").rename(folder / "photos" / "ant" / "1.jpg")
    shutil.copy(small_weights, folder / "resnet18.safetensors")
    return folder


@pytest.fixture(scope="module")
def after_the_job(desk, small):
    """Runs the page's first block; returns its variables."""
    variables: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(desk)
        assert 'arch="resnet18"' in BLOCKS[0]
        smaller = f'arch="{small}", image_size=32, view="crop"'
        exec(BLOCKS[0].replace('arch="resnet18"', smaller), variables)
    return variables


def test_the_page_says_the_whole_job_in_about_fifteen_lines(after_the_job, desk):
    assert len(BLOCKS[0].splitlines()) <= 16
    run, result = after_the_job["run"], after_the_job["result"]
    assert run.saved_model.is_dir() is False or (desk / run.saved_model).is_dir()
    assert (desk / "saved_models" / "insects" / "export" / "saved_model" / "1").is_dir()
    assert after_the_job["job"].recipe.epochs == 5
    assert result.metrics["n"] == len(result.predictions) == result.confusion_matrix.to_numpy().sum()
    assert list(result.per_class["class"]) == result.metrics["classes"]


def test_a_notebook_shows_the_report_the_audit_and_the_plan(after_the_job, desk, monkeypatch):
    monkeypatch.chdir(desk)
    assert "&lt;h1&gt;insects, test&lt;/h1&gt;" in after_the_job["result"]._repr_html_()
    assert "Audit of photos" in after_the_job["report"]._repr_html_()
    shown = after_the_job["job"]._repr_html_()
    assert "<td>epochs</td><td>5</td><td>user</td><td>as passed</td>" in shown
    assert "<th>decided by</th>" in shown


def test_the_classifier_alone_is_loaded_as_the_page_says(after_the_job, desk, monkeypatch):
    monkeypatch.chdir(desk)
    variables: dict = {}
    exec(BLOCKS[1], variables)
    assert variables["classifier"].classes == after_the_job["result"].metrics["classes"]
    assert variables["logits"].shape == (1, 3)


def test_pictures_in_memory_get_the_answers_of_their_files(after_the_job, desk, monkeypatch):
    monkeypatch.chdir(desk)
    file = desk / "photos" / "ant" / "1.jpg"
    with Image.open(file) as picture:
        picture.load()
    array = np.asarray(picture)
    found = predict("saved_models/insects", [file, picture, array, "photos/ant"])
    assert found["path"].tolist()[:4] == [str(file), "[1]", "[2]", "photos/ant/0001.jpg"]
    columns = [f"p:{name}" for name in after_the_job["result"].metrics["classes"]]
    rows = found[columns].to_numpy()
    np.testing.assert_allclose(rows[1], rows[2], rtol=1e-6)
    np.testing.assert_allclose(rows[0], rows[1], atol=2e-3)  # a JPEG file's crop may be decoded at another scale
    assert len(predict("saved_models/insects", array)) == 1
    gray = np.asarray(picture.convert("L"))
    assert np.isfinite(predict("saved_models/insects", gray)[columns].to_numpy()).all()


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "there are no images to predict"),
        (["none.jpg"], "no file is named or matched by 'none.jpg'"),
        (["resnet18.safetensors"], "'resnet18.safetensors' is no readable image"),
        ([np.zeros((8, 8, 3))], r"received ndarray float64 \[8, 8, 3\]"),
        ([np.zeros((8, 8, 4), "uint8")], r"received ndarray uint8 \[8, 8, 4\]"),
        ([np.zeros((0, 8, 3), "uint8")], r"received ndarray uint8 \[0, 8, 3\]"),
        ([3], "received int int64"),
    ],
)
def test_what_is_no_picture_is_named(after_the_job, desk, monkeypatch, pictures, message):
    monkeypatch.chdir(desk)
    with pytest.raises(UserError, match=message):
        predict("saved_models/insects", pictures)


def test_many_calls_warn_of_no_retracing_and_load_the_model_once(after_the_job, desk, monkeypatch, caplog):
    from pipelines.evaluation import pictures as module

    monkeypatch.chdir(desk)
    module._inference_of.cache_clear()
    for size in range(8, 16):
        predict("saved_models/insects", np.zeros((size, size, 3), "uint8"))
    assert "retracing" not in caplog.text
    assert module._inference_of.cache_info().misses == 1


def test_a_plan_can_be_changed_and_is_never_changed_in_place(images, tiny, tmp_path):
    first = plan(images, tmp_path / "run", arch=tiny, weights="none", image_size=32, batch_size=8, epochs=2)
    second = first.changed(epochs=1, learning_rate=0.5)
    assert (first.recipe.epochs, second.recipe.epochs) == (2, 1)
    assert second.recipe.total_steps == first.recipe.total_steps / 2
    assert "1 epoch of sgd: as passed" in str(second)
    with pytest.raises(UserError, match="a recipe has no rate; it has name, head_first"):
        first.changed(rate=1.0)
    with pytest.raises(AttributeError):
        first.decisions = ()
    run = finetune(second)
    assert len(pd.read_csv(run.history)) == 1
    assert evaluate(run.path, "val").metrics["split"] == "val"


def test_an_unfinished_run_takes_no_plan_with_another_recipe(images, tiny, tmp_path):
    settings = {"arch": tiny, "weights": "none", "image_size": 32, "batch_size": 8, "epochs": 2}
    job = plan(images, tmp_path / "run", **settings)
    with cut_off_before_epoch(0):
        finetune(job)
    with pytest.raises(UserError, match="exists with another recipe than the plan's"):
        finetune(job.changed(learning_rate=0.5))
    assert len(pd.read_csv(finetune(job).history)) == 2


def test_the_audit_from_python_writes_what_it_is_told(images, tmp_path):
    report = audit(images, json=str(tmp_path / "audit.json"))
    assert report.damages is False
    assert len(report.images) == 30
    assert (tmp_path / "audit.json").is_file()
