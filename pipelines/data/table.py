"""Reads a CSV that names images: path,label[,split][,group], with paths relative to the CSV's folder."""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from pipelines.config.shared import SPLITS
from pipelines.data.layout import split_of
from resnet_tf.errors import UserError, without_middle

COLUMNS = ("path", "label", "split", "group")
_WANTED = "DATA must be a folder, or a CSV with the columns path,label[,split][,group]"
_PHOTO = "name the folder that holds the class folders"
_UNPACK = "unpack it, and name the folder that comes out"
_SAVE = "save the table as CSV (UTF-8)"
# What a file begins with: (its bytes, their offset, what it is, what to do).
_SIGNATURES = (
    (b"PK\x03\x04", 0, "a ZIP archive or an office document", f"{_UNPACK}, or {_SAVE}"),
    (b"PK\x05\x06", 0, "an empty ZIP archive", _UNPACK),
    (b"\x1f\x8b", 0, "a gzip archive", _UNPACK),
    (b"BZh", 0, "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\0", 0, "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", 0, "a Zstandard archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", 0, "a RAR archive", _UNPACK),
    (b"ustar", 257, "a tar archive", _UNPACK),
    (b"\xd0\xcf\x11\xe0", 0, "an old office document", _SAVE),
    (b"PAR1", 0, "a Parquet table", _SAVE),
    (b"SQLite format 3\0", 0, "an SQLite database", _SAVE),
    (b"\x89HDF", 0, "an HDF5 file", _SAVE),
    (b"%PDF", 0, "a PDF", _SAVE),
    (b"\xff\xd8\xff", 0, "a JPEG picture", _PHOTO),
    (b"\x89PNG", 0, "a PNG picture", _PHOTO),
    (b"GIF8", 0, "a GIF picture", _PHOTO),
    (b"II*\0", 0, "a TIFF picture", _PHOTO),
    (b"MM\0*", 0, "a TIFF picture", _PHOTO),
    (b"WEBP", 8, "a WebP picture", _PHOTO),
    (b"ftyp", 4, "a HEIC, AVIF or MP4 file", _PHOTO),
)
_SEPARATORS = (",", ";", "\t")
# Line of the CSV, path, label, split, group.
Row = tuple[int, str, str, str, str]


def table_rows(file: Path) -> list[tuple[str, str, str, str]]:
    """Reads the rows of a CSV: path relative to its folder, label, split and group ("" where it does not say).

    Paths may be written with backslashes, and may be absolute where they lie in the CSV's folder.

    Args:
        file: The CSV.

    Returns:
        One row per file; not all of the files need to exist.

    Raises:
        UserError: It is no such table, names no file, one file twice, or files none of which exists.
    """
    rows: list[tuple[str, str, str, str]] = []
    lines: dict[str, int] = {}
    for line, path, label, split, group in _cells(file):
        where = f"line {line} of {str(file)!r}"
        inside = _relative_path(path, file.parent, where)
        if not label:
            raise UserError(f"{where}: the label is empty")
        known = split_of(split) if split else ""
        if known is None:
            raise UserError(f"{where}: the split must be {', '.join(SPLITS)} or empty, received {split!r}")
        if inside in lines:
            raise UserError(f"{str(file)!r} names {inside!r} more than once, in lines {lines[inside]} and {line}")
        lines[inside] = line
        rows.append((inside, label, known, group))
    if not rows:
        raise UserError(
            f"no images in {str(file)!r}: it has a header only; it must have one line per image, with path and label"
        )
    _check_some_exist(file, lines)
    return rows


def refuse_other_files(file: Path, wanted: str) -> None:
    """Checks that a file is there and is none of the kinds that are often taken for a CSV.

    Args:
        file: File that shall be a CSV.
        wanted: What is wanted instead, in words.

    Raises:
        UserError: It is missing, cannot be read, or is of another kind.
    """
    try:
        if not file.is_file():
            raise UserError(f"there is no file {str(file)!r}; {wanted}")
        with file.open("rb") as opened:
            head = opened.read(512)
    except OSError as error:
        raise UserError(f"cannot read {str(file)!r}: {error.strerror}") from error
    for signature, offset, kind, advice in _SIGNATURES:
        if head[offset:].startswith(signature):
            raise UserError(f"{str(file)!r} is {kind}, and no CSV; {advice if advice == _SAVE else wanted}")
    if b"\0" in head:
        raise UserError(f"{str(file)!r} is not a CSV table: it has bytes that no text has; {wanted}")


def further_columns(file: Path) -> dict[str, dict[str, str]]:
    """Returns the columns of a CSV of images beside path, label, split and group: for each of them, its cells by path.

    Args:
        file: The CSV; a folder has no further columns.

    Raises:
        UserError: It is no such table.
    """
    if file.is_dir():
        return {}
    text = _text(file)
    header = next(iter(text.splitlines()), "")
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_separator(header))
    places = {name: name.strip().casefold() for name in reader.fieldnames or [] if name}
    path = next((name for name, plain in places.items() if plain == "path"), None)
    found: dict[str, dict[str, str]] = {
        name.strip(): {} for name, plain in places.items() if plain and plain not in COLUMNS
    }
    for row in reader:
        if path is None or not (row[path] or "").strip():
            continue
        inside = _relative_path(row[path], file.parent, f"line {reader.line_num} of {str(file)!r}")
        for name, cells in found.items():
            cells[inside] = str(row.get(name) or "").strip()
    return found


