"""What is left out of a folder, what is said of it, and what is said where nothing is left."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest

from pipelines.cli import main
from pipelines.data.find import find_images
from pipelines.data.manifest import look_at_images, make_manifest
from pipelines.data.named_files import expand
from pipelines.data.system_files import SYSTEM_NAMES
from pipelines.data.walk import walk
from resnet_tf.errors import UserError
from tests.pipelines.photos import SIX, audited, build, draw, nested, refused

# What is left out


def test_system_files_of_all_kinds_are_skipped_with_their_number_by_every_verb(finished, images, tmp_path, capsys):
    root = shutil.copytree(images, tmp_path / "photos")
    label = min(root.iterdir())
    folders = (".ipynb_checkpoints", "__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information")
    folders += (".git", "lost+found", ".Trash-1000", "@Recycle")
    files = (".DS_Store", "._0001.jpg", "Thumbs.db", "THUMBS.DB", "desktop.ini", "Icon\r", "~$list.xlsx")
    for place in (root, label):
        for name in folders:
            draw(place / name / "0001-checkpoint.jpg", 1)
        for name in files:
            (place / name).write_bytes(b"x")
    said = f"skipped: {2 * (len(folders) + len(files))} system or hidden files and folders, such as '#recycle'\n"
    code, out, _ = audited(capsys, root)
    assert code == 0
    assert said in out
    assert "30 files in 3 classes" in out
    assert main(["show-batch", str(root), "--out", str(tmp_path / "b.png"), "--images", "2", "--image-size", "32"]) == 0
    assert said in capsys.readouterr().out
    assert main(["predict", str(finished.path), str(root), "--out", str(tmp_path / "p.csv")]) == 0
    assert said in capsys.readouterr().out
    assert len(pd.read_csv(tmp_path / "p.csv")) == 30
    assert len(make_manifest(root, 0.2, 0.2, 0)) == 30
    assert said in capsys.readouterr().out
    words = ["--arch", "small", "--image-size", "32", "--run", str(tmp_path / "imported"), "--data", str(root)]
    assert main(["import", str(finished.model), *words]) == 0
    assert said in capsys.readouterr().out


def test_a_glob_skips_system_files_and_a_file_that_is_named_is_taken(tmp_path, capsys):
    draw(tmp_path / "a.jpg", 1)
    draw(tmp_path / "._a.jpg", 2)
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    assert expand(str(tmp_path / "*")) == [tmp_path / "a.jpg"]
    assert "skipped: 1 system or hidden files" in capsys.readouterr().out
    assert expand(str(tmp_path / "._a.jpg")) == [tmp_path / "._a.jpg"]


def test_the_shared_names_are_compared_without_case():
    assert all(name == name.casefold() for name in SYSTEM_NAMES)


def test_a_run_inside_the_folder_of_photos_is_no_class(finished, tmp_path, capsys):
    root = build(tmp_path / "photos", **SIX)
    shutil.copytree(finished.path, root / "run")
    shutil.copytree(finished.path, root / "saved_models" / "first")
    code, out, _ = audited(capsys, root)
    assert code == 0
    assert "skipped: 2 run directories, such as 'run'\n" in out
    assert "2 classes: ant, bee" in out
    assert len(expand(str(root))) == 12


def test_the_run_of_a_training_may_be_made_inside_the_folder_of_photos(tiny, tmp_path):
    root = build(tmp_path / "photos", **SIX)
    words = ["--run", str(root / "run"), "--weights", "none", "--arch", tiny, "--image-size", "32", "--epochs", "1"]
    assert main(["finetune", str(root), *words, "--batch-size", "4"]) == 0
    assert json.loads((root / "run" / "classes.json").read_text()) == ["ant", "bee"]


def test_a_run_as_data_is_refused(finished, capsys):
    code, _, err = audited(capsys, finished.path)
    assert code == 2
    assert "is the directory of a run; name the folder that holds the images" in err


# Links


@pytest.fixture
def linked(tmp_path):
    """Returns a folder with links of all kinds, and beside it a folder that some of them lead to."""
    root = build(tmp_path / "photos", **SIX)
    build(tmp_path / "elsewhere", more=4)
    (root / "ant" / "inward.jpg").symlink_to("../bee/0.jpg")
    (root / "ant" / "outward.jpg").symlink_to(tmp_path / "elsewhere" / "more" / "0.jpg")
    (root / "ant" / "folder").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "cat").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "ant" / "loop").symlink_to("..")
    (root / "ant" / "itself").symlink_to("itself")
    return root


def test_links_that_stay_are_followed_others_are_skipped_and_said(linked, capsys):
    found = find_images(linked)
    assert len(found.images) == 13
    assert "ant/inward.jpg" in set(found.images["path"])
    _, out, _ = audited(capsys, linked)
    assert "skipped: 3 links that lead out of the folder, such as 'ant/folder'; --follow-links takes them\n" in out
    assert "skipped: 2 links that lead in a circle, such as 'ant/itself'\n" in out


def test_follow_links_takes_links_out_of_the_folder_too(linked, capsys):
    found = find_images(linked, follow_links=True)
    assert sorted(found.images.groupby("label").size().to_dict().items()) == [("ant", 12), ("bee", 6), ("cat", 4)]
    _, out, _ = audited(capsys, linked, "--follow-links")
    assert "22 files in 3 classes" in out
    assert "lead out" not in out
    assert "0 unreadable" in out
    assert set(make_manifest(linked, 0.2, 0.2, 0, follow_links=True)["label"]) == {"ant", "bee", "cat"}


def test_predict_has_the_same_rule_of_links(linked, capsys):
    assert len(expand(str(linked))) == 13
    assert "3 links that lead out of the folder" in capsys.readouterr().out
    assert len(expand(str(linked), follow_links=True)) == 22
    assert expand(str(linked / "ant" / "outward.jpg")) == [linked / "ant" / "outward.jpg"]


def test_a_link_to_another_folder_of_data_is_followed_at_every_depth(tmp_path):
    root = build(tmp_path / "photos", **nested("pool"))
    for split in ("train", "val"):
        (root / split).mkdir()
        for label in ("ant", "bee"):
            (root / split / label).symlink_to(f"../pool/{label}")
    (tmp_path / "link").symlink_to(root)  # DATA itself may be a link
    folder, skipped = walk(tmp_path / "link")
    assert skipped.found == {}
    assert folder.count == 36


def test_links_between_folders_neither_hang_nor_multiply(tmp_path):
    names = [f"n{number}" for number in range(7)]
    root = build(tmp_path / "photos", **dict.fromkeys(names, 1))
    for name in names:
        for other in names:
            (root / name / f"to_{other}").symlink_to(root / other)
    folder, skipped = walk(root)
    assert folder.count <= len(names) + len(names) ** 3
    assert skipped.found["circles"]


def test_a_link_to_nothing_is_missing(tmp_path, capsys):
    root = build(tmp_path / "photos", ant=40, bee=40)
    (root / "ant" / "gone.jpg").symlink_to("nothing.jpg")
    code, out, _ = audited(capsys, root)
    assert code == 1
    assert "0 unreadable, 1 missing" in out
    assert "missing: ant/gone.jpg (a link to nothing)" in out
    assert len(make_manifest(root, 0.2, 0.2, 0)) == 80
    assert "left out, missing: ant/gone.jpg" in capsys.readouterr().out


def test_a_class_of_links_that_lead_out_says_so(tmp_path, capsys):
    root = build(tmp_path / "photos", **SIX)
    (root / "cat").mkdir()
    (root / "cat" / "a.jpg").symlink_to(draw(tmp_path / "a.jpg", 1))
    message = refused(capsys, root)
    assert (
        "cat' has no files in it (skipped: 1 link that leads out of the folder, 'cat/a.jpg'; --follow-links" in message
    )


def test_quarantine_moves_nothing_that_lies_outside(tmp_path, capsys):
    root = build(tmp_path / "photos", **SIX)
    outside = build(tmp_path / "elsewhere", more=2)
    (outside / "more" / "broken.jpg").write_bytes(b"no image")
    (root / "ant" / "folder").symlink_to(outside / "more")
    (root / "ant" / "link.jpg").symlink_to(outside / "more" / "broken.jpg")
    (root / "bee" / "broken.jpg").write_bytes(b"no image")
    before = sorted(path.name for path in (outside / "more").iterdir())
    code, out, err = audited(capsys, root, "--follow-links", "--quarantine", tmp_path / "aside")
    assert code == 1
    assert sorted(path.name for path in (outside / "more").iterdir()) == before
    assert (root / "ant" / "link.jpg").is_symlink()
    assert not (root / "bee" / "broken.jpg").exists()
    assert "1 files moved" in out
    assert "not moved: 2 files at fault that links lead to" in err
    assert "quarantine.csv" in os.listdir(tmp_path / "aside")


def test_quarantine_moves_a_file_once_though_a_link_leads_to_its_folder(tmp_path, capsys):
    root = build(tmp_path / "photos", **SIX)
    (root / "bee" / "broken.jpg").write_bytes(b"no image")
    (root / "ant" / "more").symlink_to("../bee")
    code, _, _ = audited(capsys, root, "--quarantine", tmp_path / "aside", "--quarantine-most")
    assert code == 1
    assert not (root / "bee" / "broken.jpg").exists()
    assert main(["audit", str(root), "--undo", str(tmp_path / "aside")]) == 0
    assert (root / "bee" / "broken.jpg").read_bytes() == b"no image"


# Nothing found


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda root: None,
            "no images in .*it has no sub-folders, nothing in it; it must have one sub-folder per",
        ),
        (lambda root: draw(root / ".git" / "a.jpg", 1), "nothing in it .skipped: 1 system or hidden file or folder"),
        (lambda root: (root / "ant" / "x").mkdir(parents=True), "only empty folders, such as 'ant'; it must have"),
        (lambda root: draw(root / "train" / "a.jpg", 1), "'train' is named like a split and has 1 files, but no class"),
        (lambda root: (root / "train").mkdir(), "only empty folders, such as 'train'"),
    ],
)
def test_nothing_found_says_what_there_must_be(make, words, tmp_path, capsys):
    root = tmp_path / "k"
    root.mkdir()
    make(root)
    message = refused(capsys, root)
    assert "no images in" in message
    with pytest.raises(UserError, match=words):
        look_at_images(root, flat=True)


def test_photos_without_class_folders_are_no_training_set(tmp_path):
    for number in range(3):
        draw(tmp_path / "photos" / f"{number}.jpg", number)
    with pytest.raises(UserError, match="it has no sub-folders, only 3 files in it; it must have one sub-folder per"):
        make_manifest(tmp_path / "photos", 0.2, 0.2, 0)


@pytest.mark.parametrize("words", [["audit", ""], ["finetune", "", "--run", "x"], ["predict", "x", ""], ["export", ""]])
def test_an_empty_name_is_not_the_current_folder(words, capsys):
    assert main(words) == 2
    assert "must not be empty" in capsys.readouterr().err


def test_an_empty_name_from_python_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(build(tmp_path / "photos", **SIX))
    for call in (look_at_images, expand, lambda name: make_manifest(name, 0.2, 0.2, 0)):
        with pytest.raises(UserError, match="empty"):
            call("")


@pytest.fixture
def nobody():
    """Makes this process one without special rights, and returns a folder that it may use."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # pytest's own folders are for their owner alone
        folder = Path(name)
        folder.chmod(0o777)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)


