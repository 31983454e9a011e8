"""What photos look like, in a few numbers by which they are divided into parts: brightness, sharpness, size, shape."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import laplace

from pipelines.console.terminal import progress
from pipelines.data.pillow_decode import decode_pillow, open_image
from pipelines.data.table import further_columns
from pipelines.data.value_range import ValueRange

# The longer side at which brightness and sharpness are measured, in pixels; larger photos would all look sharper or
# blurred by their size alone.
_SIDE = 256
_THREADS = 4
_FIRST_TURNED = 5  # EXIF orientation from which on height and width are exchanged
_ORIENTATIONS = {1: "upright", 2: "mirrored", 3: "upside down", 4: "upside down", 6: "turned", 8: "turned"}


def facts_of(rows: pd.DataFrame, root: Path, value_range: ValueRange, data: str | None) -> pd.DataFrame:
    """Returns what photos look like, and what the user's CSV says of them beside their classes.

    Args:
        rows: Rows of a manifest.
        root: Folder that their paths are relative to.
        value_range: Stored values that become black and white, where there are more than 8 bits.
        data: Folder or CSV of the photos; None, or a place where nothing is, adds nothing.
    """
    facts = appearance_of(rows, root, value_range)
    for name, cells in (further_columns(Path(data)) if data and Path(data).exists() else {}).items():
        facts[name] = [cells.get(path, "") for path in rows["path"]]
    return facts


def appearance_of(rows: pd.DataFrame, root: Path, value_range: ValueRange) -> pd.DataFrame:
    """Returns the facts about photos by which a report divides them into parts.

    Args:
        rows: Rows of a manifest.
        root: Folder that their paths are relative to.
        value_range: Stored values that become black and white, where there are more than 8 bits.

    Returns:
        Table with a row per photo and the columns brightness (mean gray level, 0 … 1), sharpness (deviation of the
        Laplacian of the gray levels, 0 … 1, at 256 pixels), shorter side (in pixels), width / height, orientation (by
        EXIF) and file type. Brightness and sharpness are NaN for a photo that cannot be read.
    """
    files = [root / path for path in rows["path"]]
    with ThreadPoolExecutor(_THREADS) as threads:
        seen = list(progress(threads.map(lambda file: _seen(file, value_range), files), len(files), ""))
    height, width = (rows[name].to_numpy(float) for name in ("height", "width"))
    turned = rows["orientation"].to_numpy(int) >= _FIRST_TURNED
    height, width = np.where(turned, width, height), np.where(turned, height, width)
    return pd.DataFrame(
        {
            "brightness": [brightness for brightness, _ in seen],
            "sharpness": [sharpness for _, sharpness in seen],
            "shorter side": np.minimum(height, width),
            "width / height": width / height,
            "orientation": [_ORIENTATIONS.get(int(turn), "turned and mirrored") for turn in rows["orientation"]],
            "file type": [file.suffix.lower().removeprefix(".") or "none" for file in files],
        }
    )


def _seen(file: Path, value_range: ValueRange) -> tuple[float, float]:
    try:
        gray = _gray(file, value_range).astype(np.float32) / 255.0
    except Exception:  # Pillow's decoders raise many kinds of errors for damaged bytes
        return float("nan"), float("nan")
    return float(gray.mean()), float(laplace(gray).std())


def _gray(file: Path, value_range: ValueRange) -> np.ndarray:
    """Returns the gray levels of a photo, its longer side at most `_SIDE` pixels."""
    with open_image(file) as opened:
        if opened.format == "JPEG":  # decodes no more than is needed
            opened.draft("L", (_SIDE, _SIDE))
            picture: Any = opened.convert("L")
        else:
            picture = Image.fromarray(decode_pillow(file, value_range)).convert("L")
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return np.asarray(picture)
