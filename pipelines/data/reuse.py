"""Reuses the manifest of one run for another, so that two networks are compared on the same images and splits."""

from pathlib import Path

import pandas as pd

from pipelines.config.shared import SPLITS
from pipelines.data.find import composed
from pipelines.data.manifest import COLUMNS, load_manifest, look_at_images
from pipelines.data.near_identity import apply_similar
from resnet_tf.errors import UserError


def reuse_manifest(
    data: str | Path, file: str | Path, follow_links: bool = False, similar: str = "group"
) -> pd.DataFrame:
    """Returns the manifest of another run, after checking that DATA still has exactly its images.

    Args:
        data: Folder or CSV where the images are now, see `find_images`.
        file: Path of the other run's manifest.csv.
        follow_links: Whether links that lead out of the folder are followed.
        similar: Value of --similar; with "drop", one of each group of near-identical pictures is expected.

    Returns:
        The manifest.

    Raises:
        UserError: The file is not a manifest, or its images differ from those of DATA.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"there is no manifest {str(file)!r}; a run keeps its own as manifest.csv")
    manifest = load_manifest(path)
    if not manifest["split"].isin(SPLITS).all():
        raise UserError(f"{str(file)!r} is no manifest of a run: its splits must be {', '.join(SPLITS)}")
    table = look_at_images(data, follow_links=follow_links)
    table.say()
    images = table.images
    readable = images[images["readable"]]
    if similar == "drop":
        readable = apply_similar(readable, similar)
    key = ["path", "label", "sha256"]
    labelled = manifest[key].assign(label=manifest["label"].map(composed))  # earlier versions kept names as they were
    known = readable[key].merge(labelled, how="outer", indicator="where")
    differing = known[known["where"] != "both"]
    if not differing.empty:
        example = differing["path"].iloc[0]
        raise UserError(
            f"{str(data)!r} does not have the images of {str(file)!r}: {example!r} is in one of them only, or has "
            f"another label or content ({differing['path'].nunique()} such); leave out --manifest or restore them"
        )
    return manifest[list(COLUMNS)]