def test_no_permission_is_not_no_files(nobody, capsys):
    root = build(nobody / "photos", **SIX)
    (root / "bee").chmod(0)
    assert "cannot look into the folder" in refused(capsys, root)
    with pytest.raises(UserError, match="bee': Permission denied"):
        expand(str(root))
    (root / "bee").chmod(0o755)
    root.chmod(0)
    assert "photos': Permission denied" in refused(capsys, root)
    with pytest.raises(UserError, match=r"cannot look at DATA.*Permission denied"):
        find_images(root / "ant")
    root.chmod(0o755)


def test_pipes_are_skipped_and_not_waited_for(tmp_path, capsys):
    root = build(tmp_path / "photos", **SIX)
    os.mkfifo(root / "ant" / "pipe.jpg")
    code, out, _ = audited(capsys, root)
    assert code == 0
    assert "skipped: 1 pipe, socket or device, 'ant/pipe.jpg'" in out
    os.mkfifo(tmp_path / "labels.csv")
    assert audited(capsys, tmp_path / "labels.csv")[2].startswith("error: ")


def test_a_message_about_very_long_names_has_two_lines_at_most(tmp_path, capsys):
    name = "x" * 250
    root = build(tmp_path / "photos", **nested(f"{name}a", f"{name}b", classes=(f"{name}1", f"{name}2")))
    message = refused(capsys, root)
    assert message.endswith("or name one as DATA\n")
    code, _, err = audited(capsys, "y" * 100_000)
    assert code == 2
    assert len(err) < 320
