"""An archive is unpacked into one folder, whatever is in it, or not at all."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from pipelines.data import archives
from pipelines.data.archives import is_archive, unpack, unpacked_from
from resnet_tf.errors import UserError

PHOTOS = {"my photos/ant/1.jpg": b"one", "my photos/bee/2.jpg": b"two"}


def make_zip(path: Path, files: dict[str, bytes], **options: int) -> Path:
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def make_tar(path: Path, files: dict[str, bytes], *others: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for entry in others:
            archive.addfile(entry)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_all_files_are_unpacked_and_the_folder_of_the_classes_is_named(make, tmp_path):
    archive = make(tmp_path / "photos.bin", {**PHOTOS, "__MACOSX/my photos/ant/._1.jpg": b"x"})
    assert is_archive(archive)
    found = unpack(archive, tmp_path / "out")
    assert found == tmp_path / "out" / "my photos"
    assert {file.relative_to(found).as_posix(): file.read_bytes() for file in found.rglob("*.jpg")} == {
        "ant/1.jpg": b"one",
        "bee/2.jpg": b"two",
    }
    assert unpacked_from(found, archive)
    other = make(tmp_path / "other.bin", PHOTOS)
    assert not unpacked_from(found, other)


@pytest.mark.parametrize("make", [make_zip, make_tar])
@pytest.mark.parametrize("name", ["../out.jpg", "/etc/out.jpg", "ant/../../out.jpg", "..\\out.jpg", "C:\\out.jpg"])
def test_a_path_out_of_the_folder_leaves_nothing(make, name, tmp_path):
    archive = make(tmp_path / "photos.bin", {**PHOTOS, name: b"x"})
    with pytest.raises(UserError, match="leads out of its folder"):
        unpack(archive, tmp_path / "in" / "out")
    assert list((tmp_path / "in").iterdir()) == []
    assert not (tmp_path / "out.jpg").exists()


def test_links_and_devices_are_left_out_and_counted(tmp_path, capsys):
    strange = [
        link("my photos/ant/2.jpg", "/etc/passwd"),
        link("my photos/out", ".."),
        link("x", "y", tarfile.FIFOTYPE),
    ]
    hard = link("my photos/ant/3.jpg", "my photos/ant/1.jpg", tarfile.LNKTYPE)
    found = unpack(make_tar(tmp_path / "a.tgz", PHOTOS, *strange, hard), tmp_path / "out")
    assert len([file for file in found.rglob("*") if file.is_file()]) == 2
    assert "2 files into" in capsys.readouterr().out
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        entry = zipfile.ZipInfo("ant/link.jpg")
        entry.external_attr = 0o120777 << 16
        opened.writestr(entry, "/etc/passwd")
        opened.writestr("ant/1.jpg", b"one")
        opened.writestr("bee/1.jpg", b"one")
    assert sorted(file.name for file in unpack(archive, tmp_path / "zip").rglob("*.jpg")) == ["1.jpg", "1.jpg"]


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_what_has_no_room_is_refused_before_the_disk_is_full(make, tmp_path, monkeypatch):
    archive = make(tmp_path / "photos.bin", {"ant/1.jpg": b"x" * 5000})
    monkeypatch.setattr(archives, "MOST_BYTES", 4000)
    with pytest.raises(UserError, match="there is room for"):
        unpack(archive, tmp_path / "out")
    monkeypatch.setattr(archives, "MOST_BYTES", 10**9)
    monkeypatch.setattr(archives, "MOST_FILES", 0)
    with pytest.raises(UserError, match="more than 0 files"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_bomb_and_damaged_archives_are_one_line(tmp_path):
    bomb = make_zip(tmp_path / "bomb.zip", {"a/1.jpg": bytes(300 * 2**20)}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="grows more than 200 times"):
        unpack(bomb, tmp_path / "out")
    cut = make_zip(tmp_path / "cut.zip", {"a/1.jpg": b"x" * 1000})
    content = bytearray(cut.read_bytes())
    content[60] ^= 1
    cut.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot unpack .*CRC"):
        unpack(cut, tmp_path / "out")
    with pytest.raises(UserError, match="holds no files"):
        unpack(make_zip(tmp_path / "empty.zip", {}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
