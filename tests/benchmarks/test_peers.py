"""The table of our recipe and its peers: division, scoring, and a run that is continued. The peers are not run here."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import peers
from benchmarks.peer_table import training
from benchmarks.peer_table.cases import prepare_fold, tile_of
from benchmarks.peer_table.methods import METHODS, place_of
from benchmarks.peer_table.page import rows_of, table_of
from benchmarks.peer_table.results import RESULTS, add_results, read_results
from benchmarks.peer_table.scoring import averaged, differences, estimates, mean_differences, read_predictions
from pipelines.data.split import Fold
from resnet_tf.errors import UserError

# A training that answers with certainty for the true class, but for every fourth image.
WORKER = """
import sys
sys.path.insert(0, {workers!r})
from exchange import read_task, write_predictions

task = read_task()
if task.options.get("fails"):
    sys.exit("no memory left")
found = []
for number, row in enumerate(task.files("test")):
    right = (task.classes.index(row["label"]) + (number % 4 == 0)) % len(task.classes)
    found.append([0.9 if place == right else 0.1 / (len(task.classes) - 1) for place in range(len(task.classes))])
write_predictions(task, "plain", found, task.waited(), 0.5)
"""


def listing(labels: str, units: list[int] | None = None) -> pd.DataFrame:
    """Returns the rows of test images with labels of one letter."""
    numbers = list(range(len(labels)))
    return pd.DataFrame({"path": [f"{n}.png" for n in numbers], "label": list(labels), "unit": units or numbers})


def scored(tmp_path, labels: str, answers: str, units: list[int] | None = None) -> pd.DataFrame:
    """Returns the images with answers of one letter, each with a probability of 0.8."""
    table = listing(labels, units)[["path", "label"]]
    classes = sorted(set(labels))
    for name in classes:
        table[f"p:{name}"] = [0.8 if answer == name else 0.2 / (len(classes) - 1) for answer in answers]
    table.sample(frac=1, random_state=0).to_csv(tmp_path / "answers.csv", index=False)  # in any order
    return averaged([read_predictions(tmp_path / "answers.csv", listing(labels, units), classes)])


def test_figures_are_those_of_the_definitions(tmp_path):
    found = estimates(scored(tmp_path, "aaaaaabb", "aaaaabab"))
    assert found["accuracy"].value == 6 / 8
    assert found["balanced_accuracy"].value == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert found["log_loss"].value == pytest.approx(-(6 * np.log(0.8) + 2 * np.log(0.2)) / 8)
    assert found["accuracy"].low < 6 / 8 < found["accuracy"].high


def test_an_interval_is_wider_where_images_belong_together(tmp_path):
    labels, answers = "ab" * 30, ("ab" * 10 + "ba" * 5) * 2
    alone = estimates(scored(tmp_path, labels, answers))["accuracy"]
    tied = estimates(scored(tmp_path, labels, answers, [number // 10 for number in range(60)]))["accuracy"]
    assert tied.high - tied.low > 1.5 * (alone.high - alone.low)


def test_without_a_mistake_the_interval_of_the_accuracy_still_has_a_width(tmp_path):
    found = estimates(scored(tmp_path, "ab" * 10, "ab" * 10))["accuracy"]
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.839, abs=1e-3)  # Wilson's for 20 of 20


def test_a_paired_difference_is_surer_than_two_intervals(tmp_path):
    labels = "ab" * 100
    worse = scored(tmp_path, labels, "aa" * 40 + "ab" * 60)
    better = scored(tmp_path, labels, "aa" * 30 + "ab" * 70)
    assert estimates(worse)["accuracy"].high > estimates(better)["accuracy"].low
    found = differences(better, worse)["accuracy"]
    assert found.value == pytest.approx(10 / 200)
    assert found.low > 0


def test_predictions_of_other_images_or_without_a_class_are_refused(tmp_path):
    scored(tmp_path, "aabb", "aabb")
    for labels, classes, words in (("aabbb", ["a", "b"], "not those"), ("aabb", ["a", "b", "c"], "no column 'p:c'")):
        with pytest.raises(ValueError, match=words):
            read_predictions(tmp_path / "answers.csv", listing(labels), classes)


def test_exposures_of_one_tile_are_in_one_group_across_classes():
    paths = ["free/exp1_num_1810.jpg", "crack/exp2_num_1836.jpg", "free/exp3_num_1855.jpg", "free/exp1_num_2610.jpg"]
    tiles = tile_of([*paths, "free/other.jpg"])
    assert len({tiles[path] for path in paths[:3]}) == 1
    assert tiles[paths[3]] not in (tiles[paths[0]], "")
    assert tiles["free/other.jpg"] == ""


@pytest.fixture
def case(images, tmp_path):
    """Returns a divided folder of drawn images."""
    return prepare_fold("steel6", images, tmp_path / "out" / "folds", Fold(0, 5))


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """Returns the setup of trainings by a script that knows the answers."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "our_network.py").write_text(WORKER.format(workers=str(training.WORKERS)))
    monkeypatch.setattr(training, "WORKERS", scripts)
    places = tmp_path / "out", tmp_path / "envs", tmp_path / "weights.safetensors"
    return training.Setup(*places, "resnet18", 224, 1.0, tmp_path / "train.py")


