"""The split: each class is divided, the seed decides, and no group is divided between two splits."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.config.finetune import FinetuneConfig
from pipelines.data.groups import Ties, name_groups, tied_units
from pipelines.data.manifest import load_manifest, look_at_images, make_manifest
from pipelines.data.reuse import reuse_manifest
from pipelines.data.split import Fold, assign_splits
from pipelines.finetune import finetune
from pipelines.runs.files import read_json, write_csv
from resnet_tf.errors import UserError
from tests.conftest import small_config

NAMES = ("train", "val", "test")


def random_data(seed, images=600, classes=6, units=150, spanning=False):
    """Returns labels, and units of one to many images that lie within a class or span several."""
    random = np.random.default_rng(seed)
    labels = pd.Series(random.choice([f"c{n}" for n in range(classes)], images), dtype=object)
    units = random.choice(units, images, p=random.dirichlet(np.full(units, 0.7)))
    if not spanning:
        units = units * classes + pd.factorize(labels)[0]
    return labels, units


def no_splits(labels):
    return pd.Series("", index=labels.index, dtype=object)


def test_a_split_without_ties_is_what_it_always_was():
    """The expected split dates from the time before images could be tied, so that runs of that time can be repeated."""
    labels = pd.Series(list("abbabaabbb" * 2), dtype=object)
    splits = assign_splits(labels, no_splits(labels), 0.2, 0.2, 7)
    assert "".join(name[1] for name in splits) == "errrrarrrrraerrearea"


@pytest.mark.parametrize("spanning", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_units_stay_together_and_the_shares_are_close_to_what_was_asked(seed, spanning):
    labels, units = random_data(seed, spanning=spanning)
    splits = assign_splits(labels, no_splits(labels), 0.15, 0.2, seed, units)
    assert splits.groupby(units).nunique().max() == 1
    counts = pd.crosstab(labels, splits)
    assert (counts > 0).all(axis=None)
    shares = splits.value_counts(normalize=True)
    assert shares["val"] == pytest.approx(0.15, abs=0.03)
    assert shares["test"] == pytest.approx(0.2, abs=0.03)
    again = assign_splits(labels, no_splits(labels), 0.15, 0.2, seed, units)
    assert again.equals(splits)


def test_every_split_gets_something_where_one_unit_is_most_of_a_class():
    labels = pd.Series(["a"] * 12 + ["b"] * 40, dtype=object)
    units = np.array([0] * 10 + [1, 2] + list(range(3, 43)))
    for seed in range(10):
        splits = assign_splits(labels, no_splits(labels), 0.3, 0.3, seed, units)
        assert set(splits[:10]) == {"train"}
        assert set(splits[10:12]) == {"val", "test"}


def test_a_class_that_cannot_be_in_every_split_is_named():
    labels = pd.Series(["a"] * 12 + ["b"] * 40, dtype=object)
    units = np.array([0] * 6 + [1] * 6 + list(range(2, 42)))
    with pytest.raises(UserError, match=r"class 'a' has no image for test: it has 12 images in 2 groups that stay"):
        assign_splits(labels, no_splits(labels), 0.15, 0.15, 0, units)


def test_all_classes_that_are_too_small_are_counted_at_once():
    labels = pd.Series(["a"] * 12 + ["b"] + ["c", "d"] * 2, dtype=object)
    said = r"class 'b' has 1 image to divide, too few for one in each of 3 splits; the same holds for 2 more classes"
    with pytest.raises(UserError, match=rf"{said} \('c', 'd'\); add images or remove the classes"):
        assign_splits(labels, no_splits(labels), 0.15, 0.15, 0)
    with pytest.raises(UserError, match=r"class 'b' has 1 image to divide, .* in each of 2 splits; add images"):
        assign_splits(labels, no_splits(labels), 0.15, 0.0, 0)


def test_splits_of_the_data_are_kept_though_they_divide_a_unit():
    labels = pd.Series(list("aabbaabb"), dtype=object)
    given = pd.Series(["train", "test", "train", "test", "val", "train", "val", ""], dtype=object)
    splits = assign_splits(labels, given, 0.2, 0.2, 0, np.zeros(8, int))
    assert splits.tolist() == [*given[:-1], "train"]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("folds", [2, 5])
def test_over_the_folds_every_image_is_tested_once(folds, tied):
    labels, units = random_data(3)
    units = units if tied else None
    tests = []
    for fold in range(folds):
        splits = assign_splits(labels, no_splits(labels), 0.1, 0.15, 0, units, Fold(fold, folds))
        tests.append((splits == "test").to_numpy())
        assert (pd.crosstab(labels, splits)[list(NAMES)] > 0).all(axis=None)
        assert (splits == "val").sum() == pytest.approx(0.1 * (splits != "test").sum(), rel=0.25)
        if tied:
            assert splits.groupby(units).nunique().max() == 1
    assert (np.sum(tests, axis=0) == 1).all()
    sizes = np.sum(tests, axis=1)
    assert sizes.max() - sizes.min() <= (0.1 * len(labels) / folds if tied else 1)


def test_what_folds_cannot_do_is_said():
    labels = pd.Series(["a"] * 4 + ["b"] * 9, dtype=object)
    with pytest.raises(UserError, match="class 'a' has 4 images, too few for 5 folds"):
        assign_splits(labels, no_splits(labels), 0.1, 0.0, 0, None, Fold(0, 5))
    given = pd.Series(["test"] * 13, dtype=object)
    with pytest.raises(UserError, match="name splits of their own, which --folds cannot divide"):
        assign_splits(labels, given, 0.1, 0.0, 0, None, Fold(0, 2))


def test_a_pattern_names_the_groups():
    images = pd.DataFrame({"path": ["a/s1_x.jpg", "a/s2_y.jpg", "b/s1_z.jpg", "b/other.jpg"], "group": ""})
    assert name_groups(images, r"/(s\d+)_").tolist() == ["s1", "s2", "s1", ""]
    assert name_groups(images, None).tolist() == [""] * 4
    with pytest.raises(UserError, match=r"'nothing \(x\)' matches none of the paths, such as 'a/s1_x.jpg'"):
        name_groups(images, "nothing (x)")
    with pytest.raises(UserError, match="the CSV has groups of its own"):
        name_groups(images.assign(group="x"), r"/(s\d+)_")


def test_similar_pictures_join_the_groups_of_names():
    units = tied_units(pd.Series([1, 0, 1, 0, 0, 2, 2]), pd.Series(["", "x", "x", "y", "y", "", ""], dtype=object))
    assert pd.factorize(units)[0].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert len(set(tied_units(pd.Series([0, 0]), pd.Series(["", ""], dtype=object)))) == 2


@pytest.fixture
def folder(images, tmp_path):
    """Returns a copy of the folder of three classes with ten images each, in which one picture occurs four times."""
    root = shutil.copytree(images, tmp_path / "images")
    label = sorted(root.iterdir())[0]
    with Image.open(label / "0000.jpg") as picture:
        for number, quality in enumerate((90, 60, 30)):
            picture.save(label / f"copy{number}.jpg", quality=quality)
    return root


def test_near_identical_pictures_stay_in_one_split(folder, capsys):
    for seed in range(6):
        manifest = make_manifest(folder, 0.2, 0.2, seed)
        copies = manifest[manifest["similar"] == 1]
        assert len(copies) == 4
        assert len(set(copies["split"])) == 1
    assert (
        "1 groups of near-identical pictures (4 images) stay together; --similar keep ignores them"
        in capsys.readouterr().out
    )


def test_keep_divides_near_identical_pictures(folder, capsys):
    splits = [
        set(manifest.loc[manifest["similar"] == 1, "split"])
        for manifest in (make_manifest(folder, 0.3, 0.3, seed, Ties(similar="keep")) for seed in range(4))
    ]
    assert any(len(each) > 1 for each in splits)
    shutil.copy(next(folder.rglob("0005.jpg")), next(folder.rglob("0005.jpg")).with_name("same.jpg"))
    make_manifest(folder, 0.2, 0.2, 0, Ties(similar="keep"))
    said = capsys.readouterr().out
    assert "1 groups of near-identical pictures (4 images) may be divided between the splits" in said
    assert "1 of them are byte for byte a file that is there already" in said


def test_drop_uses_one_of_each_group_and_a_second_run_takes_its_manifest(folder, tmp_path, capsys):
    manifest = make_manifest(folder, 0.2, 0.2, 0, Ties(similar="drop"))
    assert len(manifest) == 30
    assert (manifest["similar"] == 1).sum() == 1
    assert "(4 images): 3 images are left out (--similar drop)" in capsys.readouterr().out
    write_csv(tmp_path / "manifest.csv", manifest)
    again = reuse_manifest(folder, tmp_path / "manifest.csv", similar="drop")
    pd.testing.assert_frame_equal(again, manifest, check_dtype=False)


def test_drop_uses_none_of_a_picture_with_two_labels(folder, capsys):
    first, second, _ = sorted(folder.iterdir())
    shutil.copy(first / "copy0.jpg", second / "other.jpg")
    manifest = make_manifest(folder, 0.2, 0.2, 0, Ties(similar="drop"))
    assert len(manifest) == 29
    assert not (manifest["similar"] > 0).any()
    assert "5 of them in groups of several classes, of which none is used" in capsys.readouterr().out


def test_a_group_that_holds_most_of_a_class_is_said_with_what_to_do(folder, capsys):
    label = sorted(folder.iterdir())[0]
    for file in label.glob("000[1-9].jpg"):
        file.unlink()
    with pytest.raises(UserError, match="near-identical pictures are the reason: --similar keep ignores near-identity"):
        make_manifest(folder, 0.2, 0.2, 0)
    said = capsys.readouterr().err
    assert f"holds 4 of the 4 images of the class {label.name!r}; --similar keep ignores near-identity" in said
    assert len(make_manifest(folder, 0.2, 0.2, 0, Ties(similar="keep"))) == 24


def test_groups_by_pattern_and_by_column(folder, tmp_path):
    manifest = make_manifest(folder, 0.2, 0.2, 0, Ties(r"/(000[0-4])"))
    assert manifest[manifest["group"] != ""].groupby("group")["split"].nunique().max() == 1
    assert sorted(set(manifest["group"])) == ["", "0000", "0001", "0002", "0003", "0004"]
    table = manifest[["path", "label"]].assign(group=[f"shop {number % 12}" for number in range(len(manifest))])
    table.to_csv(folder / "labels.csv", index=False)
    manifest = make_manifest(folder / "labels.csv", 0.2, 0.2, 0)
    assert manifest.groupby("group")["split"].nunique().max() == 1
    assert manifest["group"].nunique() == 12


def test_what_was_looked_at_once_is_divided_without_another_look(folder):
    looked = look_at_images(folder)
    before = looked.images.copy()
    shutil.move(folder, folder.with_name("away"))
    manifest = make_manifest(looked, 0.2, 0.2, 0)
    pd.testing.assert_frame_equal(looked.images, before)
    shutil.move(folder.with_name("away"), folder)
    pd.testing.assert_frame_equal(manifest, make_manifest(folder, 0.2, 0.2, 0))


def test_given_splits_that_divide_one_picture_are_kept_with_a_warning(folder, capsys):
    manifest = make_manifest(folder, 0.2, 0.2, 0)
    files = manifest["path"]
    table = manifest[["path", "label"]].assign(split=["test" if "copy0" in file else "train" for file in files])
    table.to_csv(folder / "labels.csv", index=False)
    assert set(make_manifest(folder / "labels.csv", 0.0, 0.0, 0)["split"]) == {"test", "train"}
    assert "the splits that the data name divide 1 groups of these" in capsys.readouterr().err


def test_a_manifest_of_another_run_gives_the_same_images_and_splits(folder, tmp_path):
    manifest = make_manifest(folder, 0.2, 0.2, 3)
    write_csv(tmp_path / "manifest.csv", manifest)
    moved = folder.rename(tmp_path / "moved")
    pd.testing.assert_frame_equal(reuse_manifest(moved, tmp_path / "manifest.csv"), manifest, check_dtype=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: shutil.copy(file, file.with_name("new.jpg")),
        lambda file: shutil.copy(file.with_name("0001.jpg"), file),
        lambda file: file.rename(file.parent.parent / "striped" / file.name),
    ],
    ids=["missing", "new", "other content", "other label"],
)
def test_a_manifest_of_other_images_is_refused(change, folder, tmp_path):
    write_csv(tmp_path / "manifest.csv", make_manifest(folder, 0.2, 0.2, 3))
    (folder / "striped").mkdir()
    (folder / "striped" / "0009.jpg").write_bytes(next(folder.rglob("0009.jpg")).read_bytes())
    write_csv(tmp_path / "manifest.csv", make_manifest(folder, 0.0, 0.0, 3))
    change(next(folder.rglob("0005.jpg")))
    with pytest.raises(UserError, match=r"does not have the images of '.*manifest.csv': '.*' is in one of them only"):
        reuse_manifest(folder, tmp_path / "manifest.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not a CSV table"), ("path,label\na,b\n", "has no column 'split'"), (None, "there is no manifest")],
)
def test_what_is_no_manifest_is_refused(text, message, folder, tmp_path):
    if text is not None:
        (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        reuse_manifest(folder, tmp_path / "m.csv")


def test_a_manifest_from_before_there_were_groups_still_loads(folder, tmp_path):
    write_csv(tmp_path / "manifest.csv", make_manifest(folder, 0.2, 0.2, 3).drop(columns=["similar", "group"]))
    loaded = load_manifest(tmp_path / "manifest.csv")
    assert set(loaded["similar"]) == {0}
    assert set(loaded["group"]) == {""}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": "(a"}, "--group must be a regular expression, received '\\(a'"),
        ({"group": "a"}, "--group must have one group in brackets"),
        ({"folds": 5}, "--folds and --fold belong together"),
        ({"folds": 5, "fold": 5}, "--fold must be between 0 and 4, received 5"),
        ({"folds": 1, "fold": 0}, "--folds must be between 2"),
        ({"similar": "yes"}, "--similar must be one of keep, group, drop, received 'yes'"),
        ({"manifest": "m.csv", "similar": "keep"}, "--manifest has splits already; leave out --similar keep"),
        ({"manifest": "m.csv", "group": "(a)"}, "--manifest has splits already"),
    ],
)
def test_settings_that_contradict_each_other(settings, message, tmp_path):
    with pytest.raises(UserError, match=message):
        FinetuneConfig("data", "run", **settings)


def test_the_choice_of_splits_is_part_of_what_a_run_is():
    arguments = FinetuneConfig("data", "run", group="_(.)", folds=3, fold=1).as_arguments()
    assert (arguments["group"], arguments["folds"], arguments["fold"]) == ("_(.)", 3, 1)
    assert Path(FinetuneConfig("data", "run", manifest="m.csv").as_arguments()["manifest"]).is_absolute()


def test_a_fold_is_trained_on_and_a_second_run_takes_its_manifest(images, tiny, tmp_path):
    first = finetune(small_config(images, tmp_path / "first", arch=tiny, folds=5, fold=1))
    manifest = load_manifest(first.manifest)
    assert manifest["split"].value_counts().to_dict() == {"train": 21, "test": 6, "val": 3}
    with pytest.raises(UserError, match=r"exists with other settings \(fold 1, now 2\)"):
        finetune(small_config(images, tmp_path / "first", arch=tiny, folds=5, fold=2))
    second = finetune(small_config(images, tmp_path / "second", arch=tiny, seed=1, manifest=str(first.manifest)))
    pd.testing.assert_frame_equal(load_manifest(second.manifest), manifest)
    prints = {read_json(run.config)["data"]["fingerprint"] for run in (first, second)}
    assert len(prints) == 1
