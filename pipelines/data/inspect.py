"""Looking at one image file, or many: is it an image, by its content, and what is odd about it."""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageFile

from pipelines.data.similar import thumbnail

# What Pillow may try. Formats that run other programs (EPS) or are no photos are not among them. MPO, which some
# phones and cameras write, is opened as JPEG.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM")
_EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif"},
    "JPEG2000": {".jp2", ".j2k", ".jpx", ".jpf"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm"},
}
MAX_FILE_BYTES = 512 * 2**20
TINY_PIXELS = 32
HUGE_PIXELS = 40_000_000
UNREADABLE = "unreadable"
_BATCH = 4096
_ORIENTATION_TAG = 0x0112
# What a thumbnail is made from has at least so many pixels on each side, where the picture has them. From here on the
# correlation of two thumbnails is within 0.007 of that from the full pictures; from 32 pixels it is up to 0.04 off.
_DRAFT_PIXELS = 64


@dataclass(frozen=True)
class ImageFacts:
    """What one look at a file tells.

    Args:
        width: Of the picture as stored, in pixels; 0 where it is unreadable. Likewise `height`.
        orientation: EXIF orientation, 1 … 8.
        decoder: "tensorflow" where it gives the same RGB picture as Pillow, else "pillow".
        sha256: Of the file's bytes; empty where there are none to read.
        problems: Codes: unreadable, wrong_extension, animated, unusual_mode, rotated, tiny, huge.
        reason: The problems in words, such as why it is unreadable, or which mode it has; empty without any.
        thumbnail: 256 grey levels to compare it by, see `pipelines.data.similar`; empty where it is unreadable.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    decoder: str = "pillow"
    sha256: str = ""
    problems: tuple[str, ...] = ()
    reason: str = ""
    thumbnail: bytes = b""

    @property
    def readable(self) -> bool:
        return UNREADABLE not in self.problems


def inspect_image(path: Path, root: Path | None) -> ImageFacts:
    """Reads and decodes one file completely; the name does not count.

    Args:
        path: The file.
        root: The folder that it must not lead out of; None where it may lead anywhere.
    """
    digest = ""
    try:
        if root is not None and not path.resolve().is_relative_to(root.resolve()):
            return _unreadable("a link that leads out of the folder")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            return _unreadable(f"{size:,} bytes, more than {MAX_FILE_BYTES:,}")
        content = path.read_bytes()
        if not content:
            return _unreadable("an empty file")
        digest = hashlib.sha256(content).hexdigest()
        return _decode_completely(content, path.suffix.lower(), digest)
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged bytes
        return _unreadable(_reason(error), digest)


def inspect_images(
    paths: Iterable[Path], root: Path | None, on_done: Callable[[Iterator[ImageFacts]], Iterable[ImageFacts]]
) -> list[ImageFacts]:
    """`inspect_image` for many files, in parallel; Pillow decodes outside Python's lock.

    Args:
        paths: The files.
        root: As for `inspect_image`.
        on_done: Is given the results one by one as they come, and passes them on (a progress bar).

    Returns:
        The facts, in the order of the paths.
    """
    waiting = iter(paths)

    def results(pool: ThreadPoolExecutor) -> Iterator[ImageFacts]:
        """A million tasks at once would take more memory than their results."""
        while batch := list(islice(waiting, _BATCH)):
            yield from pool.map(lambda path: inspect_image(path, root), batch)

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow warns of what becomes a problem code here
        return list(on_done(results(pool)))


def _decode_completely(content: bytes, extension: str, digest: str) -> ImageFacts:
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:  # refuses decompression bombs by their header
        width, height = image.size
        stored_format, mode = image.format or "", image.mode
        oddities = _mode_oddities(image)
        frames = getattr(image, "n_frames", 1)
        orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
        orientation = orientation if 1 <= orientation <= 8 else 1
        image.seek(0)
        # All bytes of a JPEG are read, few are transformed.
        image.draft("L", (max(width // 8, min(width, _DRAFT_PIXELS)), max(height // 8, min(height, _DRAFT_PIXELS))))
        image.load()
        small = thumbnail(image, orientation)
    plain = mode in ("RGB", "L") and "alpha" not in oddities
    found = {
        "wrong_extension": f"{stored_format} named {extension or 'without extension'}"
        if extension not in _EXTENSIONS[stored_format]
        else "",
        "animated": f"{frames} frames" if frames > 1 and stored_format != "MPO" else "",
        "unusual_mode": " and ".join(oddities),
        "rotated": f"EXIF orientation {orientation}" if orientation != 1 else "",
        "tiny": f"{width}×{height} pixels" if min(width, height) < TINY_PIXELS else "",
        "huge": f"{width * height / 1e6:.0f} megapixels" if width * height > HUGE_PIXELS else "",
    }
    return ImageFacts(
        width=width,
        height=height,
        orientation=orientation,
        decoder="tensorflow" if plain and stored_format in ("JPEG", "MPO", "PNG") else "pillow",
        sha256=digest,
        problems=tuple(code for code, words in found.items() if words),
        reason=", ".join(words for words in found.values() if words),
        thumbnail=small,
    )


def _mode_oddities(image: ImageFile.ImageFile) -> list[str]:
    """What sets a picture apart from 8-bit RGB and gray, in words. Not decoded yet, it still says its bits."""
    mode = image.mode
    names = {"CMYK": "CMYK", "P": "palette", "PA": "palette", "1": "1-bit", "I": "32-bit", "F": "32-bit"}
    stored = str([tile.args for tile in image.tile])  # 16-bit RGB is given as 8-bit RGB
    oddities = [names[mode]] if mode in names else []
    oddities += ["16-bit"] if mode.startswith("I;16") or ";16" in stored else []
    oddities += ["alpha"] if image.has_transparency_data else []
    return oddities or ([] if mode in ("RGB", "L") else [mode])


def _unreadable(reason: str, digest: str = "") -> ImageFacts:
    return ImageFacts(sha256=digest, problems=(UNREADABLE,), reason=reason)


def _reason(error: Exception) -> str:
    if "cannot identify image file" in str(error):
        return "not an image"
    return str(error) or type(error).__name__
