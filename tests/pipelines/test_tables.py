"""CSVs as DATA: how paths may be written, what is no CSV, and what is missing."""

import gzip
import os
import zipfile

import pandas as pd
import pytest

from pipelines.cli import main
from pipelines.data.find import find_images
from pipelines.data.manifest import class_names, make_manifest
from resnet_tf.errors import UserError
from tests.pipelines.photos import audited, build, refused


@pytest.fixture
def root(tmp_path):
    """Returns a folder with two classes of six pictures."""
    return build(tmp_path / "photos", ant=6, bee=6)


def write(root, path_of=lambda path: path, *, name="labels.csv", separator=",", encoding="utf-8", header="path,label"):
    """Writes a table of all pictures, with each path as a function gives it."""
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.jpg"))
    lines = [header, *(f"{path_of(path)},{path.split('/')[0]}" for path in files)]
    text = "".join(f"{line}\n".replace(",", separator) for line in lines)
    (root / name).write_bytes(text.encode(encoding))
    return root / name


PATHS = {
    "backslashes": lambda root: lambda path: path.replace("/", "\\"),
    "a dot and backslashes": lambda root: lambda path: ".\\" + path.replace("/", "\\"),
    "absolute": lambda root: lambda path: root / path,
    "absolute by a link": lambda root: lambda path: root.with_name("link") / path,
    "dots": lambda root: lambda path: f"./x/../{path}",
    "by the folder's own name": lambda root: lambda path: f"../photos/{path}",
    "double slashes": lambda root: lambda path: path.replace("/", "//"),
    "blanks around": lambda root: lambda path: f" {path} ",
}


@pytest.mark.parametrize("kind", PATHS)
def test_paths_inside_the_folder_are_taken_however_they_are_written(kind, root, capsys):
    root.with_name("link").symlink_to(root)
    table = write(root, PATHS[kind](root))
    manifest = make_manifest(table, 0.2, 0.2, 0)
    assert sorted(manifest["path"]) == sorted(file.relative_to(root).as_posix() for file in root.rglob("*.jpg"))
    assert class_names(manifest) == ["ant", "bee"]
    capsys.readouterr()
    assert audited(capsys, table)[0] == 0


@pytest.mark.parametrize(
    ("separator", "encoding", "header"),
    [
        (";", "utf-8", "path,label"),
        ("\t", "utf-8", "path,label"),
        (",", "utf-8-sig", "Path, LABEL"),
        (",", "utf-16", "path,label"),
        (";", "utf-8-sig", '"path","label"'),
    ],
)
def test_tables_of_spreadsheets_are_taken(separator, encoding, header, root):
    table = write(root, separator=separator, encoding=encoding, header=header)
    assert find_images(table).images["label"].value_counts().to_dict() == {"ant": 6, "bee": 6}


def test_a_file_name_with_a_backslash_is_taken_as_it_is(root):
    os.rename(root / "ant" / "0.jpg", root / "ant" / "a\\b.jpg")
    assert "ant/a\\b.jpg" in set(find_images(write(root)).images["path"])


@pytest.mark.parametrize("path", ["C:\\photos\\ant\\0.jpg", "..\\other\\0.jpg", "/etc/passwd", "\\\\server\\a\\0.jpg"])
def test_a_path_that_leads_out_says_what_paths_are_relative_to(path, root, capsys):
    (root / "labels.csv").write_text(f"path,label\nant/0.jpg,ant\n{path},bee\n")
    message = refused(capsys, root / "labels.csv")
    assert "line 3 of" in message
    assert "leads out of the CSV's folder" in message
    assert "paths are relative to it" in message


def test_files_that_do_not_exist_are_missing_and_it_is_said_what_paths_are_relative_to(root, capsys):
    table = write(root, lambda path: f"images/{path}")
    message = refused(capsys, table)
    assert "not one of the 12 files that" in message
    assert "'images/ant/0.jpg' in line 2" in message
    assert "paths are relative to the CSV's folder" in message
    assert "Errno" not in message


