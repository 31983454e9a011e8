"""evaluate judges the predictions of any program, and compare tells whether two of them differ."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn import metrics as sk
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels

from pipelines.compare import compare
from pipelines.config.judging import CompareConfig, EvaluateConfig
from pipelines.evaluate import judge
from pipelines.evaluation.comparison import mcnemar, photos_needed
from resnet_tf.errors import UserError
from tests.pipelines.test_figures import answers_of

CLASSES = ["ant", "bee", "crab", "<b>", "e,f"]


def table_of(images: int = 120, sharpness: float = 1.0, seed: int = 0, noise: float = 0.0) -> pd.DataFrame:
    """Returns predictions in the form that this project writes."""
    labels, logits = answers_of(images, sharpness=sharpness, seed=seed)
    logits = logits + noise * np.random.default_rng(7).normal(0, 1, logits.shape)
    found = softmax(logits, axis=1)
    table = pd.DataFrame({"path": [f"{n}.jpg" for n in range(images)], "label": np.array(CLASSES)[labels]})
    table["predicted"] = np.array(CLASSES)[found.argmax(axis=1)]
    return table.assign(confidence=found.max(axis=1), **{f"p:{c}": found[:, k] for k, c in enumerate(CLASSES)})


def judged(table: pd.DataFrame, folder: Path, name: str = "others") -> tuple[dict, Path]:
    """Returns metrics.json of predictions, and the folder of the evaluation."""
    table.to_csv(folder / f"{name}.csv", index=False)
    out = folder / f"{name}-judged"
    judge(EvaluateConfig(predictions=str(folder / f"{name}.csv"), out=str(out)))
    return json.loads((out / "metrics.json").read_text()), out


def test_any_form_of_a_table_gets_the_same_figures(tmp_path):
    table = table_of()
    metrics, out = judged(table, tmp_path)
    labels = pd.Index(CLASSES).get_indexer(pd.Index(table["label"]))
    found = table[[f"p:{name}" for name in CLASSES]].to_numpy()
    assert metrics["accuracy"] == pytest.approx((table["label"] == table["predicted"]).mean())
    assert metrics["log_loss"] == pytest.approx(sk.log_loss(labels, found))
    assert metrics["baseline"]["accuracy"] == pytest.approx(table["label"].value_counts().max() / 120)
    assert {file.name for file in out.iterdir()} >= {"report.html", "confusion_matrix.csv", "per_class.csv"}
    assert not (out / "slices.csv").exists()  # there are no photos
    plain = table.drop(columns=["predicted", "confidence"]).rename(columns=lambda name: name.removeprefix("p:"))
    plain = plain.rename(columns={"path": "FileName", "label": "Target"}).sample(frac=1, random_state=0)
    again, _ = judged(plain, tmp_path, "plain")
    for name in ("accuracy", "log_loss", "macro_f1", "ece"):
        assert again[name] == pytest.approx(metrics[name])


def test_predicted_classes_alone_are_judged_and_that_is_said(tmp_path, capsys):
    table = table_of()
    metrics, _ = judged(table[["path", "label", "predicted"]], tmp_path)
    assert metrics["accuracy"] == pytest.approx((table["label"] == table["predicted"]).mean())
    assert "has no probabilities: log loss, calibration and refusing say nothing" in capsys.readouterr().out


def test_classes_that_the_model_does_not_know_are_counted_apart(tmp_path, capsys):
    table = table_of()
    before, _ = judged(table, tmp_path)
    strange = table.head(9).assign(path=[f"new{n}.jpg" for n in range(9)], label=["Ants"] * 6 + ["whale"] * 3)
    metrics, out = judged(pd.concat([strange, table]), tmp_path, "strange")
    assert metrics["unknown"] == {"Ants": 6, "whale": 3}
    assert metrics["n"] == 120
    assert metrics["accuracy"] == before["accuracy"]
    assert len(pd.read_csv(out / "unknown.csv")) == 9
    said = capsys.readouterr().out
    assert "does not know 2 of the classes: 'Ants' (6 images, perhaps 'ant'); 'whale' (3 images)" in said


def test_names_are_text_on_the_page(tmp_path):
    _, out = judged(table_of(), tmp_path)
    page = (out / "report.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


WRONG = [
    (lambda t: t.drop(columns="path"), "has no column 'path'"),
    (lambda t: t.assign(path="same.jpg"), "names 'same.jpg' more than once"),
    (lambda t: t.assign(**{"p:ant": t["p:ant"] + 7}), "Logits have to go through a softmax first"),
    (lambda t: t.assign(**{"p:ant": "much"}), "are no numbers"),
    (lambda t: t.assign(**{"p:ant": np.nan}), "are no numbers"),
    (lambda t: t.assign(**{"p:ant": np.inf}), "sum to inf"),
    (lambda t: t[["path", "label"]], "neither a column of probabilities for each class"),
    (lambda t: t[["path", "label", "p:ant"]], "of one class only"),
    (lambda t: t.drop(columns="label"), "has no column 'label'"),
    (lambda t: t.assign(label="whale"), "no image is left to judge it by"),
    (lambda t: t.head(0), "has a header only"),
]


@pytest.mark.parametrize(("change", "said"), WRONG)
def test_a_table_that_cannot_be_judged_is_refused_in_one_line(tmp_path, change, said):
    with pytest.raises(UserError, match=said) as error:
        judged(change(table_of(20)), tmp_path)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("*/metrics.json"))


def test_other_files_and_options_that_do_not_belong_together_are_refused(tmp_path):
    photo = tmp_path / "a.csv"
    photo.write_bytes(b"\xff\xd8\xff\xe0" + b"\0" * 600)
    with pytest.raises(UserError, match="is a JPEG picture, and no CSV"):
        judge(EvaluateConfig(predictions=str(photo), out=str(tmp_path / "out")))
    with pytest.raises(UserError, match="there is no file"):
        judge(EvaluateConfig(predictions=str(tmp_path / "none.csv"), out=str(tmp_path / "out")))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="has files that are of no evaluation"):
        judge(EvaluateConfig(predictions=str(photo), out=str(tmp_path / "full")))
    for settings, said in (
        ({}, "needs a RUN"),
        ({"predictions": "a.csv"}, "needs --out DIR"),
        ({"run": "r", "crops": 10, "scales": (224,)}, "two ways to look"),
        ({"run": "r", "predictions": "a.csv", "mirror": True}, "for the run's own model"),
        ({"run": "r", "predictions": "a.csv", "labels": True}, "the run's own model"),
        ({"run": "r", "predictions": "a.csv", "model": "m"}, "two different things"),
        ({"model": "m", "out": "o"}, "needs --data DATA"),
        ({"run": "r", "crops": 3}, "--crops"),
    ):
        with pytest.raises(UserError, match=said):
            EvaluateConfig(**settings)


def written(table: pd.DataFrame, folder: Path, name: str) -> Path:
    """Returns a folder that has what compare reads of an evaluation."""
    out = folder / name
    out.mkdir()
    table.to_csv(out / "predictions.csv", index=False)
    classes = [column.removeprefix("p:") for column in table if column.startswith("p:")]
    (out / "metrics.json").write_text(json.dumps({"classes": classes}))
    return out


def compared(folder: Path, *sides: Path, **settings) -> dict:
    compare(CompareConfig(tuple(map(str, sides)), out=str(folder / "comparison"), **settings))
    return json.loads((folder / "comparison" / "comparison.json").read_text())


def test_a_difference_is_seen_and_where_it_is(tmp_path, capsys):
    sharp, blurred = (table_of(400, noise=noise) for noise in (0.0, 3.0))
    found = compared(tmp_path, written(blurred, tmp_path, "blurred"), written(sharp, tmp_path, "sharp"))
    assert found["n"] == 400
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["a"] == pytest.approx((blurred["label"] == blurred["predicted"]).mean())
    assert accuracy["b"] == pytest.approx((sharp["label"] == sharp["predicted"]).mean())
    assert accuracy["ci95"][0] > 0.0
    assert (found["only_b_right"] - found["only_a_right"]) / 400 == pytest.approx(accuracy["difference"])
    assert found["differ"]
    assert found["sentence"].startswith("sharp is better than blurred: ")
    assert found["sentence"] in capsys.readouterr().out
    changed = pd.read_csv(tmp_path / "comparison" / "changed.csv")
    assert (changed["change"] == "now right").sum() == found["only_b_right"]
    assert (changed["change"] == "now wrong").sum() == found["only_a_right"]
    matrix = pd.read_csv(tmp_path / "comparison" / "differences.csv", index_col=0)
    assert (matrix.sum(axis=1) == 0).all()
    assert np.trace(matrix) == found["only_b_right"] - found["only_a_right"]
    assert "&lt;b&gt;" in (tmp_path / "comparison" / "report.html").read_text()


def test_no_difference_is_said_with_the_number_of_photos_that_would_show_it(tmp_path):
    found = compared(tmp_path, *(written(table_of(100, noise=noise), tmp_path, f"n{noise:g}") for noise in (0.0, 0.3)))
    assert not found["differ"]
    assert "No difference is seen" in found["sentence"]
    assert "it would take about" in found["sentence"]
    assert found["photos_needed"] > 100
    assert "probabilities of" not in found["sentence"]


def test_better_probabilities_are_said_where_the_classes_are_the_same(tmp_path):
    surer = table_of(300, sharpness=4.0)
    found = compared(tmp_path, written(surer, tmp_path, "surer"), written(table_of(300), tmp_path, "calm"))
    assert found["only_a_right"] == found["only_b_right"] == 0
    assert "To see a difference of 1 point" in found["sentence"]
    assert "The probabilities of calm are better: log loss" in found["sentence"]


def test_mcnemar_is_that_of_statsmodels():
    for only_a, only_b in ((0, 0), (3, 9), (10, 10), (40, 61)):
        expected = mcnemar_of_statsmodels([[5, only_a], [only_b, 5]], exact=True).pvalue if only_a + only_b else 1.0
        assert mcnemar(only_a, only_b) == pytest.approx(min(expected, 1.0))


def test_the_number_of_photos_that_is_named_shows_the_difference_four_times_out_of_five():
    random, images = np.random.default_rng(0), photos_needed(0.2, 0.05)
    shares = [0.125, 0.075, 0.8]
    seen = [mcnemar(a, b) < 0.05 for a, b, _ in random.multinomial(images, shares, size=400)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.07)  # the exact test is a little cautious


def test_the_interval_is_of_pairs_and_narrower_than_that_of_two_samples(tmp_path):
    tables = [table_of(300, noise=noise) for noise in (0.0, 0.5)]
    found = compared(tmp_path, *(written(table, tmp_path, f"n{n}") for n, table in enumerate(tables)))
    losses = [-np.log([row[f"p:{row['label']}"] for _, row in table.iterrows()]) for table in tables]
    apart = 2 * 1.96 * np.hypot(*(loss.std() / np.sqrt(300) for loss in losses))
    assert np.ptp(found["metrics"]["log_loss"]["ci95"]) < 0.5 * apart


def test_seeds_add_their_spread_and_may_hide_a_difference(tmp_path):
    def side(name, noises):
        return [written(table_of(300, noise=noise), tmp_path, f"{name}{noise:g}") for noise in noises]

    steady = compared(tmp_path, *side("a", (2.0, 2.1)), against=tuple(map(str, side("b", (0.0, 0.1)))))
    assert steady["seeds_a"] == steady["seeds_b"] == 2
    assert steady["differ"]
    assert steady["metrics"]["accuracy"]["spread_a"] >= 0.0
    shutil.rmtree(tmp_path / "comparison")
    restless = compared(tmp_path, *side("c", (0.2, 4.0)), against=tuple(map(str, side("d", (0.0, 3.0)))))
    low, high = restless["metrics"]["accuracy"]["seeds_ci95"]
    assert low < 0 < high
    assert not restless["differ"]
    assert "over 2 and 2 seeds" in restless["sentence"]


def test_several_comparisons_are_corrected_for_their_number(tmp_path):
    folders = [written(table_of(200, noise=noise), tmp_path, f"n{noise:g}") for noise in (0.0, 0.8, 1.6)]
    results = compare(CompareConfig(tuple(map(str, folders)), out=str(tmp_path / "all")))
    assert [result.folder.name for result in results] == ["n0.8", "n1.6"]
    smaller, larger = sorted(result.comparison.mcnemar_p for result in results)
    corrected = sorted(result.comparison.adjusted_p for result in results)
    assert corrected == pytest.approx([min(1.0, 2 * smaller), max(min(1.0, 2 * smaller), larger)])


def test_only_the_same_photos_are_compared(tmp_path):
    table = table_of(100)
    first = written(table, tmp_path, "first")
    second = written(table.tail(70).sample(frac=1, random_state=0), tmp_path, "second")
    found = compared(tmp_path, first, second)
    assert found["n"] == 70
    assert found["metrics"]["log_loss"]["difference"] == pytest.approx(0.0, abs=1e-12)
    assert found["note"].startswith("only the 70 photos that all have, of up to 100; photos are told by their paths")
    third = written(table.assign(path=[f"x{n}.jpg" for n in range(100)]), tmp_path, "third")
    with pytest.raises(UserError, match="have no photo in common, by their paths"):
        compared(tmp_path, first, third)
    other = table.assign(label=["bee" if table["label"][0] == "ant" else "ant", *table["label"][1:]])
    with pytest.raises(UserError, match=r"labels 1 photos otherwise than first, such as '0\.jpg'"):
        compared(tmp_path, first, written(other, tmp_path, "other"))
    fewer = table[table["label"] != "ant"].drop(columns="p:ant")
    with pytest.raises(UserError, match="different classes, such as 'ant'"):
        compared(tmp_path, first, written(fewer, tmp_path, "fewer"))
    with pytest.raises(UserError, match="one and the same"):
        compared(tmp_path, first, first)
    with pytest.raises(UserError, match="needs two runs at least"):
        compared(tmp_path, first)
    with pytest.raises(UserError, match="there is no run directory"):
        compared(tmp_path, first, tmp_path / "nowhere")
    (second / "predictions.csv").write_text("path\na\n")
    with pytest.raises(UserError, match="is no whole evaluation"):
        compared(tmp_path, first, second)
