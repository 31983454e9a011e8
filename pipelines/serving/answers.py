"""Answers about photos that somebody sends: predict's probabilities, what speaks for them, and similar photos."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.named_files import readable_rows
from pipelines.data.pillow_decode import open_image
from pipelines.evaluation.evidence import EXACT, Explainer, smoothed
from pipelines.evaluation.inference import Inference, named_images_of, outputs
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.predictions import BATCH_SIZE, certainty_columns, input_spec_of, probabilities_from
from pipelines.evaluation.run_calibration import load_calibration, temperature_of
from pipelines.images.lost_images import LostImage
from pipelines.report.album import GRID, frame_of, levels_of, packed, small_copy
from pipelines.runs.directory import Run
from pipelines.serving.browser_files import MOST_PIXELS
from pipelines.serving.training_photos import TrainingPhotos

# Classes that the maps of the evidence are for, the likeliest first.
MAPS = 3
# Longer side of the copy of a photo that lies below the maps, in pixels.
_SHOWN = 512
_CURRENT = Path(".")


class Sent(NamedTuple):
    """A photo that somebody has sent.

    Args:
        name: What they call it.
        path: Where its bytes are.
    """

    name: str
    path: Path


class Answers:
    """A run's network, ready for photos. Several threads may ask it; they are answered one after the other.

    Args:
        run: Finished run.

    Raises:
        UserError: A file of the run is damaged.
    """

    def __init__(self, run: Run) -> None:
        model, self.classes = load_network(run)
        self.spec, self.calibration = input_spec_of(run), load_calibration(run)
        self.explainer = Explainer(model)
        self.network = Lock()  # held by whoever computes with the network
        self._photos = Lock()  # held by whoever decodes photos, so that requests do not add up their memory
        self._inference = Inference(model, temperature=temperature_of(run))
        self._inference(tf.zeros([1, self.spec.size, self.spec.size, 3], tf.uint8))  # the first answer comes at once

    def about(self, photos: Sequence[Sent], training: TrainingPhotos | None = None) -> list[dict[str, Any]]:
        """Returns an answer about each photo, in their order.

        The probabilities are those that `predict` gives to the same files.

        Args:
            photos: The photos; at most a batch of them.
            training: The training photos, if the answers are to be explained with maps and the nearest of these.

        Returns:
            For each photo its "name" and either an "error" in words, or "predicted", "confidence", "decision" where the
            run is calibrated, and "probabilities" by class; explained, also "picture", "frame", "evidence", "features"
            and "nearest".
        """
        answers: list[dict[str, Any]] = []
        for group in _decoded_together(photos):
            with self._photos:
                answers += self._about_group(group, training)
        return answers

    def _about_group(self, photos: Sequence[Sent], training: TrainingPhotos | None) -> list[dict[str, Any]]:
        """Returns an answer about each of some photos that are decoded at a time."""
        errors = {number: error for number, photo in enumerate(photos) if (error := _too_large(photo.path))}
        rows, unreadable = readable_rows([photo.path for number, photo in enumerate(photos) if number not in errors])
        place_of = {str(photo.path): number for number, photo in enumerate(photos)}
        errors |= {place_of[str(path)]: f"no readable image: {reason}" for path, reason in unreadable}
        try:
            found = self._about_readable(rows, training) if len(rows) else []
        except LostImage as error:  # the inspection has found no fault in it
            if len(photos) > 1:
                return [self._about_group([photo], training)[0] for photo in photos]
            errors, found = {0: str(error).replace(repr(str(photos[0].path)), "it").partition(";")[0]}, []
        answered = dict(zip((place_of[path] for path in rows["path"]), found, strict=False))
        return [
            {"name": photo.name, **({"error": errors[number]} if number in errors else answered[number])}
            for number, photo in enumerate(photos)
        ]

    def _about_readable(self, rows: pd.DataFrame, training: TrainingPhotos | None) -> list[dict[str, Any]]:
        batches = list(named_images_of(rows, _CURRENT, self.spec, BATCH_SIZE))
        with self.network:
            logits = outputs(self._inference, batches, len(rows), BATCH_SIZE, "")
        probabilities = probabilities_from(logits)
        decisions = certainty_columns(self.calibration, probabilities, self.classes).get("decision")
        answers: list[dict[str, Any]] = []
        for number, row in enumerate(probabilities):
            answers.append({"predicted": self.classes[int(row.argmax())], "confidence": float(row.max())})
            if decisions is not None:
                answers[number]["decision"] = decisions[number]
            answers[number]["probabilities"] = dict(zip(self.classes, row.tolist(), strict=True))
        if training is not None:
            images = np.concatenate([batch.numpy() for batch in batches])
            likeliest = np.argsort(-probabilities, axis=1, kind="stable")[:, :MAPS]
            for answer, more in zip(answers, self._explained(rows, images, likeliest, training), strict=True):
                answer.update(more)
        return answers

    def _explained(
        self, rows: pd.DataFrame, images: np.ndarray, likeliest: np.ndarray, training: TrainingPhotos
    ) -> list[dict[str, Any]]:
        """Returns what explains each answer: a copy of the photo, maps for its likeliest classes, similar photos."""
        with self.network:
            found = self.explainer(images, likeliest)
        method = "parts of the logit" if self.explainer.method == EXACT else self.explainer.method
        explained = []
        for number, path in enumerate(rows["path"]):
            picture, aspect = small_copy(Path(path), _SHOWN, self.spec.value_range)
            frame = frame_of(aspect, self.spec.view, self.spec.crop_fraction)
            explained.append(
                {
                    "picture": picture,
                    "frame": [frame.left, frame.top, frame.width, frame.height],
                    "evidence": {
                        "grid": GRID,
                        "method": method,
                        "maps": {
                            self.classes[label]: packed(levels_of(smoothed(map_, GRID))[0], np.int8)
                            for label, map_ in zip(likeliest[number], found.maps[number], strict=True)
                        },
                    },
                    "features": packed(found.features[number], np.float32),
                    "nearest": training.nearest_to(found.features[number]),
                }
            )
        return explained


def _decoded_together(photos: Sequence[Sent]) -> list[list[Sent]]:
    """Returns the photos in groups, whose readable ones together have no more pixels than one photo may have."""
    groups: list[list[Sent]] = []
    pixels = 0
    for photo in photos:
        width, height = _size_of(photo.path)
        own = width * height if width * height <= MOST_PIXELS else 0  # a larger one is not decoded
        if not groups or pixels + own > MOST_PIXELS:
            groups, pixels = [*groups, []], 0
        groups[-1].append(photo)
        pixels += own
    return groups


def _too_large(path: Path) -> str:
    """Says that a picture claims too many pixels, before one of them is decoded; "" where it does not."""
    width, height = _size_of(path)
    return "" if width * height <= MOST_PIXELS else f"{width}×{height} pixels, more than {MOST_PIXELS:,}"


def _size_of(path: Path) -> tuple[int, int]:
    """Returns the width and the height that a picture claims to have; 0 where none can be read."""
    try:
        with open_image(path) as file:
            return file.size
    except Exception:  # the inspection says what is wrong with it
        return 0, 0
