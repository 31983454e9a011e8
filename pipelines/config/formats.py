"""The formats that a run can be exported in: the precisions of each, its place, and the packages that it needs."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from resnet_tf.errors import UserError

FLOAT32, FLOAT16, BFLOAT16, INT8 = PRECISIONS = ("float32", "float16", "bfloat16", "int8")


@dataclass(frozen=True)
class Format:
    """What there is to say of a format.

    Args:
        place: Name of its file or folder in the run's folder "export", with {} for the precision.
        precisions: Precisions that it exists in.
        any_size: Whether its input is pictures of any height and width. The others take images of the network's size,
            as the view makes them.
        modules: Modules that write and run it, beside what the core needs.
        modules_for_int8: Modules that int8 needs more.
    """

    place: str
    precisions: tuple[str, ...]
    any_size: bool
    modules: tuple[str, ...] = ()
    modules_for_int8: tuple[str, ...] = ()


FORMATS = {
    "saved_model": Format("saved_model{}/1", (FLOAT32, BFLOAT16), any_size=True),
    "onnx": Format("model{}.onnx", (FLOAT32, FLOAT16, INT8), True, ("onnx", "onnxruntime"), ("nncf",)),
    "openvino": Format("openvino{}", (FLOAT32, FLOAT16, INT8), True, ("onnx", "openvino"), ("nncf",)),
    "litert": Format("model{}.tflite", (FLOAT32, FLOAT16, INT8), any_size=False, modules=("ai_edge_litert",)),
    "web": Format("web{}", (FLOAT32, FLOAT16), any_size=True, modules=("onnx", "onnxruntime")),
    "keras": Format("model{}.keras", (FLOAT32, BFLOAT16), any_size=False),
}
# Names of packages that differ from those of their modules.
_PACKAGES = {"ai_edge_litert": "ai-edge-litert"}


@dataclass(frozen=True)
class Target:
    """One export of a run.

    Args:
        format: Name of a format in `FORMATS`.
        precision: One of its precisions.
    """

    format: str
    precision: str = FLOAT32

    @property
    def kind(self) -> Format:
        """What there is to say of its format."""
        return FORMATS[self.format]

    def place(self, folder: Path) -> Path:
        """Returns its file or folder in a run's folder "export"."""
        return folder / self.kind.place.format("" if self.precision == FLOAT32 else f"-{self.precision}")

    def __str__(self) -> str:
        return f"{self.format} {self.precision}"


def targets_of(formats: Sequence[str], precisions: Sequence[str] = (FLOAT32,)) -> list[Target]:
    """Returns every format in every precision, without repetitions.

    Raises:
        UserError: There is no such format or precision, or a format does not exist in one of the precisions.
    """
    for option, given, known in (("--format", formats, tuple(FORMATS)), ("--precision", precisions, PRECISIONS)):
        for name in given:
            if name not in known:
                raise UserError(f"{option} must be one of {', '.join(known)}, received {name!r}")
    for name in formats:
        for precision in precisions:
            if precision not in FORMATS[name].precisions:
                there = ", ".join(FORMATS[name].precisions)
                raise UserError(f"--format {name} does not exist in {precision}; it has {there}")
    return list(dict.fromkeys(Target(name, precision) for name in formats for precision in precisions))


def check_installed(targets: Sequence[Target]) -> None:
    """Checks that the packages are there which some exports need, without importing them.

    Raises:
        UserError: One is missing.
    """
    missing: dict[str, list[str]] = {}
    for target in targets:
        kind = target.kind
        for name in (*kind.modules, *(kind.modules_for_int8 if target.precision == INT8 else ())):
            if importlib.util.find_spec(name) is None:
                missing.setdefault(_PACKAGES.get(name, name), []).append(str(target))
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        wanted = dict.fromkeys(target for targets_of_package in missing.values() for target in targets_of_package)
        raise UserError(
            f"{' and '.join(missing)} {verb} not installed, for {' and '.join(wanted)}: pip install {' '.join(missing)}"
        )
