"""Finds damage that Pillow overlooks and TensorFlow does not, and files that take decoders very long.

TensorFlow decodes plain PNG files in training and all PNG files in serving. It refuses a file whose check sums are
wrong or whose end is missing, and Pillow reads such a file without a word.
"""

import re
import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_IHDR = 13
_MAX_SIDE = 1_000_000  # libpng's limit for each side of a picture
_INFLATED = 1 << 20
_PALETTE, _ENTRIES = 3, 256

# A progressive JPEG of a camera or an editor has about ten scans. A decoder goes through all pixels in each of them.
MAX_SCANS = 100
MAX_SCANNED_PIXELS = 2_000_000_000
_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_WITHOUT_LENGTH = (0x01, 0xD8)
_END_OF_IMAGE, _START_OF_SCAN = 0xD9, 0xDA


def damage_of(content: bytes) -> str:
    """Returns why no decoder should get a PNG or JPEG file, "" if there is no reason; other formats pass."""
    if content.startswith(PNG_SIGNATURE):
        return _png_damage(content)
    if content.startswith(_JPEG) and content.find(_END, content.rfind(_SCAN)) < 0 and not _walk(content)[1]:
        return "a JPEG that is cut off: its end is missing"  # where zeros stand in its place, Pillow does not notice
    return ""


def too_many_scans(content: bytes, pixels: int) -> str:
    """Returns why a JPEG file would take a decoder very long, "" where it would not.

    Args:
        content: The file's bytes.
        pixels: Number of the picture's pixels.
    """
    if not content.startswith(_JPEG) or not _scans_exceed(content.count(_SCAN), pixels):
        return ""  # the pair of bytes can also stand in a thumbnail or behind the picture, but is never missing
    scans = scans_of(content)
    return f"a JPEG of {scans} scans, which would take very long; save it anew" if _scans_exceed(scans, pixels) else ""


def scans_of(content: bytes) -> int:
    """Returns the number of scans of a JPEG file's first picture (ITU-T T.81, annex B)."""
    return _walk(content)[0]


def _walk(content: bytes) -> tuple[int, bool]:
    """Returns the number of scans of a JPEG file's first picture, and whether the picture's end is there."""
    scans, place = 0, len(_JPEG)
    while found := _MARKER.search(content, place):
        marker, place = content[found.start() + 1], found.end()
        if marker == _END_OF_IMAGE:
            return scans, True
        scans += marker == _START_OF_SCAN
        if marker not in _WITHOUT_LENGTH:
            place += int.from_bytes(content[place : place + 2], "big")
    return scans, False


def _scans_exceed(scans: int, pixels: int) -> bool:
    return scans > MAX_SCANS or (scans * pixels > MAX_SCANNED_PIXELS and scans > 1)


def _png_damage(content: bytes) -> str:
    """Checks everything that the PNG specification (ISO/IEC 15948) lets a decoder rely on, but for the pixels."""
    place, colours, seen_palette = len(PNG_SIGNATURE), -1, False
    data: list[memoryview] = []
    while True:
        if place + 12 > len(content):
            return f"a PNG that is cut off: its end is missing after {len(content):,} bytes"
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if not kind.isalpha():
            return "a damaged PNG: one of its parts has no proper name"
        if end > len(content):
            return f"a PNG that is cut off within its part {_printable(kind)}"
        if zlib.crc32(memoryview(content)[place + 4 : end - 4]) != int.from_bytes(content[end - 4 : end], "big"):
            return f"a damaged PNG: the check sum of its part {_printable(kind)} is wrong"
        body = memoryview(content)[place + 8 : end - 4]
        if (place == len(PNG_SIGNATURE)) != (kind == b"IHDR"):
            return "a damaged PNG: its parts are in a wrong order"
        if kind == b"IHDR":
            if length != _IHDR:
                return "a damaged PNG: its header has a wrong length"
            width, height, _, colours, *methods = struct.unpack(">IIBBBBB", body)
            if methods[:2] != [0, 0] or methods[2] > 1:
                return "a damaged PNG: its header names an unknown method"
            if max(width, height) > _MAX_SIDE:
                return f"a PNG of {width}×{height} pixels; a side of more than {_MAX_SIDE:,} is not decoded"
        elif kind == b"PLTE":
            if colours == _PALETTE and (length % 3 or not 0 < length <= 3 * _ENTRIES or seen_palette or data):
                return "a damaged PNG: its palette is wrong"
            seen_palette = True
        elif kind == b"IDAT":
            if colours == _PALETTE and not seen_palette:
                return "a damaged PNG: its palette is missing"
            data.append(body)
        elif kind == b"IEND":
            return _pixel_damage(data)
        elif kind[0:1].isupper():
            return f"a PNG with a part {_printable(kind)} that decoders do not know"
        place = end


def _pixel_damage(data: list[memoryview]) -> str:
    """Inflates the pixels, and forgets them: zlib compares their check sum at their end, where Pillow may not look."""
    stream = zlib.decompressobj()
    try:
        for part in data:
            rest: bytes | memoryview = part
            while len(rest) and not stream.eof:
                stream.decompress(rest, _INFLATED)
                rest = stream.unconsumed_tail
        while not stream.eof and stream.decompress(b"", _INFLATED):
            pass
    except zlib.error:
        return "a damaged PNG: its compressed pixels or their check sum are wrong"
    return "" if stream.eof else "a PNG that is cut off: the end of its pixels is missing"


def _printable(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))
