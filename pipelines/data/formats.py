"""Recognizes a file by its first bytes: which image formats are read, what every other file is, and what to do."""

import importlib
import io
from functools import cache
from importlib.util import find_spec

from PIL import ImageFile, TiffImagePlugin

# The formats that Pillow may try. They exclude formats that run other programs (EPS) or do not hold photos. MPO, which
# some phones and cameras write, is opened as JPEG.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM")
EXTENSIONS = {
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "MPO": {".jpg", ".jpeg", ".jpe", ".mpo"},
    "PNG": {".png", ".apng"},
    "GIF": {".gif"},
    "BMP": {".bmp", ".dib"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "AVIF": {".avif", ".avifs"},
    "HEIF": {".heic", ".heif", ".hif", ".heics", ".heifs"},
    "JPEG2000": {".jp2", ".j2k", ".jpx", ".jpf"},
    "PPM": {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"},
}

_CONVERT = "convert it to JPEG or PNG"
_RAW = f"raw data of a camera's sensor; develop it, and {_CONVERT}"
_HEIC = f"HEIC, which is read where pillow-heif is installed; pip install pillow-heif, or {_CONVERT}"
_VIDEO = "a video; save single pictures of it"
_ARCHIVE = "an archive; unpack it"
_DOCUMENT = "a document; save its pictures as JPEG or PNG"
# (offset, first bytes, what it is)
_SIGNATURES = (
    (128, b"DICM", f"DICOM; {_CONVERT}, for example with pydicom"),
    (0, b"8BPS", f"a Photoshop document (PSD); {_CONVERT}"),
    (0, b"8BPB", f"a Photoshop document (PSB); {_CONVERT}"),
    (0, b"gimp xcf", f"a GIMP document (XCF); {_CONVERT}"),
    (0, b"%PDF-", f"PDF, {_DOCUMENT}"),
    (0, b"%!PS", f"PostScript, {_DOCUMENT}"),
    (0, b"\xc5\xd0\xd3\xc6", f"PostScript (EPS), {_DOCUMENT}"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an Office file, {_DOCUMENT}"),
    (0, b"AT&TFORM", f"DjVu, {_DOCUMENT}"),
    (8, b"CR\x02", f"CR2, {_RAW}"),
    (0, b"FUJIFILMCCD-RAW", f"RAF, {_RAW}"),
    (0, b"IIRO", f"ORF, {_RAW}"),
    (0, b"IIRS", f"ORF, {_RAW}"),
    (0, b"MMOR", f"ORF, {_RAW}"),
    (0, b"IIU\x00", f"RW2, {_RAW}"),
    (0, b"FOVb", f"X3F, {_RAW}"),
    (0, b"\x00MRM", f"MRW, {_RAW}"),
    (6, b"HEAPCCDR", f"CRW, {_RAW}"),
    (0, b"\xff\x0a", f"JPEG XL; {_CONVERT}"),
    (0, b"\x00\x00\x00\x0cJXL ", f"JPEG XL; {_CONVERT}"),
    (0, b"II\xbc\x01", f"JPEG XR; {_CONVERT}"),
    (0, b"BPG\xfb", f"BPG; {_CONVERT}"),
    (0, b"FLIF", f"FLIF; {_CONVERT}"),
    (0, b"\x76\x2f\x31\x01", f"OpenEXR; {_CONVERT}"),
    (0, b"#?RADIANCE", f"Radiance HDR; {_CONVERT}"),
    (0, b"SIMPLE  =", f"FITS; {_CONVERT}"),
    (0, b"\x89HDF\r\n\x1a\n", f"HDF5; {_CONVERT}"),
    (0, b"CDF\x01", f"NetCDF; {_CONVERT}"),
    (0, b"\x93NUMPY", f"a NumPy array; {_CONVERT}"),
    (344, b"n+1\x00", f"NIfTI; {_CONVERT}"),
    (0, b"\x00\x00\x01\x00", f"an icon (ICO); {_CONVERT}"),
    (0, b"\x00\x00\x02\x00", f"a cursor (CUR); {_CONVERT}"),
    (0, b"icns", f"an icon (ICNS); {_CONVERT}"),
    (0, b"\xd7\xcd\xc6\x9a", f"WMF; {_CONVERT}"),
    (40, b" EMF", f"EMF; {_CONVERT}"),
    (0, b"DDS ", f"DDS; {_CONVERT}"),
    (0, b"qoif", f"QOI; {_CONVERT}"),
    (0, b"PK\x03\x04", f"a ZIP file, {_ARCHIVE}"),
    (0, b"PK\x05\x06", "an empty ZIP file"),
    (0, b"\x1f\x8b", f"gzip, {_ARCHIVE}"),
    (0, b"BZh", f"bzip2, {_ARCHIVE}"),
    (0, b"\xfd7zXZ\x00", f"xz, {_ARCHIVE}"),
    (0, b"\x28\xb5\x2f\xfd", f"Zstandard, {_ARCHIVE}"),
    (0, b"7z\xbc\xaf\x27\x1c", f"7-Zip, {_ARCHIVE}"),
    (0, b"Rar!\x1a\x07", f"RAR, {_ARCHIVE}"),
    (257, b"ustar", f"tar, {_ARCHIVE}"),
    (0, b"\x1a\x45\xdf\xa3", f"Matroska or WebM, {_VIDEO}"),
    (8, b"AVI ", f"AVI, {_VIDEO}"),
    (0, b"FLV\x01", f"Flash, {_VIDEO}"),
    (0, b"\x00\x00\x01\xba", f"MPEG, {_VIDEO}"),
    (0, b"\x00\x00\x01\xb3", f"MPEG, {_VIDEO}"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", f"Windows Media, {_VIDEO}"),
    (0, b"OggS", "Ogg, which is sound or a video"),
    (8, b"WAVE", "sound"),
    (0, b"ID3", "sound"),
    (0, b"fLaC", "sound"),
    (0, b"SQLite format 3\x00", "a SQLite database"),
    (0, b"\x80\x02", "a Python pickle"),
    (0, b"\x00\x05\x16\x07", "macOS's own notes on another file (AppleDouble); delete it"),
    (0, b"bplist00", "macOS's or iOS's own notes (a property list)"),
    (0, b"version https://git-lfs", "a Git LFS pointer in place of the file; run git lfs pull"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a Windows program"),
)
# Major brands of ISO base media files (ISO/IEC 14496-12), of which some are pictures.
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_DNG_VERSION, _SUBFILE_TYPE, _SUB_DIRECTORIES, _PHOTOMETRIC = 50706, 254, 330, 262
_SAMPLES, _BITS, _SAMPLE_FORMAT = 277, 258, 339
_MOSAICS = (32803, 34892)  # a colour filter array, and linear raw
_TEXT_BYTES = 512
_SHORT = "not an image"


@cache
def pillow_formats() -> tuple[str, ...]:
    """Returns the formats that Pillow may try; HEIC is one of them where pillow-heif is installed."""
    if find_spec("pillow_heif") is None:
        return FORMATS
    importlib.import_module("pillow_heif").register_heif_opener()
    return (*FORMATS, "HEIF")


def name_of(content: bytes) -> str:
    """Returns, in a few words, what a file is that no decoder takes, and what to do about it."""
    if content[4:8] == b"ftyp":
        return _iso_media(content)
    for offset, signature, words in _SIGNATURES:
        if content.startswith(signature, offset):
            return words
    if content.startswith(_TIFF_STARTS):
        return _strange_tiff(content)
    return _text(content) or _known_but_damaged(content) or _SHORT


def name_of_raw(image: ImageFile.ImageFile) -> str:
    """Returns what a TIFF is if it is a camera's raw file, otherwise "".

    Pillow opens DNG, NEF, ARW and the like as TIFF, and shows the preview of a few pixels that stands first in them.
    """
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return ""
    preview = int(tags.get(_SUBFILE_TYPE, 0)) & 1 and _SUB_DIRECTORIES in tags
    if _DNG_VERSION in tags:
        return f"DNG, {_RAW}"
    return f"NEF, ARW or another kind of {_RAW}" if preview or tags.get(_PHOTOMETRIC) in _MOSAICS else ""


def _iso_media(content: bytes) -> str:
    brand = content[8:12]
    if brand in _HEIC_BRANDS:
        if b"avif" in content[16:40]:
            return f"a damaged or unusual AVIF; {_CONVERT}"
        return _HEIC if "HEIF" not in pillow_formats() else f"a damaged HEIC; {_CONVERT}"
    if brand in _AVIF_BRANDS:
        return f"a damaged AVIF, or one that this Pillow cannot read; {_CONVERT}"
    if brand == b"crx ":
        return f"CR3, {_RAW}"
    return f"{'QuickTime' if brand == b'qt  ' else 'MP4'}, {_VIDEO}"


def _strange_tiff(content: bytes) -> str:
    """Says which values a TIFF stores that Pillow cannot read."""
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(content[:8])
        stream = io.BytesIO(content)
        stream.seek(directory.next)
        directory.load(stream)
        bits, samples = tuple(directory.get(_BITS, (1,))), int(directory.get(_SAMPLES, 1))
        if _DNG_VERSION in directory or directory.get(_PHOTOMETRIC) in _MOSAICS:
            return f"DNG or another kind of {_RAW}"
        kinds = {1: "unsigned", 2: "signed", 3: "floating-point"}
        kind = kinds.get(next(iter(directory.get(_SAMPLE_FORMAT, (1,)))), "unusual")
        return (
            f"a TIFF of {samples} {'band' if samples == 1 else 'bands'} of {bits[0]} bits ({kind}), a kind that "
            f"Pillow cannot read; {_CONVERT}"
        )
    except Exception:  # Pillow's parser raises many kinds of errors for damaged bytes
        return "a damaged TIFF"


def _text(content: bytes) -> str:
    start = content[:_TEXT_BYTES]
    if b"\x00" in start:
        return ""
    try:
        words = start.decode("utf-8", "strict" if len(content) <= _TEXT_BYTES else "ignore").lstrip("\ufeff \t\r\n")
    except UnicodeDecodeError:
        return ""
    lower = words.lower()
    if lower.startswith("<svg") or (lower.startswith(("<?xml", "<!--", "<!doctype svg")) and "<svg" in lower):
        return "SVG, a drawing; save it as PNG"
    if lower.startswith(("<!doctype html", "<html")):
        return "a web page, perhaps in place of a picture that could not be downloaded"
    printable = words and all(letter.isprintable() or letter in "\t\r\n\f" for letter in words)
    return f"{_SHORT}, but text" if printable else ""


def _known_but_damaged(content: bytes) -> str:
    starts = ((b"\xff\xd8\xff", "JPEG"), (b"\x89PNG", "PNG"), (b"GIF8", "GIF"), (b"BM", "BMP"))
    name = next((name for start, name in starts if content.startswith(start)), "")
    if not name and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        name = "WebP"
    if not name and (content[4:8] == b"jP  " or content.startswith(b"\xff\x4f\xff\x51")):
        name = "JPEG 2000"
    return f"{_SHORT}, but the start of a damaged {name}" if name else ""
