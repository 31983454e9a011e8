"""The training photos of a run, which are looked at in the background, so that answers can name the nearest ones."""

import os
from enum import Enum, auto
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
import pandas as pd

from pipelines.data.manifest import data_root
from pipelines.data.walk import lies_in
from pipelines.evaluation.evidence import Explainer
from pipelines.evaluation.inference import named_images_of
from pipelines.evaluation.integrity import load_run_manifest
from pipelines.evaluation.neighbours import compared, nearest
from pipelines.evaluation.predictions import BATCH_SIZE
from pipelines.images.stream import InputSpec
from pipelines.report.album import small_copy
from pipelines.runs.directory import Run, read_config
from resnet_tf.errors import UserError

# Seconds between two batches, in which somebody who waits for the network gets it.
_PAUSE = 0.02
# Longer side of the copies, in pixels.
_SHOWN = 144


class Looking(Enum):
    """How far the look at the training photos is."""

    NOT = auto()  # it has not begun, or has found nothing to show
    NOW = auto()
    DONE = auto()


class TrainingPhotos:
    """The training photos that answers are compared with.

    Args:
        run: Finished run.
        data: Folder or CSV where its images are now, or None if they have not moved.

    Raises:
        UserError: The run's manifest is damaged, or there is nothing at `data`.
    """

    def __init__(self, run: Run, data: str | None) -> None:
        self.looking = Looking.NOT
        self.said = ""  # in words, how far it is, or why there are no nearest photos
        self._features = np.zeros((0, 0), np.float32)
        self._stop, self._thread = Event(), Thread()
        self._rows, self._root = _rows_of(run, data)
        if self._rows.empty:
            self.said = _why_none(run, data)

    def look(self, explainer: Explainer, network: Lock, spec: InputSpec) -> None:
        """Begins to look at the photos, in a thread that leaves the network to others between two batches."""
        if not self._rows.empty:
            self.looking, self._spec = Looking.NOW, spec
            self._thread = Thread(target=self._look, args=(explainer, network), daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Ends the thread after its current batch."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def nearest_to(self, features: np.ndarray) -> list[dict[str, Any]] | None:
        """Returns the nearest training photos, with small copies of them; None until all have been looked at.

        Args:
            features: float [channels], what the head sees of a photo.

        Raises:
            UserError: They are too few or too many.
        """
        if self.looking is not Looking.DONE:
            return None
        if len(features) != self._features.shape[1]:
            raise UserError(f"a photo has {self._features.shape[1]:,} features, received {len(features):,}")
        found = nearest(features[None], self._features)
        return [
            {
                "path": str(self._rows["path"].iloc[place]),
                "label": str(self._rows["label"].iloc[place]),
                "similarity": float(similarity),
                "picture": small_copy(self._root / self._rows["path"].iloc[place], _SHOWN, self._spec.value_range)[0],
            }
            for place, similarity in zip(found.places[0], found.similarity[0], strict=True)
        ]

    def _look(self, explainer: Explainer, network: Lock) -> None:
        features, seen = [], 0
        try:
            for images in named_images_of(self._rows, self._root, self._spec, BATCH_SIZE):
                if self._stop.wait(_PAUSE):
                    return
                with network:
                    features.append(explainer.features(images))
                seen += len(features[-1])
                self.said = f"{seen:,} of {len(self._rows):,} training photos have been looked at"
        except UserError as error:  # a photo is gone or broken
            self.said = f"no training photos are shown: {error}"
        else:
            self._features = np.concatenate(features)
            self.looking = Looking.DONE
        finally:
            if self.looking is Looking.NOW:
                self.looking = Looking.NOT


def _why_none(run: Run, data: str | None) -> str:
    """Says why there are no training photos to look at."""
    if not (load_run_manifest(run)["split"] == "train").any():
        return "there are no nearest training photos: this network was trained elsewhere, and imported"
    if data is not None:
        return f"none of the run's training photos is in --data {data!r}"
    return "no training photos are where the run found them; --data says where they are"


def _rows_of(run: Run, data: str | None) -> tuple[pd.DataFrame, Path]:
    """Returns the training photos that are there, and the folder that their paths are relative to."""
    manifest = load_run_manifest(run)
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    where = read_config(run.config)["arguments"].get("data") if data is None else data
    if not isinstance(where, str) or (data is None and not Path(where).exists()):
        return rows.iloc[:0], Path()
    root = data_root(where)
    rows, real = rows.iloc[compared(len(rows))], os.path.realpath(root)
    # A manifest that somebody else has written must not make the page show other files.
    there = [lies_in(root / path, real) and (root / path).is_file() for path in rows["path"]]
    return rows[there].reset_index(drop=True), root
