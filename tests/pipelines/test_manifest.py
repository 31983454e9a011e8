"""The manifest of folders and CSVs: which files are images, their classes, and their splits."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.data.inspect import inspect_image
from pipelines.data.manifest import class_names, data_root, find_images, fingerprint, load_manifest, make_manifest
from pipelines.data.split import assign_splits
from pipelines.runs.files import write_csv
from resnet_tf.errors import UserError


@pytest.fixture
def folder(images, tmp_path):
    """Returns a copy of the images that a test may change."""
    return shutil.copytree(images, tmp_path / "images")


def save_noise(path, seed=0, size=(40, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def test_a_folder_of_class_folders(images):
    manifest = make_manifest(images, 0.2, 0.2, 0)
    assert class_names(manifest) == sorted(path.name for path in images.iterdir())
    assert pd.crosstab(manifest["label"], manifest["split"]).to_numpy().tolist() == [[2, 6, 2]] * 3
    assert manifest["path"].is_monotonic_increasing
    assert set(manifest["width"]) == {48}


def test_the_root_is_a_folder_or_that_of_a_table_also_where_they_are_gone(images, tmp_path):
    assert data_root(images) == images
    assert data_root(tmp_path / "photos") == tmp_path / "photos"
    assert data_root(tmp_path / "table.csv") == tmp_path
    (tmp_path / "table").touch()
    assert data_root(tmp_path / "table") == tmp_path


def test_a_split_is_the_same_for_the_same_seed_only(images):
    first, again, other = (make_manifest(images, 0.2, 0.2, seed)["split"].tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_folders_named_after_splits_are_kept(folder, tmp_path):
    root = tmp_path / "split"
    for name, number in (("train", 0), ("valid", 6), ("test", 8)):
        for label in folder.iterdir():
            for file in sorted(label.iterdir())[number : number + (6 if name == "train" else 2)]:
                target = root / name / label.name / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    manifest = make_manifest(root, 0.5, 0.5, 0)
    assert manifest["split"].value_counts().to_dict() == {"train": 18, "val": 6, "test": 6}
    assert class_names(manifest) == sorted(path.name for path in folder.iterdir())
    shutil.rmtree(root / "valid")
    manifest = make_manifest(root, 0.5, 0.5, 0)  # only the missing part is taken out of training
    assert manifest["split"].value_counts().to_dict() == {"train": 9, "val": 9, "test": 6}


def test_a_csv_with_and_without_splits(folder):
    files = sorted(path.relative_to(folder.parent).as_posix() for path in folder.rglob("*.jpg"))
    table = pd.DataFrame({"path": files, "label": [path.split("/")[1] for path in files]})
    table.to_csv(folder.parent / "labels.csv", index=False)
    manifest = make_manifest(folder.parent / "labels.csv", 0.2, 0.2, 0)
    assert manifest["split"].value_counts().to_dict() == {"train": 18, "val": 6, "test": 6}
    table["split"] = ["train", "train", "train", "val", "test"] * 6
    table.to_csv(folder.parent / "labels.csv", index=False)
    assert make_manifest(folder.parent / "labels.csv", 0.2, 0.2, 0)["split"].tolist() == table["split"].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,klass\na.jpg,x\n", "no column 'label'.*it has path,klass"),
        ("path,label\n../a.jpg,x\n", "line 2.*leads out"),
        ("path,label\n/etc/passwd,x\n", "line 2.*leads out"),
        ("path,label\na.jpg,\n", "line 2.*label is empty"),
        ("path,label,split\na.jpg,x,extra\n", "received 'extra'"),
        ("path,label\na.jpg,x\na.jpg,y\n", "names 'a.jpg' more than once"),
        ("", "not a CSV table"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(text, message, tmp_path):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        find_images(tmp_path / "labels.csv")


def test_the_content_counts_and_not_the_extension(folder):
    label = next(folder.iterdir())
    shutil.move(label / "0000.jpg", label / "0000.png")
    manifest = make_manifest(folder, 0.2, 0.2, 0)
    row = manifest[manifest["path"] == f"{label.name}/0000.png"].iloc[0]
    assert (row["decoder"], row["problems"]) == ("tensorflow", "wrong_extension")


def test_one_unreadable_file_is_named_and_left_out(folder, capsys):
    label = next(folder.iterdir())
    (label / "broken.jpg").write_bytes((label / "0000.jpg").read_bytes()[:400])
    manifest = make_manifest(folder, 0.2, 0.2, 0)
    assert len(manifest) == 30
    assert f"left out, unreadable: {label.name}/broken.jpg (" in capsys.readouterr().out


def test_many_unreadable_files_stop_the_run(folder):
    label = next(folder.iterdir())
    for number in range(4):
        (label / f"broken{number}.jpg").write_bytes(b"no image")
    with pytest.raises(
        UserError, match=r"4 of 34 files cannot be read, more than 3%.*broken0.jpg \(not an image, but text\)"
    ):
        make_manifest(folder, 0.2, 0.2, 0)


def test_a_class_without_a_readable_image_is_named(folder):
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("a text")
    with pytest.raises(UserError, match=r"class 'texts' has no readable image: texts/a.txt is not an image"):
        make_manifest(folder, 0.2, 0.2, 0)


def test_an_empty_class_folder_is_named(folder):
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match=r"'.*empty' has no files"):
        make_manifest(folder, 0.2, 0.2, 0)


def test_hidden_files_and_folders_are_no_images(folder):
    label = next(folder.iterdir())
    (label / ".DS_Store").write_bytes(b"x")
    (label / "Thumbs.db").write_bytes(b"x")
    (folder / ".cache").mkdir()
    assert len(make_manifest(folder, 0.2, 0.2, 0)) == 30


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path):
    save_noise(tmp_path / "outside.jpg")
    label = next(folder.iterdir())
    (label / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    assert inspect_image(label / "link.jpg", folder).reason == "a link that leads out of the folder"
    assert len(make_manifest(folder, 0.2, 0.2, 0)) == 30


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda root: root.rmdir(), "there is no folder or CSV"),
        (lambda root: None, "has no sub-folders"),
        (lambda root: [save_noise(root / "one" / f"{i}.jpg", i) for i in range(4)], "only one class, 'one'"),
        (
            lambda root: [save_noise(root / c / f"{i}.jpg", i) for c, n in (("a", 9), ("b", 2)) for i in range(n)],
            "class 'b' has 2 images to divide, too few for one in each of 3 splits",
        ),
    ],
    ids=["no folder", "no classes", "one class", "too small a class"],
)
def test_folders_that_are_no_data_set(build, message, tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    build(root)
    with pytest.raises(UserError, match=message):
        make_manifest(root, 0.15, 0.15, 0)


def test_a_manifest_survives_its_file_and_odd_class_names(folder, tmp_path):
    for number, name in enumerate(("NA", "007", "<b>&amp;", "naïve, ñandú")):
        for index in range(4):
            save_noise(folder / name / f"{index}.jpg", 10 * number + index)
    manifest = make_manifest(folder, 0.25, 0.25, 0)
    write_csv(tmp_path / "manifest.csv", manifest)
    loaded = load_manifest(tmp_path / "manifest.csv")
    pd.testing.assert_frame_equal(loaded, manifest, check_dtype=False)
    assert fingerprint(loaded) == fingerprint(manifest)
    assert {"NA", "007"} <= set(class_names(loaded))


def test_the_fingerprint_changes_with_content_label_and_split(images):
    manifest = make_manifest(images, 0.2, 0.2, 0)
    prints = {fingerprint(manifest)}
    for column in ("sha256", "label", "split", "path"):
        changed = manifest.copy()
        changed.loc[0, column] += "x"
        prints.add(fingerprint(changed))
    assert len(prints) == 5


def test_every_class_is_in_every_split():
    labels = pd.Series(["a"] * 3 + ["b"] * 100)
    splits = assign_splits(labels, pd.Series([""] * 103), 0.1, 0.1, 0)
    assert sorted(splits[labels == "a"]) == ["test", "train", "val"]
    assert splits[labels == "b"].value_counts().to_dict() == {"train": 80, "val": 10, "test": 10}


def test_the_verdict_on_every_shared_odd_file_is_that_of_its_manifest(shared):
    root = shared / "odd"
    expected = pd.read_csv(root / "manifest.csv")
    found = {name: inspect_image(root / name, root).readable for name in expected["file"]}
    assert found == {row.file: row.should_be_readable == "yes" for row in expected.itertuples()}