def missing_advice(data: Path) -> str:
    """Returns what to know about a CSV's paths where files that it names do not exist."""
    return f"paths are relative to the CSV's folder, {without_middle(str(data.parent.resolve()), 120)!r}"


def _cells(file: Path) -> Iterator[Row]:
    """Yields the cells of each line that is not blank."""
    text = _text(file)
    header = next(iter(text.splitlines()), "")
    if not header.strip():
        raise UserError(f"{str(file)!r} is not a CSV table: its first line is empty; {_WANTED}")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(header))
    try:
        names = [name.strip() for name in next(reader)]
        places = _places(names, file)
        for cells in reader:
            if not any(map(str.strip, cells)):
                continue
            if any(cell.strip() for cell in cells[len(names) :]):
                raise UserError(
                    f"line {reader.line_num} of {str(file)!r} has {len(cells)} cells, and the header has {len(names)}; "
                    "put names with commas in double quotes"
                )
            found = {
                name: cells[place] if place is not None and place < len(cells) else "" for name, place in places.items()
            }
            yield reader.line_num, found["path"], found["label"].strip(), found["split"].strip(), found["group"].strip()
    except csv.Error as error:
        raise UserError(f"{str(file)!r} is not a CSV table: {error} in line {reader.line_num}; {_WANTED}") from error


def _places(names: list[str], file: Path) -> dict[str, int | None]:
    """Returns the number of each column, from 0; None for one that the table does not have."""
    found = [name.casefold() for name in names]
    for column in ("path", "label"):
        if column not in found:
            shown = ",".join(without_middle(name, 30) for name in names[:6])
            raise UserError(
                f"the CSV {str(file)!r} has no column {column!r}; it must have path,label[,split][,group], it has "
                f"{shown}{',…' if len(names) > 6 else ''}"
            )
    for column in COLUMNS:
        if found.count(column) > 1:
            raise UserError(f"the CSV {str(file)!r} has {found.count(column)} columns named {column!r}; keep one")
    return {column: found.index(column) if column in found else None for column in COLUMNS}


def _separator(header: str) -> str:
    """Returns the character between cells; spreadsheets of some countries write semicolons in place of commas."""
    return next(
        (
            separator
            for separator in _SEPARATORS
            if {"path", "label"} <= {name.strip(' "').casefold() for name in header.split(separator)}
        ),
        ",",
    )


def _text(file: Path) -> str:
    try:
        if not file.is_file():
            raise UserError(f"{str(file)!r} is neither a folder nor a file; {_WANTED}")
        content = _table_bytes(file)
    except OSError as error:
        raise UserError(f"cannot read {str(file)!r}: {error.strerror}; {_WANTED}") from error
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{str(file)!r} is not a CSV table in UTF-8: line {line} has the byte 0x{content[error.start]:02x}; {_SAVE}"
        ) from error
    if "\0" in text:
        raise UserError(f"{str(file)!r} is not a CSV table: it has bytes that no text has; {_WANTED}")
    return text


def _table_bytes(file: Path) -> bytes:
    with file.open("rb") as opened:
        head = opened.read(512)
        for signature, offset, kind, advice in _SIGNATURES:
            if head[offset:].startswith(signature):
                raise UserError(f"{str(file)!r} is {kind}, and no folder or CSV; {advice}")
        if b"\0" in head and head[:2] not in (b"\xff\xfe", b"\xfe\xff"):
            raise UserError(f"{str(file)!r} is not a CSV table: it has bytes that no text has; {_WANTED}")
        return head + opened.read()


def _relative_path(path: str, folder: Path, where: str) -> str:
    """Returns a path of the table relative to the table's folder.

    Raises:
        UserError: It is empty, or leads out of the folder.
    """
    if not path.strip():
        raise UserError(f"{where}: the path is empty")
    root = os.path.abspath(folder)
    # As it stands, without blanks around it, and with slashes, as all paths of a manifest have them.
    readings = (path, path.strip(), path.replace("\\", "/"), path.strip().replace("\\", "/"))
    for reading in dict.fromkeys(readings):
        inside = _inside(reading, root)
        if inside and os.path.lexists(os.path.join(root, inside)):
            return inside
    inside = _inside(readings[-1], root)
    if not inside or PureWindowsPath(path.strip()).drive:
        raise UserError(
            f"{where}: the path {path!r} leads out of the CSV's folder, {without_middle(root, 80)!r}; paths are "
            "relative to it, so move the CSV to a folder above the images"
        )
    return inside


def _inside(path: str, root: str) -> str:
    """Returns a path relative to a folder without links in its name, "" if it does not lie in it."""
    if os.path.isabs(path):
        real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
        tries = [os.path.relpath(path, root), os.path.relpath(real, os.path.realpath(root))]
    else:
        tries = [os.path.relpath(os.path.join(root, path), root)]
    return next((found for found in tries if found != "." and found.split("/")[0] != ".."), "")


def _check_some_exist(file: Path, lines: dict[str, int]) -> None:
    if any(os.path.lexists(file.parent / path) for path in lines):
        return
    path, line = next(iter(lines.items()))
    there = "; there are such files in the current folder, so move the CSV there" if os.path.exists(path) else ""
    raise UserError(
        f"not one of the {len(lines)} files that {str(file)!r} names exists, such as {path!r} in line {line}; "
        f"{missing_advice(file)}{there}"
    )
