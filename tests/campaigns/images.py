"""Damages image files of all formats at random, and compares the audit's verdict with what the decoders do.

    python -m tests.campaigns.images --count 1200 --seed 0

A file that the audit calls readable must be decoded by training, whole and in the evaluation's view, and to a picture
of the size that the audit has found. If it is JPEG or PNG, serving must decode it as well, to the same view. The
audit must not fail in any other way than by its verdict. Exit code 1 says that some file did not hold to this.
"""

import argparse
import io
import os
import random
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.data.inspect import ImageFacts, inspect_image
from pipelines.images.decode import decode_file, decode_region, decode_region_of_bytes
from pipelines.images.stream import InputSpec

VIEW = InputSpec(32)
_SERVED = (b"\xff\xd8\xff", b"\x89PNG")
_BEHIND_THE_SIGNATURE = 8  # so that the damaged file is still one of its format


def good_files(seed: int) -> dict[str, bytes]:
    """Returns a file of each kind that some decoder may treat in its own way, by name."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:60, :88]
    noise = rng.normal(0, 12, (60, 88, 3))
    array = np.clip(np.stack([x * 2, y * 3, x + y], -1) + noise, 0, 255).astype(np.uint8)
    rgb, gray = Image.fromarray(array), Image.fromarray(array[..., 0])
    alpha = rgb.copy()
    alpha.putalpha(gray)
    gray_alpha = gray.copy()
    gray_alpha.putalpha(gray)
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    twelve = Image.fromarray(array[..., 0].astype(np.uint16) * 16)
    numbers = Image.fromarray(array[..., 0].astype(np.float32) / 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "baseline.jpg": _encoded(rgb, "JPEG"),
        "progressive.jpg": _encoded(rgb, "JPEG", progressive=True),
        "gray.jpg": _encoded(gray, "JPEG"),
        "restarts.jpg": _encoded(rgb, "JPEG", restart_marker_rows=1, subsampling=0),
        "turned.jpg": _encoded(rgb, "JPEG", exif=exif),
        "cmyk.jpg": _encoded(rgb.convert("CMYK"), "JPEG"),
        "rgb.png": _encoded(rgb, "PNG"),
        "gray.png": _encoded(gray, "PNG"),
        "turned.png": _encoded(rgb, "PNG", exif=exif),
        "palette.png": _encoded(palette, "PNG"),
        "alpha.png": _encoded(alpha, "PNG"),
        "gray_alpha.png": _encoded(gray_alpha, "PNG"),
        "bitmap.png": _encoded(gray.convert("1"), "PNG"),
        "twelve.png": _encoded(twelve, "PNG"),
        "sixteen_rgb.png": sixteen_bit_png(array.astype(np.uint16) * 257),
        "parts.png": in_parts(_encoded(rgb, "PNG"), 500),
        "moving.png": _encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "still.gif": _encoded(palette, "GIF"),
        "moving.gif": _encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "photo.bmp": _encoded(rgb, "BMP"),
        "photo.webp": _encoded(rgb, "WEBP"),
        "lossless.webp": _encoded(alpha, "WEBP", lossless=True),
        "photo.avif": _encoded(rgb, "AVIF"),
        "photo.jp2": _encoded(rgb, "JPEG2000"),
        "photo.ppm": _encoded(rgb, "PPM"),
        "plain.tif": _encoded(rgb, "TIFF"),
        "lzw.tif": _encoded(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tif": _encoded(alpha, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": _encoded(rgb, "TIFF", compression="jpeg"),
        "twelve.tif": _encoded(twelve, "TIFF"),
        "float.tif": _encoded(numbers, "TIFF", compression="tiff_lzw"),
        "pages.tif": _encoded(rgb, "TIFF", save_all=True, append_images=[gray.copy()]),
    }


def sixteen_bit_png(array: np.ndarray) -> bytes:
    """Encodes uint16 [height, width] or [height, width, 2 to 4] as a PNG, which Pillow cannot do in colour."""
    height, width = array.shape[:2]
    colours = {1: 0, 2: 4, 3: 2, 4: 6}[array.size // (height * width)]
    rows = array.reshape(height, -1).astype(">u2").view(np.uint8)
    data = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colours, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, parts))


def in_parts(content: bytes, size: int) -> bytes:
    """Returns a PNG whose pixels stand in many small parts, so that damage can fall between them."""
    parts: list[tuple[bytes, bytes]] = []
    for kind, body in chunks(content):
        cut = [body[at : at + size] for at in range(0, len(body), size)] if kind == b"IDAT" else [body]
        parts += [(kind, piece) for piece in cut]
    return content[:8] + b"".join(map(_chunk, parts))


def chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the name and the body of each part of an undamaged PNG."""
    found, place = [], 8
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        found.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _chunk(part: tuple[bytes, bytes]) -> bytes:
    kind, body = part
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.copy().save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def _without_end(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: -rng.randint(1, 12)])


