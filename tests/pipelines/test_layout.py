"""Which folder is a class and which is a split, from the command line and from Python."""

import json

import pytest

from pipelines.cli import main
from pipelines.data.find import find_images
from pipelines.data.layout import split_of
from pipelines.data.manifest import class_names, make_manifest
from tests.pipelines.photos import SIX, audited, build, draw, nested, refused

NFC, NFD = "caf\u00e9", "cafe\u0301"


# Which folders are splits


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "holdout"),
        ("train_set", "val-set", "hold_out"),
        ("Train Images", "eval", "Test Images"),
        ("train2017", "val2017", "test2017"),
    ],
)
def test_split_names_in_any_case_and_their_synonyms_are_splits(names, tmp_path, capsys):
    root = build(tmp_path / "photos", **nested(*names))
    manifest = make_manifest(root, 0.15, 0.15, 0)
    assert class_names(manifest) == ["ant", "bee"]
    assert manifest["split"].value_counts().to_dict() == {"train": 12, "val": 12, "test": 12}
    capsys.readouterr()
    code, out, _ = audited(capsys, root)
    assert code == 0
    assert "2 classes: ant, bee\n" in out


@pytest.mark.parametrize("name", ["trainer", "testament", "valley", "ant", "evaluator", "training wheels", ""])
def test_other_names_are_no_splits(name):
    assert split_of(name) is None


def test_a_csv_takes_the_same_names_of_splits(tmp_path):
    root = build(tmp_path, ant=3, bee=3)
    rows = [f"{label}/{number}.jpg,{label}" for label in ("ant", "bee") for number in range(3)]
    splits = ["Training", "VALID", "holdout"] * 2
    lines = [f"{row},{split}\n" for row, split in zip(rows, splits, strict=True)]
    (root / "labels.csv").write_text("path,label,split\n" + "".join(lines))
    assert make_manifest(root / "labels.csv", 0.2, 0.2, 0)["split"].tolist() == ["train", "val", "test"] * 2


def test_a_folder_without_photos_beside_the_splits_is_said(tmp_path, capsys):
    root = build(tmp_path / "photos", **nested("train", "val"))
    (root / "annotations").mkdir()
    (root / "annotations" / "a.xml").write_text("<a/>")
    code, out, _ = audited(capsys, root)
    assert code == 0
    assert "left out: 1 file, 'annotations/a.xml' of the folder 'annotations', beside the splits" in out
    assert "2 classes: ant, bee" in out


def test_photos_beside_splits_with_the_same_classes_are_left_out_and_said(tmp_path, capsys):
    root = build(tmp_path / "photos", **nested("train", "val"), unsorted=3)
    manifest = make_manifest(root, 0.15, 0.15, 0)
    assert class_names(manifest) == ["ant", "bee"]
    assert len(manifest) == 24
    assert "left out: 3 photos, such as 'unsorted/0.jpg' of the folder 'unsorted'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (
            nested("train", "val", "Probe"),
            ["'Probe' is beside 'train', 'val'", "same classes ('ant', 'bee')"],
        ),
        (nested("train") | {"other": 4}, ["'train' is named like a split", "'other' is beside it"]),
        (SIX | nested("test"), ["'test' is named like a split", "'ant' is beside it"]),
        ({"train/ant": 4, "val/bee": 4, "other": 4}, ["'train' is named like a split", "'other' is beside it"]),
        (
            {"train": 6},
            ["no images in", "'train' is named like a split and has 6 files", "it must have one"],
        ),
        ({"train": 6, "test": 6}, ["no images in", "'test' is named like a split and has 6 files", "no class folders"]),
        (nested("photos"), ["a single folder, 'photos'", "('ant', 'bee') are further down", "photos' as DATA"]),
        (nested("photos") | {"photos": 2}, ["a single folder, 'photos'", "photos' as DATA"]),
        (nested("train/day", "train/night", "val/day"), ["'day', 'night' hold the same sub-folders", "move them up"]),
        (nested("a/b/c"), ["a single folder, 'a'", "/a/b/c' as DATA"]),
        (nested("photos/train", "photos/val"), ["a single folder, 'photos'", "('train', 'val') are further down"]),
        (nested("train/all", "val/all"), ["train' has a single folder, 'all'", "move them up"]),
        (nested("ant", "bee", classes=("train", "val")), ["hold splits ('train', 'val')", "train/CLASS"]),
        (SIX | nested("old"), ["'old' holds folders ('ant', 'bee') that are named like the classes beside it"]),
        (
            nested("amazon", "webcam", classes=("bike", "mug", "pen")),
            ["the same sub-folders ('bike', 'mug', 'pen')"],
        ),
        (nested("A", "B"), ["'A', 'B' hold the same sub-folders ('ant', 'bee')", "name the upper folders train"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_folders_that_can_be_understood_in_several_ways_are_refused_with_what_was_seen(
    folders, words, tmp_path, capsys
):
    message = refused(capsys, build(tmp_path / "data", **folders))
    assert [word for word in words if word not in message] == []


def test_classes_named_train_or_test_inside_splits_are_classes(tmp_path):
    root = build(tmp_path / "photos", **nested("train", "val", classes=("train", "car", "test")))
    assert class_names(make_manifest(root, 0.15, 0.15, 0)) == ["car", "test", "train"]


def test_a_flat_folder_train_beside_flat_classes_is_a_class_and_said(tmp_path, capsys):
    root = build(tmp_path / "photos", train=6, car=6, plane=6)
    assert class_names(make_manifest(root, 0.2, 0.2, 0)) == ["car", "plane", "train"]
    assert "the folder 'train' is taken as a class" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [{f"train/{name}": 6 for name in SIX}, SIX])
def test_a_flat_test_folder_is_left_out_with_a_count(classes, tmp_path, capsys):
    root = build(tmp_path / "photos", **classes, Test=4)
    assert class_names(make_manifest(root, 0.2, 0.2, 0)) == ["ant", "bee"]
    assert "left out: 4 photos, such as 'Test/0.jpg' of the folder 'Test'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "loose", "place"),
    [(SIX, "", ""), (nested("train", "val"), "", ""), (nested("train", "val"), "train", " in 'train'")],
)
def test_loose_photos_are_left_out_with_a_count(folders, loose, place, tmp_path, capsys):
    root = build(tmp_path / "photos", **folders)
    for number in range(3):
        draw(root / loose / f"loose{number}.JPG", number)
    (root / loose / "README.txt").write_text("a text")
    code, out, _ = audited(capsys, root)
    assert code == 0
    first = f"{loose}/loose0.JPG".lstrip("/")
    assert f"left out: 3 photos, such as '{first}' beside the class folders{place}\n" in out


