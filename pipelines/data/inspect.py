"""Inspects image files: checks by its content whether a file is an image, and finds what is odd about it."""

import hashlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from PIL import Image, ImageFile

from pipelines.data.damage import damage_of, too_many_scans
from pipelines.data.formats import EXTENSIONS, name_of, name_of_raw
from pipelines.data.machine import is_machine_failure, machine_failure, reason_of
from pipelines.data.pillow_decode import decode_opened, open_image, stored_kind
from pipelines.data.similar import thumbnail
from pipelines.data.value_range import Values, look_at_values
from pipelines.data.walk import lies_in
from resnet_tf.errors import UserError

MAX_FILE_BYTES = 512 * 2**20
TINY_PIXELS = 32
HUGE_PIXELS = 40_000_000
UNREADABLE, MISSING, FORBIDDEN = NOT_READ = ("unreadable", "missing", "no_permission")
# A picture whose thumbnail has no brighter level is seen as black, such as a mask with the numbers of its classes.
DARK = 15
_BATCH = 4096
_LONGEST_REASON = 160  # characters of what a decoder says
_ORIENTATION_TAG = 0x0112
# A thumbnail is made from a picture that is decoded with at least this many pixels on each side, if it has them. The
# correlation of two thumbnails is then within 0.007 of that from the full pictures; with 32 pixels it differs by up to
# 0.04.
_DRAFT_PIXELS = 64


@dataclass(frozen=True)
class ImageFacts:
    """What an inspection finds out about a file.

    Args:
        width: Width of the stored picture, in pixels; 0 if the file is unreadable.
        height: Height of the stored picture, in pixels; 0 if the file is unreadable.
        orientation: EXIF orientation, 1 … 8.
        decoder: "tensorflow" if TensorFlow decodes the same RGB picture as Pillow, otherwise "pillow".
        sha256: SHA-256 of the file's bytes; empty if there are none to read.
        problems: Codes of problems: unreadable, missing, no_permission, wrong_extension, animated, unusual_mode,
            rotated, tiny, huge, dark.
        reason: Problems in words, such as why the file is unreadable or which mode it has; empty if there are none.
        thumbnail: 1,280 gray levels for comparing pictures, see `pipelines.data.similar`; empty if the file is
            unreadable.
        stored_values: Which values are stored, if they have more than 8 bits; see `pipelines.data.value_range`.
    """

    width: int = 0
    height: int = 0
    orientation: int = 1
    decoder: str = "pillow"
    sha256: str = ""
    problems: tuple[str, ...] = ()
    reason: str = ""
    thumbnail: bytes = b""
    stored_values: str = ""

    @property
    def readable(self) -> bool:
        return not set(NOT_READ) & set(self.problems)


def inspect_image(path: Path, root: Path | None) -> ImageFacts:
    """Reads and decodes one file completely, and recognizes its format by the content, not by the name.

    Args:
        path: Path of the file.
        root: Folder that a link must not lead out of; None allows links to anywhere.

    Raises:
        MachineFailure: The machine, and not the file, is at fault: no memory, no handles, a disk that fails.
    """
    digest = ""
    try:
        if root is not None and not lies_in(path, os.path.realpath(root)):
            return _unreadable("a link that leads out of the folder")
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return _unreadable("a pipe, socket or device, and not a file")
        if status.st_size > MAX_FILE_BYTES:
            return _unreadable(f"{status.st_size:,} bytes, more than {MAX_FILE_BYTES:,}")
        content = path.read_bytes()
        if not content:
            return _unreadable("an empty file")
        digest = hashlib.sha256(content).hexdigest()
        return _decode_completely(content, path.suffix.lower(), digest)
    except FileNotFoundError:
        return _not_read(MISSING, "a link to a file that is missing" if path.is_symlink() else "missing")
    except PermissionError:
        return _not_read(FORBIDDEN, "a file that there is no permission to read")
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged bytes
        if is_machine_failure(error):
            raise machine_failure(path, reason_of(error)) from error
        return _unreadable(_reason(error, content if digest else b""), digest)


def inspect_images(
    paths: Iterable[Path], root: Path | None, on_done: Callable[[Iterator[ImageFacts]], Iterable[ImageFacts]]
) -> list[ImageFacts]:
    """Inspects many files in threads, since Pillow decodes outside Python's lock; see `inspect_image`.

    Args:
        paths: Paths of the files.
        root: Folder that a link must not lead out of; None allows links to anywhere.
        on_done: Function that receives the results one by one as they arrive and passes them on, for a progress bar.

    Returns:
        The facts, in the order of the paths.
    """
    waiting = iter(paths)

    def results(pool: ThreadPoolExecutor) -> Iterator[ImageFacts]:
        """Yields the results in batches of tasks, because a million tasks at once would take too much memory."""
        while batch := list(islice(waiting, _BATCH)):
            yield from pool.map(lambda path: inspect_image(path, root), batch)

    silence_decoders()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(on_done(results(pool)))