def test_a_table_that_was_moved_away_from_its_photos_is_told_so(root, tmp_path, monkeypatch, capsys):
    table = write(root)
    (tmp_path / "tables").mkdir()
    table = table.rename(tmp_path / "tables" / "labels.csv")
    monkeypatch.chdir(root)
    assert "there are such files in the current folder, so move the CSV there" in refused(capsys, table)


def test_some_missing_files_are_named_as_missing_and_not_as_unreadable(root, capsys):
    table = write(root)
    for number in range(2):
        (root / "ant" / f"{number}.jpg").unlink()
    code, out, _ = audited(capsys, table, "--csv", root / "audit.csv")
    assert code == 1
    assert "0 unreadable, 2 missing" in out
    assert "missing: ant/0.jpg (no such file)" in out
    assert pd.read_csv(root / "audit.csv")["problems"].value_counts().to_dict() == {"missing": 2}
    with pytest.raises(UserError, match=r"2 of 12 files are missing, more than 3%: ant/0.jpg .*paths are relative to"):
        make_manifest(table, 0.2, 0.2, 0)


def test_a_table_may_name_no_folder_in_place_of_a_picture(root, capsys):
    table = write(root)
    with table.open("a") as file:
        file.write("bee,bee\n")
    _, out, _ = audited(capsys, table)
    assert "unreadable: bee (" in out


def zipped(path, name):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, os.urandom(2_000_000))


# Name of a file: (its content, or what writes it, words of the message).
FILES = {
    "zip": (lambda path: zipped(path, "a.txt"), "is a ZIP archive"),
    "xlsx": (lambda path: zipped(path, "xl/a.xml"), "save the table as CSV"),
    "csv.gz": (gzip.compress(b"path,label\n"), "is a gzip archive"),
    "tar": (b"a.jpg".ljust(257, b"\0") + b"ustar\0" + bytes(249), "is a tar archive"),
    "parquet": (b"PAR1" + bytes(100), "is a Parquet table"),
    "jpg": (b"\xff\xd8\xff\xe0" + bytes(100), "is a JPEG picture"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(100), "is a HEIC, AVIF or MP4 file"),
    "bin": (bytes(range(256)) * 9000, "has bytes that no text has"),
    "html": (b"<html>" + b"<p>x" * 500_000, "is not a CSV table"),
    "json": (b"[" + b'{"path": 1},' * 200_000, "has no column 'path'"),
    "latin.csv": ("path,label\na.jpg,caf\xe9\n".encode("latin-1"), "line 2 has the byte 0xe9"),
    "blank.csv": (b"\n\n", "is not a CSV table: its first line is empty"),
    "wide.csv": (b"path,label\na,b.jpg,ant\n", "line 2 of .* has 3 cells, and the header has 2"),
    "header.csv": (b"path,label\n", "no images in .* it has a header only; it must have one"),
    "field.csv": (b"path,label\n" + b"x" * 200_000 + b",ant\n", "field larger than field limit"),
    "twice.csv": (b"path,label,label\na.jpg,x,y\n", "has 2 columns named 'label'; keep one"),
    "empty path.csv": (b"path,label\n,x\n", "line 2 of .* the path is empty"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_table_is_one_short_line(name, tmp_path, capsys):
    make, words = FILES[name]
    path = tmp_path / f"data.{name}"
    make(path) if callable(make) else path.write_bytes(make)
    refused(capsys, path)
    with pytest.raises(UserError, match=words):
        find_images(path)


def test_a_table_that_nobody_may_look_at_is_not_called_missing(tmp_path, capsys):
    assert main(["audit", "a\0b"]) == 2
    assert "cannot look at DATA" in capsys.readouterr().err
    assert main(["audit", str(tmp_path / "none" / "labels.csv")]) == 2
    assert "there is no folder or CSV" in capsys.readouterr().err
    assert main(["audit", "/dev/null"]) == 2
    assert "is neither a folder nor a file" in capsys.readouterr().err
