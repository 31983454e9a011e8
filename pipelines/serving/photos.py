"""The photos that exports are measured on and calibrated with, each decoded once for all formats."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.sample import CLASSES, draw_image
from pipelines.evaluation.integrity import check_same_images
from pipelines.images.decode import decode_scaled
from pipelines.images.stream import InputSpec
from resnet_tf.errors import UserError

# At most so many photos; more take longer and hardly change the interval of the accuracy.
MEASURED, CALIBRATED = 1000, 300
# The split that every model has learned from, and what stands for one where a network came without photos.
LEARNED, DRAWN = "train", "drawn"
# The calibration's photos take no more room than this, in bytes.
_ROOM = 512 * 2**20
_DRAWN_SIZE = 256
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Photos:
    """Photos of a run, as many of them as are wanted.

    Args:
        rows: Rows of the run's manifest; none stands for drawn images, where a network came without its own.
        root: Folder that their paths are relative to.
        spec: What the network sees of them.
        split: Split that they are from.
    """

    rows: pd.DataFrame
    root: Path
    spec: InputSpec
    split: str

    def __len__(self) -> int:
        return len(self.rows) or len(CLASSES)

    def labels(self, classes: list[str]) -> np.ndarray | None:
        """Returns the number of each photo's class, or None for drawn images."""
        return np.array([classes.index(label) for label in self.rows["label"]]) if len(self.rows) else None

    def pictures(self) -> Iterator[np.ndarray]:
        """Yields upright pictures, uint8 [height, width, 3].

        JPEG files are decoded at the scale that the view needs, as `predict` does.
        """
        if self.rows.empty:
            for name in CLASSES:
                yield np.asarray(draw_image(name, _DRAWN_SIZE, np.random.default_rng(0)))
            return
        for row in self.rows.itertuples():
            path = self.root / str(row.path)
            shape = tf.constant([row.height, row.width], tf.int32)
            with path.open("rb") as file:
                is_jpeg = file.read(len(_JPEG)) == _JPEG and row.decoder == "tensorflow"
            ratio = self.spec.evaluation_region(shape).ratio_index() if is_jpeg else tf.constant(0)
            facts = tf.constant(str(path)), tf.constant(row.decoder), tf.constant(row.orientation, tf.int32)
            yield decode_scaled(*facts, ratio, self.spec.value_range).numpy()


def held_out(manifest: pd.DataFrame, root: Path, spec: InputSpec, most: int = MEASURED) -> Photos:
    """Returns photos of the test split, or of validation if there is no test.

    A model that has learned from all images is measured on some of these. Its accuracy there says how an export
    differs, and not how good it is.

    Args:
        manifest: Manifest of the run.
        root: Folder that its paths are relative to.
        spec: What the network sees of the photos.
        most: Number of photos at most, evenly chosen.
    """
    splits = set(manifest["split"])
    split = next((name for name in ("test", "val", LEARNED) if name in splits), DRAWN)
    return _chosen(manifest[manifest["split"] == split], root, spec, split, most)


def for_calibration(manifest: pd.DataFrame, root: Path, spec: InputSpec, most: int = CALIBRATED) -> Photos:
    """Returns photos of the training split, evenly chosen, so that classes have their shares.

    Raises:
        UserError: The run has none.
    """
    rows = manifest[manifest["split"] == LEARNED]
    if rows.empty:
        raise UserError("int8 takes its ranges from training photos, and this run has none; choose another --precision")
    return _chosen(rows, root, spec, LEARNED, most)


def _chosen(rows: pd.DataFrame, root: Path, spec: InputSpec, split: str, most: int) -> Photos:
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    chosen = rows.iloc[places]
    check_same_images(chosen, root)
    return Photos(chosen, root, spec, split)


def save_calibration(photos: Photos, folder: Path) -> tuple[Path, Path]:
    """Writes photos for the converters.

    Returns:
        An archive of the pictures, and an array of the images that the view makes of them.
    """
    pictures, views, room = dict[str, np.ndarray](), [], 0
    for number, picture in enumerate(photos.pictures()):
        room += picture.nbytes
        if room > _ROOM and pictures:
            break
        pictures[f"{number:05}"] = picture
        views.append(photos.spec.for_evaluation(tf.constant(picture)).numpy())
    whole, seen = folder / "photos.npz", folder / "views.npy"
    np.savez(whole, **pictures, allow_pickle=False)
    np.save(seen, np.stack(views), allow_pickle=False)
    return whole, seen
