"""Turns a float model's weights and activations into 8-bit integers with NNCF, on photos of the run's training.

The view stays as it is. Ranges are NNCF's preset "mixed": symmetric for weights, each channel by itself, and
asymmetric for activations; then the biases are corrected (Nagel et al. 2019, arXiv 1906.04721).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.console.no_telemetry import send_nothing


def quantized(model: Any, photos: Path, input_name: str = "images", view: str = "view/") -> Any:
    """Returns a model in 8 bits.

    Args:
        model: ONNX or OpenVINO model whose input is pictures, uint8 [batch, height, width, 3].
        photos: Archive of NumPy arrays, uint8 [height, width, 3] each.
        input_name: Name of its input.
        view: What the names of the view's operations begin with.
    """
    send_nothing()
    import nncf

    with np.load(photos, allow_pickle=False) as archive:
        return nncf.quantize(
            model,
            nncf.Dataset(_Photos(archive), lambda photo: {input_name: photo[None]}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(archive.files),
            ignored_scope=nncf.IgnoredScope(patterns=[f"{view}.*"]),
        )


class _Photos:
    """The arrays of an archive, read one at a time, as often as they are wanted."""

    def __init__(self, archive: Any) -> None:
        self._archive = archive

    def __len__(self) -> int:
        return len(self._archive.files)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._archive[name] for name in self._archive.files)