# Classes of folders


@pytest.mark.parametrize(
    ("folders", "label", "words"),
    [
        (
            SIX | nested("birds", classes=("robin", "wren")),
            "birds",
            "no images itself, but folders ('robin', 'wren')",
        ),
        (nested("ant", "bee", "cat", classes=("front", "back")), "ant", "no images itself, but folders ("),
        (SIX | {"bee/ant": 3}, "bee", "holds a folder 'ant', which is the name of a class"),
        (SIX | {"bee/test": 3}, "bee", "holds a folder 'test', which is the name of a split"),
    ],
    ids=["some hold folders", "all hold the same folders", "a class within a class", "a split within a class"],
)
def test_mixed_levels_are_warned_of_before_training_and_found_by_audit(folders, label, words, tmp_path, capsys):
    root = build(tmp_path / "photos", **folders)
    code, out, _ = audited(capsys, root, "--json", tmp_path / "audit.json")
    assert code == 1
    assert f"class '{label}': holds " in out
    assert words in out
    report = json.loads((tmp_path / "audit.json").read_text())
    assert ("mixed_levels", label) in [(found["code"], found["label"]) for found in report["classes"]]
    make_manifest(root, 0.2, 0.2, 0)
    error = capsys.readouterr().err
    assert f"warning: class '{label}': " in error
    assert words in error


def test_a_split_with_many_loose_photos_is_a_split_still(tmp_path, capsys):
    root = build(tmp_path / "photos", **nested("train", "val"), train=20)
    assert make_manifest(root, 0.2, 0.2, 0)["split"].value_counts().to_dict() == {"train": 12, "val": 12}
    assert "left out: 20 photos, such as 'train/0.jpg' beside the class folders in 'train'" in capsys.readouterr().out
    assert len(find_images(build(tmp_path / "alone", **nested("train"), train=20)).images) == 12


def test_one_folder_of_the_same_name_in_every_class_is_no_doubt(tmp_path, capsys):
    assert audited(capsys, build(tmp_path / "photos", **{"ant/images": 5, "bee/images": 5}))[0] == 0


def test_classes_that_all_hold_folders_of_their_own_are_said(tmp_path, capsys):
    root = build(tmp_path / "photos", **{"ant/2023": 5, "ant/2024": 5, "bee/garden": 5, "bee/wood": 5})
    code, out, _ = audited(capsys, root)
    assert code == 0
    assert (
        "the class folders hold sub-folders, such as 'ant/2023'; all images in a class folder are of that class" in out
    )


def test_class_names_are_printed_before_training_and_by_audit(tmp_path, capsys):
    names = [f"class{number:02}" for number in range(12)]
    root = build(tmp_path / "photos", **dict.fromkeys(names, 5))
    first = f"12 classes: {', '.join(names[:10])}, and 2 more\n"
    assert first in audited(capsys, root)[1]
    make_manifest(root, 0.2, 0.2, 0)
    assert first in capsys.readouterr().out


def test_a_training_prints_the_names_of_its_classes_first(tiny, tmp_path, capsys):
    root = build(tmp_path / "photos", ant=6, **{"b\x1b[2Jee": 6})
    words = ["--run", str(tmp_path / "run"), "--weights", "none", "--arch", tiny, "--image-size", "32", "--epochs", "1"]
    assert main(["finetune", str(root), *words, "--batch-size", "4"]) == 0
    out = capsys.readouterr().out
    assert "2 classes: ant, 'b\\x1b[2Jee'\n" in out
    assert out.index("2 classes: ant") < out.index("epoch 1")


def test_one_name_in_two_forms_of_unicode_is_one_class_and_said(tmp_path, capsys):
    root = build(tmp_path / "photos", ant=6, **{NFC: 4, NFD: 4})
    manifest = make_manifest(root, 0.2, 0.2, 0)
    assert class_names(manifest) == ["ant", NFC]
    assert (manifest["label"] == NFC).sum() == 8
    assert all((root / path).is_file() for path in manifest["path"])
    assert f"2 names that look the same, '{NFC}', are one class" in capsys.readouterr().out