def test_folders_of_links_have_the_split_of_the_manifest(case):
    manifest = pd.read_csv(case.manifest)
    with open(case.listing, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"]: row["split"] for row in rows} == dict(zip(manifest["path"], manifest["split"], strict=True))
    links = list(case.images.glob("*/*/*"))
    assert sorted(row["file"] for row in rows) == sorted(map(str, links))
    assert all(link.resolve().is_file() for link in links)
    assert {row["split"] for row in rows} == {"train", "val", "test"}


def test_a_training_makes_a_row_that_is_not_trained_again(case, setup):
    (row,) = training.measure(setup, case, "logistic", METHODS["logistic"], 0)
    assert (row.reason, row.figures["n"], row.prediction_seconds) == ("", 6, 0.5)
    assert row.figures["accuracy"] == pytest.approx(4 / 6)
    assert row.training_seconds > 0
    results = read_results(setup.out)
    key = ("steel6", 0, 5, "logistic", 0)
    assert not peers.missing([key], results, retry_failed=True)
    assert peers.missing([(*key[:4], 1)], results, retry_failed=False)


def test_a_failed_training_is_a_row_with_its_reason(case, setup):
    failing = training.Method("our_network", "a method | that fails", None, {"fails": True})
    training.measure(setup, case, "failing", failing, 0)
    training.measure(setup, case, "recipe", METHODS["logistic"], 0)
    results = read_results(setup.out)
    assert "no memory left" in results["steel6", 0, 5, "failing", 0].reason
    assert not peers.missing([("steel6", 0, 5, "failing", 0)], results, retry_failed=False)
    assert peers.missing([("steel6", 0, 5, "failing", 0)], results, retry_failed=True)
    text = peers.write_table(setup.out, "recipe")
    assert "failed: fold 0: ended with 1: no memory left" in text
    assert "0.667 (" in text
    assert (setup.out / "steel6.png").stat().st_size > 10_000


def test_a_training_that_takes_too_long_is_ended(case, setup):
    (training.WORKERS / "our_network.py").write_text("import time\ntime.sleep(60)\n")
    hurried = training.Setup(**{**vars(setup), "limit_minutes": 0.01})
    (row,) = training.measure(hurried, case, "logistic", METHODS["logistic"], 0)
    assert row.reason == "took longer than 0.01 minutes"


def test_the_table_compares_only_the_folds_that_both_have(images, setup, tmp_path):
    for number, names in ((0, ("recipe", "logistic")), (1, ("recipe",))):
        fold = prepare_fold("steel6", images, setup.out / "folds", Fold(number, 5))
        for name in names:
            training.measure(setup, fold, name, METHODS["logistic"], 0)
    rows = rows_of(list(read_results(setup.out).values()), setup.out)["steel6"]
    assert (rows["recipe"].folds, rows["logistic"].folds) == ([0, 1], [0])
    assert table_of(rows, "recipe").splitlines()[-1].endswith("| +0.000 (+0.000 to +0.000) |")


def test_the_mean_of_all_data_sets_counts_each_the_same():
    def table(correct):
        losses = [0.0 if each else 1.0 for each in correct]
        names = [str(number) for number in range(len(correct))]
        return pd.DataFrame({"path": names, "label": "a", "unit": names, "correct": correct, "loss": losses})

    small = table([1.0, 1.0]), table([0.0, 0.0])  # better by 1 on two images
    large = table([1.0] * 50), table([1.0] * 50)  # the same on fifty
    found = mean_differences([small, large])
    assert (found["accuracy"].value, found["log_loss"].value) == (0.5, -0.5)
    assert (found["accuracy"].low, found["accuracy"].high) == (0.5, 0.5)


def test_a_wrong_word_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    absent = ["run", "--data", str(tmp_path), "--weights", str(tmp_path / "absent.safetensors"), "--only", "logistic"]
    for words, said in ((absent, "there are no weights at"), (["table", "--against", "nobody"], "received 'nobody'")):
        monkeypatch.setattr("sys.argv", ["peers.py", *words, "--out", str(out)])
        with pytest.raises(SystemExit) as ended:
            peers.main()
        assert (ended.value.code, out.exists()) == (2, False)
        assert said in capsys.readouterr().err


def test_a_line_that_was_cut_off_is_passed_over(case, setup):
    (row,) = training.measure(setup, case, "logistic", METHODS["logistic"], 0)
    with open(setup.out / RESULTS, "a") as file:
        file.write(json.dumps({"figures": {"n": 6}})[:-1])
    add_results(setup.out, [training.Result(**{**vars(row), "seed": 1})])
    assert [key[-1] for key in read_results(setup.out)] == [0, 1]


def test_rows_stand_in_the_order_of_the_methods():
    rows = ["logistic", "quick-mirror", "recipe-mirror", "sgd10", "quick", "recipe"]
    ordered = ["recipe", "recipe-mirror", "quick", "quick-mirror", "logistic", "sgd10"]
    assert sorted(rows, key=place_of) == ordered


def test_a_variant_is_our_recipe_with_more_words():
    methods = peers.chosen_methods(["recipe", "quick"], {"quick": "--minutes 3"})
    assert list(methods) == ["recipe", "quick"]
    assert methods["quick"].options["words"] == ["--minutes", "3"]
    for only, variants in ((["recipes"], {}), (None, {"sgd10": ""}), (None, {"a-mirror": ""}), (None, {"../x": ""})):
        with pytest.raises(UserError):
            peers.chosen_methods(only, variants)