def _cut_off(content: bytearray, rng: random.Random) -> bytes:
    return bytes(content[: rng.randrange(_BEHIND_THE_SIGNATURE, len(content))])


def _flipped(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        content[rng.randrange(_BEHIND_THE_SIGNATURE, len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _zeroed(content: bytearray, rng: random.Random) -> bytes:
    start, size = rng.randrange(_BEHIND_THE_SIGNATURE, len(content)), rng.choice((1, 4, 16, 64, 512))
    content[start : start + size] = bytes(len(content[start : start + size]))
    return bytes(content)


def _dropped(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(_BEHIND_THE_SIGNATURE, len(content))
    del content[start : start + rng.choice((1, 2, 8, 64, 512))]
    return bytes(content)


def _repeated(content: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(_BEHIND_THE_SIGNATURE, len(content))
    part = content[start : start + rng.choice((1, 4, 12, 64, 512))]
    return bytes(content[:start] + part + content[start:])


def _marked(content: bytearray, rng: random.Random) -> bytes:
    """Puts a marker of JPEG, or a name of a PNG's part, somewhere."""
    words = (b"\xff\xd9", b"\xff\xda", b"\xff\xc4", b"\xff\xd8", b"\xff\xc0", b"\xff\xdb", b"IEND", b"IDAT", b"PLTE")
    word, start = rng.choice(words), rng.randrange(_BEHIND_THE_SIGNATURE, len(content))
    content[start : start + len(word)] = word
    return bytes(content)


def _rebuilt(content: bytearray, rng: random.Random) -> bytes:
    """Changes the parts of a PNG and keeps all check sums right, or makes one wrong; flips bytes of other formats."""
    if not content.startswith(b"\x89PNG"):
        return _flipped(content, rng)
    parts = chunks(bytes(content))
    number, how = rng.randrange(len(parts)), rng.randrange(7)
    kind, body = parts[number]
    if how == 0:
        del parts[number]
    elif how == 1:
        parts.insert(number, parts[rng.randrange(len(parts))])
    elif how == 2:
        rng.shuffle(parts)
    elif how == 3:
        parts[number] = (bytes([rng.choice(b"abIiXxZz"), *kind[1:]]), body)
    elif how == 4:
        parts[number] = (kind, _flipped(bytearray(body + bytes(9)), rng)[: len(body)])
    elif how == 5:
        return _with_other_rows(parts, rng)
    built = bytearray(bytes(content[:8]) + b"".join(map(_chunk, parts)))
    if how == 6:
        end = 8 + sum(12 + len(body) for _, body in parts[: number + 1])
        built[end - rng.randint(1, 4)] ^= 1 << rng.randrange(8)
    return bytes(built)


def _with_other_rows(parts: list[tuple[bytes, bytes]], rng: random.Random) -> bytes:
    """Changes inflated pixels: a wrong filter, missing or surplus rows, or a wrong check sum behind them."""
    pixels = bytearray(zlib.decompress(b"".join(body for kind, body in parts if kind == b"IDAT")))
    how = rng.randrange(4)
    if how == 0:
        pixels[0] = rng.choice((1, 2, 3, 4, 5, 9, 255))
    elif how == 1:
        del pixels[-rng.randint(1, 400) :]
    elif how == 2:
        pixels += bytes(rng.randint(1, 400))
    packed = bytearray(zlib.compress(bytes(pixels)))
    if how == 3:
        packed[-rng.randint(1, 4)] ^= 1
    other = [part for part in parts if part[0] != b"IDAT"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, [*other[:-1], (b"IDAT", bytes(packed)), other[-1]]))


DAMAGES: tuple[Callable[[bytearray, random.Random], bytes], ...] = (
    *(_without_end, _cut_off, _flipped, _zeroed, _dropped, _repeated, _marked, _rebuilt),
)


class Decoders:
    """What training and serving decode with, as graphs that are built once."""

    def __init__(self) -> None:
        path, bit, number, content = (
            tf.TensorSpec([], kind, name="x") for kind in (tf.string, tf.bool, tf.int32, tf.string)
        )
        view = VIEW.evaluation_region
        self.whole = _graph(decode_file, [path, tf.TensorSpec([], tf.string), number])
        self.view = _graph(lambda *arguments: decode_region(*arguments, view), [path, bit, number])
        self.served = _graph(lambda encoded: decode_region_of_bytes(encoded, view), [content])

    def disagreement(self, path: Path, content: bytes, facts: ImageFacts) -> str:
        """Returns how the decoders disagree with the verdict that a file is readable, "" where they do not."""
        orientation, with_pillow = tf.constant(facts.orientation), facts.decoder == "pillow"
        found, error = _tried(self.whole, tf.constant(str(path)), tf.constant(facts.decoder), orientation)
        if found is None:
            return f"training cannot decode it whole: {error}"
        if sorted(found.shape[:2]) != sorted((facts.height, facts.width)):
            return f"training sees {found.shape[1]}×{found.shape[0]} pixels of {facts.width}×{facts.height}"
        view, error = _tried(self.view, tf.constant(str(path)), tf.constant(with_pillow), orientation)
        if view is None:
            return f"training cannot decode a part of it: {error}"
        if content.startswith(_SERVED):
            served, error = _tried(self.served, tf.constant(content))
            if served is None:
                return f"serving cannot decode it: {error}"
            if facts.decoder == "tensorflow" and not content.startswith(b"\x89PNG") and (served != view).any():
                return "serving sees another picture than training"
        return ""


def _graph(function: Callable[..., object], signature: list[tf.TensorSpec]) -> Callable[..., tf.Tensor]:
    return tf.function(function, input_signature=signature, autograph=False)


def _tried(decode: Callable[..., tf.Tensor], *arguments: tf.Tensor) -> tuple[np.ndarray | None, str]:
    try:
        return decode(*arguments).numpy(), ""
    except Exception as error:  # decoders raise many kinds of errors for damaged bytes
        return None, str(error).strip().splitlines()[0][-200:]


def run(count: int, seed: int, keep: Path | None = None) -> tuple[Counter[str], list[str]]:
    """Damages files and compares the verdicts.

    Args:
        count: Number of damaged files.
        seed: Seed of the files and of the damages.
        keep: Folder for the files that the decoders disagree about, or None.

    Returns:
        Number of files by verdict, and a line for each disagreement.
    """
    rng, files, decoders = random.Random(seed), good_files(seed), Decoders()
    names, verdicts, lines = sorted(files), Counter[str](), []
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(count):
            name = names[number % len(names)]
            damage = rng.choice(DAMAGES)
            content = damage(bytearray(files[name]), rng)
            path = Path(folder) / f"{number}_{name}"
            path.write_bytes(content)
            try:
                facts = inspect_image(path, None)
                found = decoders.disagreement(path, content, facts) if facts.readable else ""
            except Exception as error:  # that an audit ends in an error is what this looks for
                facts, found = ImageFacts(problems=("unreadable",)), f"the audit fails: {type(error).__name__}: {error}"
            verdicts["readable" if facts.readable else "refused"] += 1
            if found:
                lines.append(f"{path.name} ({damage.__name__.strip('_')}): {found}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    (keep / path.name).write_bytes(content)
            path.unlink()
    return verdicts, lines


def main() -> int:
    """Runs the campaign and prints its result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1200, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files that the decoders disagree about")
    given = parser.parse_args()
    verdicts, lines = run(given.count, given.seed, given.keep)
    print("\n".join(lines))
    print(
        f"{given.count} damaged files of {len(good_files(given.seed))} kinds, seed {given.seed}: "
        f"{verdicts['readable']} readable, {verdicts['refused']} refused, {len(lines)} disagreements"
    )
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
