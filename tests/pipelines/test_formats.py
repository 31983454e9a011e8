"""Files of other kinds are named with the way out, and what is missing or forbidden is not called unreadable."""

import io
import os
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from pipelines.cli import main
from pipelines.data import formats
from pipelines.data.inspect import inspect_image


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.txt", "a")
    return buffer.getvalue()


def box(brand, others=b""):
    return struct.pack(">I", 16 + len(others)) + b"ftyp" + brand + bytes(4) + others + bytes(64)


def raw_tiff(**tags):
    """Returns a TIFF with a small preview in front, as NEF, ARW and DNG have it."""
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in tags.items():
        ifd[int(number.removeprefix("tag"))] = value
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "TIFF", tiffinfo=ifd)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (box(b"heic", b"mif1heic"), "HEIC, which is read where pillow-heif is installed; pip install pillow-heif, or"),
        (box(b"mif1", b"mif1heic"), "HEIC"),
        (box(b"avif"), "a damaged AVIF"),
        (box(b"crx "), "CR3, raw data of a camera's sensor; develop it"),
        (box(b"qt  "), "QuickTime, a video; save single pictures of it"),
        (box(b"isom"), "MP4, a video"),
        (b"RIFF\x10\0\0\0AVI LIST" + bytes(40), "AVI, a video"),
        (b"\x1a\x45\xdf\xa3" + bytes(40), "Matroska or WebM, a video"),
        (b"II*\x00\x10\0\0\0CR\x02\x00" + bytes(99), "CR2, raw data"),
        (raw_tiff(tag50706=b"\x01\x04\0\0"), "DNG, raw data"),
        (raw_tiff(tag254=1, tag330=8), "NEF, ARW or another kind of raw data"),
        (bytes(128) + b"DICM" + bytes(40), "DICOM; convert it to JPEG or PNG, for example with pydicom"),
        (b"8BPS\x00\x01" + bytes(40), "a Photoshop document (PSD); convert it"),
        (b"%PDF-1.7\n", "PDF, a document; save its pictures"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG, a drawing; save it as PNG"),
        (b"<svg/>", "SVG"),
        (zipped(), "a ZIP file, an archive; unpack it"),
        (b"\x1f\x8b" + bytes(40), "gzip, an archive"),
        (bytes(257) + b"ustar" + bytes(40), "tar, an archive"),
        (b"\xff\x0a" + bytes(40), "JPEG XL"),
        (b"<!DOCTYPE html><html>", "a web page, perhaps in place of a picture"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer in place of the file; run git lfs pull"),
        (b"path,label\na,b\n", "not an image, but text"),
        (b"\xff\xd8\xff" + bytes(40), "a JPEG that is cut off: its end is missing"),
        (bytes(40), "not an image"),
    ],
)
def test_a_file_of_another_kind_is_named_with_the_way_out(content, words, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    facts = inspect_image(path, tmp_path)
    assert not facts.readable
    assert facts.problems == ("unreadable",)
    assert facts.reason.startswith(words)
    assert len(facts.reason) < 200


def test_heic_is_read_where_its_plugin_is_installed(monkeypatch):
    registered = []

    class Plugin:
        register_heif_opener = staticmethod(lambda: registered.append(True))

    monkeypatch.setattr(formats, "find_spec", lambda name: name == "pillow_heif")
    monkeypatch.setattr(formats.importlib, "import_module", lambda name: Plugin)
    formats.pillow_formats.cache_clear()
    try:
        assert formats.pillow_formats() == (*formats.FORMATS, "HEIF")
        assert registered == [True]
        assert formats.name_of(box(b"heic")).startswith("a damaged HEIC")
    finally:
        formats.pillow_formats.cache_clear()


def test_what_is_missing_is_not_called_unreadable(tmp_path):
    facts = inspect_image(tmp_path / "gone.jpg", tmp_path)
    assert (facts.problems, facts.reason, facts.readable) == (("missing",), "missing", False)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    assert inspect_image(tmp_path / "link.jpg", tmp_path).reason == "a link to a file that is missing"


def test_a_file_without_permission_is_said_to_be_one(tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 40)).save(path)

    def forbidden(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(type(path), "read_bytes", forbidden)  # root may read all files
    facts = inspect_image(path, tmp_path)
    assert (facts.problems, facts.reason) == (("no_permission",), "a file that there is no permission to read")


def test_a_pipe_is_named_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "photo.jpg")
    assert inspect_image(tmp_path / "photo.jpg", tmp_path).reason == "a pipe, socket or device, and not a file"


def test_the_audit_says_what_each_file_is(tmp_path, capsys):
    for label in ("ant", "bee"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(5):
            noise = np.random.default_rng(hash(label) % 99 + number).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(noise).save(tmp_path / "photos" / label / f"{number}.png")
    (tmp_path / "photos" / "ant" / "phone.heic").write_bytes(box(b"heic"))
    assert main(["audit", str(tmp_path / "photos")]) == 1
    assert "unreadable: ant/phone.heic (HEIC, which is read where pillow-heif" in capsys.readouterr().out
