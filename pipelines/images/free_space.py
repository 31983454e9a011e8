"""Checks whether something large will fit on the disk or in memory, before any of it is written."""

import os
import shutil
from pathlib import Path

from resnet_tf.errors import UserError

# The space left for everything else: checkpoints and the best model on the disk, the training itself in memory.
MARGIN_BYTES = 2 * 2**30
_CGROUP = Path("/sys/fs/cgroup")


def check_disk(needed: int, folder: Path, option: str) -> None:
    """Checks that a disk has enough free space.

    Args:
        needed: Number of bytes to be written.
        folder: Existing folder that they are written to.
        option: Command-line option, or another name, of what asked for this; the error names it.

    Raises:
        UserError: Writing would leave less than `MARGIN_BYTES` free.
    """
    _check(needed, shutil.disk_usage(folder).free, f"on the disk of {str(folder)!r}", option)


def check_memory(needed: int, option: str) -> None:
    """Checks that there is enough free memory; Args and Raises are those of `check_disk`."""
    _check(needed, available_memory(), "in memory", option)


def available_memory() -> int:
    """Returns the bytes of memory available without swapping, within the limit of a container if any (cgroup v2)."""
    free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        free = 1024 * _fields(meminfo)["MemAvailable:"]
    limit = _CGROUP / "memory.max"
    if limit.exists() and (text := limit.read_text().strip()) != "max":
        used = int((_CGROUP / "memory.current").read_text())
        reclaimable = _fields(_CGROUP / "memory.stat")["inactive_file"]
        free = min(free, int(text) - used + reclaimable)
    return free


def megabytes(count: int) -> str:
    """Formats a number of bytes for a person, with a decimal below 10 MB."""
    return f"{count / 1e6:,.0f} MB" if count >= 10e6 else f"{count / 1e6:.1f} MB"


def _check(needed: int, free: int, where: str, option: str) -> None:
    if needed + MARGIN_BYTES > free:
        other = ", or choose another --cache" if option.startswith("--cache") else ""
        raise UserError(
            f"{option} needs {megabytes(needed)} {where} and {megabytes(MARGIN_BYTES)} beside it, and "
            f"{megabytes(free)} are free; make room{other}"
        )


def _fields(file: Path) -> dict[str, int]:
    """Reads a file of lines "name number …" and returns the number of each name."""
    return {words[0]: int(words[1]) for line in file.read_text().splitlines() if len(words := line.split()) > 1}
