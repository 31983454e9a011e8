"""Gathers the photos of a report: maps of the evidence for their classes, and the nearest training photos."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.console.terminal import progress, warn
from pipelines.data.manifest import data_root
from pipelines.evaluation.evidence import EXACT, Evidence, Explainer, smoothed
from pipelines.evaluation.inference import named_images_of
from pipelines.evaluation.integrity import load_network, load_run_manifest
from pipelines.evaluation.judged import Judged
from pipelines.evaluation.neighbours import Neighbours, compared, nearest
from pipelines.evaluation.predictions import BATCH_SIZE, input_spec_of
from pipelines.images.lost_images import LostImage
from pipelines.images.stream import InputSpec
from pipelines.report.album import (
    GRID,
    LARGE,
    MOST_PHOTOS,
    SMALL,
    Album,
    OtherPhoto,
    PagePhoto,
    frame_of,
    levels_of,
    order_of_photos,
    small_copies,
)
from pipelines.runs.directory import Run, read_config


def gather_album(run: Run, judged: Judged) -> Album:
    """Returns the photos of a report with what explains their answers, the most important first.

    Args:
        run: Finished run.
        judged: Images that were evaluated.
    """
    chosen = _chosen(judged)
    assert judged.root is not None
    explainer, spec = Explainer(load_network(run)[0]), input_spec_of(run)
    asked = np.stack([judged.probabilities.argmax(axis=1), judged.labels], axis=1)[chosen]
    rows = judged.rows.iloc[chosen].reset_index(drop=True)
    photos, features = _explained(explainer, rows, judged.root, spec, asked)
    copies = small_copies([judged.root / path for path in rows["path"]], LARGE, spec.value_range)
    photos = [
        replace(photo, image=int(image), source=source, frame=frame_of(aspect, spec.view, spec.crop_fraction))
        for photo, image, (source, aspect) in zip(photos, chosen, copies, strict=True)
    ]
    training, all_of_them, root = _training_rows(run, judged)
    near = _nearest(explainer, training, root, spec, features)
    if near is None:
        return Album(photos, (), explainer.method)
    photos, others = _with_neighbours(photos, near, training, root, spec)
    shown = f"{len(training):,} of {all_of_them:,}" if len(training) < all_of_them else f"{len(training):,}"
    return Album(photos, others, explainer.method, f"{shown} training photos")


def _explained(
    explainer: Explainer, rows: pd.DataFrame, root: Path, spec: InputSpec, asked: np.ndarray
) -> tuple[list[PagePhoto], np.ndarray]:
    """Returns a photo with its maps for each row, and what the head sees of it."""
    photos: list[PagePhoto] = []
    features = []
    for images in _batches(rows, root, spec, "evidence"):
        classes = asked[len(photos) : len(photos) + len(images)]
        found = explainer(images, classes)
        features.append(found.features)
        photos += [_photo(found, place, classes[place], explainer.method) for place in range(len(images))]
    return photos, np.concatenate(features)


def _photo(found: Evidence, place: int, classes: np.ndarray, method: str) -> PagePhoto:
    maps, scales = {}, {}
    for number, label in enumerate(classes.tolist()):
        maps[label], scales[label] = levels_of(smoothed(found.maps[place, number], GRID))
    logits = {label: float(found.logits[place, label]) for label in maps} if method == EXACT else {}
    return PagePhoto(0, maps=maps, scales=scales, logits=logits)


def _batches(rows: pd.DataFrame, root: Path, spec: InputSpec, label: str) -> Iterator[np.ndarray]:
    """Returns the pictures of some rows as the network sees them, uint8 [batch, size, size, 3]."""
    pictures = named_images_of(rows, root, spec, BATCH_SIZE)
    return (images.numpy() for images in progress(pictures, len(rows), label, size=BATCH_SIZE))


def bare_album(judged: Judged) -> Album:
    """Returns the photos of a report whose probabilities are of a model that cannot be looked into.

    Args:
        judged: Images that were evaluated.
    """
    assert judged.root is not None
    chosen = _chosen(judged)
    copies = small_copies([judged.root / judged.paths[image] for image in chosen], LARGE)
    return Album([PagePhoto(int(image), source) for image, (source, _) in zip(chosen, copies, strict=True)])


def _chosen(judged: Judged) -> np.ndarray:
    found = judged.probabilities
    return order_of_photos(judged.labels, found.argmax(axis=1), found.max(axis=1))[:MOST_PHOTOS]


def _training_rows(run: Run, judged: Judged) -> tuple[pd.DataFrame, int, Path]:
    """Returns the rows of the training photos that are compared, without files that are gone and without the photos
    that are judged, how many training photos there are, and the folder that the rows' paths are relative to.
    """
    manifest = load_run_manifest(run)
    rows = manifest[manifest["split"] == "train"].reset_index(drop=True)
    taken = rows.iloc[compared(len(rows))]
    if judged.name == "train":  # an image is always nearest to itself
        taken = taken[~taken["path"].isin(judged.paths)]
    roots = roots_of(run, judged)
    for root in roots:
        there = [(root / path).is_file() for path in taken["path"]]
        if any(there):
            return taken[there].reset_index(drop=True), len(rows), root
    return taken.iloc[:0], len(rows), roots[0]


def roots_of(run: Run, judged: Judged) -> list[Path]:
    """Returns the folders in which the run's photos may be: where those that are judged are, and where they were."""
    found = [judged.root] if judged.root is not None else []
    data = read_config(run.config)["arguments"].get("data")
    if isinstance(data, str) and Path(data).exists():
        found.append(data_root(data))
    return found or [Path()]


def _nearest(
    explainer: Explainer, training: pd.DataFrame, root: Path, spec: InputSpec, features: np.ndarray
) -> Neighbours | None:
    if training.empty:
        return None
    try:
        found = [explainer.features(images) for images in _batches(training, root, spec, "nearest training photos")]
    except LostImage as error:  # a training photo is no part of the evaluation
        warn(f"no training photos are shown: {error}")
        return None
    return nearest(features, np.concatenate(found))


def _with_neighbours(
    photos: list[PagePhoto], near: Neighbours, training: pd.DataFrame, root: Path, spec: InputSpec
) -> tuple[list[PagePhoto], list[OtherPhoto]]:
    """Returns the photos with their neighbours, and the neighbours with small copies."""
    used = np.unique(near.places)
    place_of = {int(place): number for number, place in enumerate(used)}
    rows = training.iloc[used]
    copies = small_copies([root / path for path in rows["path"]], SMALL, spec.value_range)
    others = [
        OtherPhoto(path, label, source)
        for path, label, (source, _) in zip(rows["path"], rows["label"], copies, strict=True)
    ]
    found = [
        replace(
            photo,
            near=tuple(
                (place_of[int(place)], float(cosine))
                for place, cosine in zip(near.places[number], near.similarity[number], strict=True)
            ),
        )
        for number, photo in enumerate(photos)
    ]
    return found, others
