"""audit: what it finds, what it writes, and that files are moved aside and back."""

import errno
import json
import os
import re
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.data.classes import class_findings
from pipelines.data.inspect import inspect_image


@pytest.fixture
def folder(images, tmp_path):
    """Returns a copy of the folder of three classes with ten images each."""
    return shutil.copytree(images, tmp_path / "images")


@pytest.fixture
def harmed(folder):
    """Returns that folder with one truncated file, and with one picture, encoded anew, in two classes."""
    first, second, third = sorted(folder.iterdir())
    (third / "cut.jpg").write_bytes((third / "0000.jpg").read_bytes()[:300])
    with Image.open(first / "0000.jpg") as picture:
        picture.save(second / "same.jpg", quality=40)
    return folder


def tree(folder):
    """Returns every file's path and content."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def found_in(folder, tmp_path, *options):
    code = main(["audit", str(folder), "--json", str(tmp_path / "audit.json"), *map(str, options)])
    return code, json.loads((tmp_path / "audit.json").read_text())


def test_one_picture_in_two_classes_is_harmful_though_its_bytes_differ(harmed, tmp_path, capsys):
    code, report = found_in(harmed, tmp_path)
    first, second, _ = sorted(path.name for path in harmed.iterdir())
    assert code == 1
    assert report["duplicates"] == []
    (group,) = report["similar"]
    assert group["paths"] == [f"{first}/0000.jpg", f"{second}/same.jpg"]
    assert group["harmful"]
    assert report["summary"]["similar_across_classes"] == 1
    assert f"several labels or splits: {first}/0000.jpg, {second}/same.jpg" in capsys.readouterr().out


def test_a_folder_without_classes_is_looked_at_and_said_to_be_one(folder, tmp_path):
    only = next(folder.iterdir())
    code, report = found_in(only, tmp_path)
    assert code == 1
    assert [(finding["label"], finding["code"]) for finding in report["classes"]] == [(only.name, "only_class")]
    assert {image["path"] for image in report["images"]} == {file.name for file in only.iterdir()}


@pytest.mark.parametrize(("where", "code"), [("train", 0), ("test", 1)])
def test_one_picture_twice_in_a_class_is_harmful_across_splits_only(where, code, folder, tmp_path):
    root = tmp_path / "split"
    for name, pattern in (("train", "000[0-5].jpg"), ("test", "000[6-9].jpg")):
        for label in folder.iterdir():
            (root / name / label.name).mkdir(parents=True)
            for number in range(2):  # ten pictures are too few for classes of five in both splits
                for file in label.glob(pattern):
                    with Image.open(file) as picture:
                        turned = picture.rotate(90 * number)
                        turned.save(root / name / label.name / f"{number}{file.name}")
    label = next(folder.iterdir()).name
    shutil.copy(root / "train" / label / "00000.jpg", root / where / label / "again.jpg")
    found, report = found_in(root, tmp_path)
    again = [group for group in report["duplicates"] if any("again" in path for path in group["paths"])]
    assert [group["harmful"] for group in again] == [bool(code)]
    assert found == code


@pytest.mark.parametrize(
    ("mode", "kind", "words"),
    [
        ("CMYK", "JPEG", "CMYK"),
        ("P", "PNG", "palette"),
        ("LA", "PNG", "alpha"),
        ("I;16", "PNG", "16-bit"),
        ("1", "PNG", "1-bit"),
        ("F", "TIFF", "32-bit"),
        ("YCbCr", "TIFF", "YCbCr"),
    ],
)
def test_an_unusual_mode_is_named(mode, kind, words, tmp_path):
    gray = Image.fromarray(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64))
    picture = gray if mode == "I;16" else Image.effect_noise((64, 64), 60).convert(mode)
    picture.save(tmp_path / f"a.{kind.lower()}", kind)
    facts = inspect_image(tmp_path / f"a.{kind.lower()}", tmp_path)
    assert (facts.problems, facts.reason) == (("unusual_mode",), words)


def test_an_enormous_picture_is_named_and_a_bomb_is_refused_by_its_header(tmp_path):
    Image.new("1", (8000, 5001)).save(tmp_path / "huge.png")
    assert "huge" in inspect_image(tmp_path / "huge.png", tmp_path).problems
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "bomb.png").write_bytes(bomb + struct.pack(">I", 4) + b"IDAT")
    facts = inspect_image(tmp_path / "bomb.png", tmp_path)
    assert not facts.readable
    assert "3600000000 pixels" in facts.reason  # rather than that its data are missing


def findings(**sizes):
    rows = [(label, True) for label, size in sizes.items() for _ in range(size)]
    return [
        (found.label, found.code, found.reason)
        for found in class_findings(pd.DataFrame(rows, columns=["label", "readable"]))
    ]


def test_classes_that_are_too_small_or_badly_unbalanced():
    assert findings(ant=5, bee=100) == []
    assert findings(ant=4, bee=80) == [("ant", "small_class", "4 readable images, fewer than 5")]
    assert findings(ant=5, bee=101) == [("ant", "unbalanced", "5 images, fewer than 1/20 of the 101 of 'bee'")]


@pytest.mark.parametrize(
    ("names", "odd"),
    [
        (["ant", "bee", "naïve bee", "蜂"], {}),
        ([" ant", "bee"], {" ant": "blanks before"}),
        (["Ant", "ant ", "bee"], {"Ant": "the same but for case or blanks as 'ant '", "ant ": "blanks before"}),
        (["ant\x07", "bee"], {"ant\x07": "cannot be printed"}),
        (["New folder (2)", "untitled", "bee copy"], dict.fromkeys(["New folder (2)", "untitled", "bee copy"], "gave")),
        (["cafe\u0301", "caf\u00e9"], {"cafe\u0301": "the same but", "caf\u00e9": "the same but"}),
    ],
)
def test_odd_class_names(names, odd):
    found = {label: reason for label, code, reason in findings(**dict.fromkeys(names, 5)) if code == "odd_name"}
    assert set(found) == set(odd)
    assert all(words in found[label] for label, words in odd.items())


def test_the_csv_has_a_row_for_every_file(harmed, tmp_path):
    found_in(harmed, tmp_path, "--csv", tmp_path / "audit.csv")
    table = pd.read_csv(tmp_path / "audit.csv").set_index("path")
    assert len(table) == 32
    assert table["readable"].sum() == 31
    assert (table["similar"] == 1).sum() == 2
    assert table.loc[[path for path in table.index if path.endswith("cut.jpg")], "reason"].str.len().item() > 0


def test_a_file_name_that_is_not_utf_8_is_named(folder, capsys):
    label = sorted(folder.iterdir())[0]
    os.rename(label / "0000.jpg", bytes(label) + b"/\xff.jpg")
    assert main(["audit", str(folder)]) == 2
    assert f"the file name '{label.name}/\\udcff.jpg' is not UTF-8" in capsys.readouterr().err


def test_the_page_shows_what_is_wrong_and_escapes_names(harmed, tmp_path):
    bad = harmed / "<script>alert(1)<"
    bad.mkdir()
    Image.effect_noise((40, 20), 50).save(bad / "<img src=x>.png")
    (bad / "none.jpg").write_bytes(b"no image")
    found_in(harmed, tmp_path, "--html", tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/&lt;img src=x&gt;.png" in page
    assert "One picture in several classes or splits" in page
    assert len(re.findall(r'<img src="data:image/webp;base64,', page)) == 3  # two copies and a tiny one
    assert not re.findall(r'(src|href)="(?!data:|#)', page)


def test_the_page_shows_a_bounded_number_of_pictures(tmp_path):
    for label in ("ant", "bee"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(20):
            picture = Image.fromarray(np.random.default_rng(number).integers(0, 256, (20, 20, 3)).astype(np.uint8))
            picture.save(tmp_path / "data" / label / f"{number}.png")
    found_in(tmp_path / "data", tmp_path, "--html", tmp_path / "audit.html")
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page.count("<img") == 2 * 20 + 12  # twenty pictures in both classes, and twelve of forty tiny ones
    assert "and 28 more" in page


def test_quarantine_moves_what_is_at_fault_and_undo_brings_it_back(harmed, tmp_path, capsys):
    before = tree(harmed)
    aside = tmp_path / "aside"
    assert main(["audit", str(harmed), "--quarantine", str(aside)]) == 1
    first, second, third = sorted(path.name for path in harmed.iterdir())
    moved = [f"{first}/0000.jpg", f"{second}/same.jpg", f"{third}/cut.jpg"]
    rows = pd.read_csv(aside / "quarantine.csv")
    assert sorted(rows["from"]) == moved
    assert rows["reason"].str.contains(f"one picture in several classes: {first}, {second}").sum() == 2
    assert set(before) - set(tree(harmed)) == set(moved)
    assert main(["audit", str(harmed)]) == 0
    assert main(["audit", str(harmed), "--undo", str(aside)]) == 0
    assert tree(harmed) == before
    assert not aside.exists()
    assert "3 files are back" in capsys.readouterr().out


def test_of_one_picture_in_two_splits_the_copy_in_the_test_stays(folder, tmp_path, capsys):
    root = tmp_path / "split"
    for split in ("train", "test"):
        shutil.copytree(folder, root / split)
    before, words = tree(root), ["audit", str(root), "--quarantine", str(tmp_path / "aside")]
    assert main(words) == 2
    assert tree(root) == before
    assert "would move 30 of 60 readable images, so nothing is moved" in capsys.readouterr().err
    assert main([*words, "--quarantine-most"]) == 1
    assert len(tree(root / "test")) == 30
    assert len(tree(root / "train")) == 0


def test_a_quarantine_of_most_of_a_class_is_asked_for_twice(folder, tmp_path, capsys):
    first, second, _ = sorted(folder.iterdir())
    for number in range(4, 10):
        (first / f"000{number}.jpg").unlink()
    for number in range(3):
        shutil.copy(first / f"000{number}.jpg", second / f"copy{number}.jpg")
    before = tree(folder)
    assert main(["audit", str(folder), "--quarantine", str(tmp_path / "aside")]) == 2
    assert f"3 of the 4 readable images of the class {first.name!r}, so nothing" in capsys.readouterr().err
    assert tree(folder) == before
    assert not (tmp_path / "aside").exists()
    assert main(["audit", str(folder), "--quarantine-most"]) == 2
    assert "--quarantine-most is for --quarantine DIR" in capsys.readouterr().err


def test_nothing_at_fault_moves_nothing(folder, tmp_path):
    assert main(["audit", str(folder), "--quarantine", str(tmp_path / "aside")]) == 0
    assert not (tmp_path / "aside").exists()


def test_a_move_that_fails_loses_nothing_and_can_be_undone(harmed, tmp_path, monkeypatch, capsys):
    before, rename, calls = tree(harmed), Path.rename, []

    def full(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    assert main(["audit", str(harmed), "--quarantine", str(tmp_path / "aside")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert len(tree(harmed)) == len(before) - 1
    assert main(["audit", str(harmed), "--undo", str(tmp_path / "aside")]) == 0
    assert tree(harmed) == before


def test_files_move_between_file_systems(harmed, tmp_path, monkeypatch):
    before = tree(harmed)

    def other_device(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "rename", other_device)
    assert main(["audit", str(harmed), "--quarantine", str(tmp_path / "aside")]) == 1
    assert len(tree(harmed)) == len(before) - 3
    assert main(["audit", str(harmed), "--undo", str(tmp_path / "aside")]) == 0
    assert tree(harmed) == before


def test_undo_overwrites_nothing(harmed, tmp_path, capsys):
    main(["audit", str(harmed), "--quarantine", str(tmp_path / "aside")])
    new = next(harmed.glob("*")).parent / pd.read_csv(tmp_path / "aside" / "quarantine.csv")["from"][0]
    new.write_bytes(b"mine")
    before = tree(tmp_path)
    assert main(["audit", str(harmed), "--undo", str(tmp_path / "aside")]) == 2
    assert "File exists already" in capsys.readouterr().err
    assert new.read_bytes() == b"mine"
    assert sorted(tree(tmp_path).values()) == sorted(before.values())


def test_a_quarantine_that_cannot_work_is_refused_before_anything_is_looked_at(folder, tmp_path, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "quarantine.csv").write_text("from,to,reason\n../a,b,c\n")
    (tmp_path / "labels.csv").write_text("path,label\n")
    for words, message in (
        ([folder, "--quarantine", folder / "aside"], "would be a class of it"),
        ([folder, "--quarantine", tmp_path / "used"], "holds files that were moved before"),
        ([tmp_path / "labels.csv", "--quarantine", tmp_path / "new"], "delete rows of a CSV"),
        ([folder, "--undo", tmp_path / "new"], "there is no quarantine to undo"),
        ([folder, "--undo", tmp_path / "used"], "names '../a', which leads out of the folder"),
        ([folder, "--undo", tmp_path / "used", "--csv", "x"], "--undo only brings files back"),
    ):
        assert main(["audit", *map(str, words)]) == 2
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.out == ""