def silence_decoders() -> None:
    """Turns off warnings of decoders: the problem codes already say it, and it is no reason to leave a picture out.

    Filters belong to the whole process, and pictures are looked at in threads while a program does other things. So
    this one is narrow and stays: to restore the filters at the end would undo what the program has set meanwhile.
    """
    warnings.filterwarnings("ignore", module=r"(PIL|pipelines\.(data|images))\.")


def _decode_completely(content: bytes, extension: str, digest: str) -> ImageFacts:
    with open_image(io.BytesIO(content)) as image:  # refuses decompression bombs by their header
        width, height = image.size
        stored_format, mode = image.format or "", image.mode
        refused = name_of_raw(image) or damage_of(content) or too_many_scans(content, width * height)
        if refused:
            return _unreadable(refused, digest)
        oddities, kind = _mode_oddities(image), stored_kind(image)
        frames = getattr(image, "n_frames", 1)
        orientation = int(image.getexif().get(_ORIENTATION_TAG, 1))
        orientation = orientation if 1 <= orientation <= 8 else 1
        image.seek(0)
        with_tensorflow = (
            mode in ("RGB", "L") and "alpha" not in oddities and stored_format in ("JPEG", "MPO", "PNG") and not kind
        )
        if with_tensorflow:
            small, values = _thumbnail_of_draft(image, orientation), None
        else:
            small, values = _thumbnail_of_decoded(content)
    found = {
        "wrong_extension": f"{stored_format} named {extension or 'without extension'}"
        if extension not in EXTENSIONS[stored_format]
        else "",
        "animated": f"{frames} frames" if frames > 1 and stored_format != "MPO" else "",
        "unusual_mode": " and ".join(oddities),
        "rotated": f"EXIF orientation {orientation}" if orientation != 1 else "",
        "tiny": f"{width}×{height} pixels" if min(width, height) < TINY_PIXELS else "",
        "huge": f"{width * height / 1e6:.0f} megapixels" if width * height > HUGE_PIXELS else "",
        "dark": f"nearly black: no brighter than {max(small)} of 255" if max(small) <= DARK and not values else "",
    }
    return ImageFacts(
        width=width,
        height=height,
        orientation=orientation,
        decoder="tensorflow" if with_tensorflow else "pillow",
        sha256=digest,
        problems=tuple(code for code, words in found.items() if words),
        reason=", ".join(words for words in found.values() if words),
        thumbnail=small,
        stored_values=str(values) if values else "",
    )


def _thumbnail_of_draft(image: ImageFile.ImageFile, orientation: int) -> bytes:
    """Returns the thumbnail of a picture; of a JPEG, all bytes are read, to find damage, but few pixels computed."""
    width, height = image.size
    image.draft("L", (max(width // 8, min(width, _DRAFT_PIXELS)), max(height // 8, min(height, _DRAFT_PIXELS))))
    image.load()
    return thumbnail(image, orientation)


def _thumbnail_of_decoded(content: bytes) -> tuple[bytes, Values | None]:
    """Returns the thumbnail of a picture and its stored values, if these have more than 8 bits.

    The file is decoded as the stream decodes it, so that the stream can decode whatever is found to be readable here.
    """
    with open_image(io.BytesIO(content)) as image:
        picture, stored = decode_opened(image, lambda: open_image(io.BytesIO(content)))
    values = None if stored is None else look_at_values(stored)
    del stored  # a large picture leaves its memory to the thumbnail
    return thumbnail(Image.fromarray(picture), 1), values


def _mode_oddities(image: ImageFile.ImageFile) -> list[str]:
    """Returns, in words, how a picture differs from 8-bit RGB and gray.

    The picture must not be decoded yet, because afterwards it no longer tells how many bits were stored.
    """
    mode = image.mode
    names = {"CMYK": "CMYK", "P": "palette", "PA": "palette", "1": "1-bit", "I": "32-bit", "F": "32-bit"}
    oddities = [names[mode]] if mode in names else []
    oddities += ["16-bit"] if stored_kind(image) and mode not in ("I", "F") else []
    oddities += ["alpha"] if image.has_transparency_data else []
    return oddities or ([] if mode in ("RGB", "L") else [mode])


def _unreadable(reason: str, digest: str = "") -> ImageFacts:
    return _not_read(UNREADABLE, reason, digest)


def _not_read(code: str, reason: str, digest: str = "") -> ImageFacts:
    return ImageFacts(sha256=digest, problems=(code,), reason=reason)


def _reason(error: Exception, content: bytes) -> str:
    """Says why a file cannot be read: what it is, where no decoder knows it, and otherwise what its decoder says."""
    if "cannot identify image file" in str(error):
        return damage_of(content) or name_of(content)
    first = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, UserError) or not first:
        return first or type(error).__name__
    return first[:_LONGEST_REASON]
