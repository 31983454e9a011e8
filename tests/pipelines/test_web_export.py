"""The web export: its runtime is found or named, and its page gives the answers of `predict` in a real browser."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.config.formats import Target
from pipelines.evaluation.pictures import predict_images
from pipelines.runs.directory import Run
from pipelines.serving import web_runtime
from pipelines.serving.exported import load_exported
from pipelines.serving.web_runtime import VERSION, runtime_of
from pipelines.serving.writers import Converters
from resnet_tf.errors import UserError
from resnet_tf.weights.sources import cache_folder
from tests.pipelines.browsers import chromium, opened, served

DOWNLOADED = cache_folder() / f"onnxruntime-web-{VERSION}.tgz"
FILES = {"dist/ort.wasm.bundle.min.mjs": b"script", "dist/ort-wasm-simd-threaded.wasm": b"wasm"}


def package(folder: Path, version: str = VERSION, **files: bytes) -> Path:
    """Makes a folder as npm installs the package."""
    described = json.dumps({"name": "onnxruntime-web", "version": version}).encode()
    for name, content in {"package.json": described, **FILES, **files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def archived(folder: Path, target: Path) -> Path:
    with tarfile.open(target, "w:gz") as archive:
        archive.add(folder, "package")
    return target


def test_the_runtime_is_taken_from_the_package_as_a_folder_or_an_archive(tmp_path):
    folder = package(tmp_path / "onnxruntime-web")
    assert runtime_of(str(folder)) == (b"script", b"wasm")
    assert runtime_of(str(archived(folder, tmp_path / "package.tgz"))) == (b"script", b"wasm")


def test_another_package_and_a_file_that_is_none_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"is onnxruntime-web 1\.2\.3; name onnxruntime-web"):
        runtime_of(str(package(tmp_path / "old", "1.2.3")))
    (tmp_path / "text.tgz").write_text("no archive")
    with pytest.raises(UserError, match=r"text\.tgz' is no \.tgz"):
        runtime_of(str(tmp_path / "text.tgz"))
    with pytest.raises(UserError, match="there is no '/nowhere'"):
        runtime_of("/nowhere")
    bare = package(tmp_path / "bare")
    (bare / "dist/ort-wasm-simd-threaded.wasm").unlink()
    for source in (bare, archived(bare, tmp_path / "bare.tgz")):
        with pytest.raises(UserError, match="is not the npm package"):
            runtime_of(str(source))
    monkeypatch.setattr(web_runtime, "_MOST_BYTES", 3)
    with pytest.raises(UserError, match="is not the npm package"):  # a member that is too large is not read
        runtime_of(str(archived(package(tmp_path / "large"), tmp_path / "large.tgz")))


def test_offline_one_line_says_what_to_do_before_anything_is_computed(finished, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(web_runtime, "_ADDRESS", "http://127.0.0.1:9/onnxruntime-web.tgz")
    assert main(["export", str(finished.path), "--format", "web"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: could not download http://127.0.0.1:9/onnxruntime-web.tgz (Connection refused)")
    assert last.endswith("or name it with --runtime")
    assert main(["export", str(finished.path), "--runtime", "package.tgz"]) == 2
    assert "--runtime is for --format web" in capsys.readouterr().err


def photos(images: Path, folder: Path) -> list[Path]:
    """Returns photos of several kinds: plain, turned by EXIF, gray, transparent, and more than twice too large."""
    plain = sorted(images.rglob("*.*"))[::7]
    with Image.open(plain[0]) as picture:
        picture = picture.convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.resize((60, 40)).save(folder / "turned.jpg", exif=exif, quality=95)
    picture.convert("L").save(folder / "gray.png")
    picture.resize((300, 211)).save(folder / "large.jpg", quality=95)
    picture.putalpha(picture.convert("L"))
    picture.save(folder / "alpha.png")
    return [*plain, *sorted(folder.iterdir())]


def test_the_page_in_a_browser_gives_the_answers_of_predict(finished: Run, images: Path, tmp_path: Path):
    if not DOWNLOADED.is_file():
        pytest.skip(f"there is no {DOWNLOADED}; `resnet-tf export RUN --format web` downloads it")
    pytest.importorskip("onnx")
    exported = load_exported(finished, mirror=False)
    folder = tmp_path / "web"
    work = tmp_path / "work"
    work.mkdir()
    Converters(exported, None, work, runtime_of(str(DOWNLOADED))).write(Target("web"), folder)
    (tmp_path / "photos").mkdir()
    files = photos(images, tmp_path / "photos")
    expected = predict_images(finished, files)
    with chromium() as browser, served(folder) as address, opened(browser, address) as page:
        page.locator("#told", has_text="ready").wait_for()
        for (_, row), file in zip(expected.iterrows(), files, strict=True):
            found = answered(page, file.name, file.read_bytes())
            difference = max(abs(found[name] - row[f"p:{name}"]) for name in exported.classes)
            # libjpeg decodes the large one smaller, for which means of blocks stand here.
            assert difference < (0.03 if file.name == "large.jpg" else 1e-3), file.name
        cmyk = io.BytesIO()
        Image.new("CMYK", (40, 30)).save(cmyk, "JPEG")
        chosen = {"name": "<b>cmyk.jpg", "mimeType": "", "buffer": cmyk.getvalue()}
        page.set_input_files("#files", [chosen])
        page.locator(".card.is-wrong").wait_for()
        assert "<b>cmyk.jpg" in page.locator(".card").inner_text()
        assert "CMYK" in page.locator(".card").inner_text()
        model = (folder / "model.onnx").rename(tmp_path / "model.onnx")
        with opened(browser, address, allowed="status of 404") as later:
            later.locator("#told", has_text="cannot be loaded").wait_for()
            model.rename(folder / "model.onnx")  # the host has it again
            assert len(answered(later, files[0].name, files[0].read_bytes())) == 3


def answered(page: Any, name: str, content: bytes) -> dict[str, float]:
    """Returns the probabilities that the page's own script computes for a photo."""
    return page.evaluate(
        """async ([name, content]) => {
          const { answer } = await import("./answer.js");
          const { classes } = await answer(new File([new Uint8Array(content)], name));
          return Object.fromEntries(classes.map(({ name, probability }) => [name, probability]));
        }""",
        [name, list(content)],
    )
