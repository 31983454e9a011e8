"""Walks a folder: which files and folders are in it, and which are skipped, by the same rules for every verb.

Skipped are system and hidden files (`pipelines.data.system_files`), run directories, what is neither file nor folder,
links that lead out of the folder, and links that lead in a circle. Other links are followed.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.data.system_files import is_system_name
from resnet_tf.errors import UserError, without_middle

SYSTEM, RUNS, OUTWARD, CIRCLES, SPECIAL = "system", "runs", "outward", "circles", "special"
# Kind of what is skipped: (words for one, words for several, what to do about them).
_WORDS = {
    SYSTEM: ("system or hidden file or folder", "system or hidden files and folders", ""),
    RUNS: ("run directory", "run directories", ""),
    OUTWARD: ("link that leads out of the folder", "links that lead out of the folder", "--follow-links takes them"),
    CIRCLES: ("link that leads in a circle", "links that lead in a circle", ""),
    SPECIAL: ("pipe, socket or device", "pipes, sockets and devices", ""),
}
_LOCK = ".lock"
_RUN_FILES = {"config.json", "manifest.csv"}
_MODEL_FILES = {"model.keras", "checkpoints", "classes.json"}
# What there is of a run before its config.json.
_EARLY_RUN_FILES = {_LOCK, "manifest.csv", "classes.json"}


@dataclass
class Folder:
    """A folder with what is in it, without what was skipped.

    Args:
        path: Path of the folder.
        files: Its own files, by name.
        folders: Its sub-folders, by name.
    """

    path: Path
    files: list[Path] = field(default_factory=list)
    folders: list["Folder"] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.path.name

    def all_files(self) -> Iterator[Path]:
        """Yields the files at any depth."""
        yield from self.files
        for folder in self.folders:
            yield from folder.all_files()

    @property
    def count(self) -> int:
        """Number of files at any depth."""
        return len(self.files) + sum(folder.count for folder in self.folders)


@dataclass
class Skipped:
    """What a walk left out.

    Args:
        root: Folder that was walked.
        found: Paths of each kind.
    """

    root: Path
    found: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, kind: str, path: Path) -> None:
        self.found.setdefault(kind, []).append(path)

    def within(self, folder: Path) -> "Skipped":
        """What was skipped in one folder and below it."""
        kept = {kind: [path for path in paths if path.is_relative_to(folder)] for kind, paths in self.found.items()}
        return Skipped(self.root, {kind: paths for kind, paths in kept.items() if paths})

    def lines(self) -> list[str]:
        """One line for each kind, with the number and an example."""
        return [self._line(kind) for kind in _WORDS if kind in self.found]

    def _line(self, kind: str) -> str:
        one, several, advice = _WORDS[kind]
        paths = self.found[kind]
        example = repr(without_middle(relative(paths[0], self.root), 80))
        named = f"{len(paths)} {several}, such as {example}" if len(paths) > 1 else f"1 {one}, {example}"
        return f"skipped: {named}{'; ' if advice else ''}{advice}"


def walk(root: Path, follow_links: bool = False) -> tuple[Folder, Skipped]:
    """Lists a folder at all depths.

    A link is followed where its target lies in the folder. A link to a folder that the link itself lies in is a circle.

    Args:
        root: Folder; it may be a link itself.
        follow_links: Whether links out of the folder are followed, too.

    Returns:
        The folder, and what was skipped in it.

    Raises:
        UserError: A folder cannot be read, or the root is a run directory.
    """
    walker = _Walker(root, follow_links)
    folder = walker.folder(root, os.path.realpath(root), None)
    if folder is None:
        raise _root_is_a_run(root)
    return folder, walker.skipped


def files_below(root: Path, follow_links: bool = False) -> Iterator[Path | Skipped]:
    """Yields the files that `walk` lists, one by one in the order of their paths, and at last what was skipped.

    It holds the names of one folder and of those above it, and not those of all files. Args and Raises are those of
    `walk`.
    """
    walker = _Walker(root, follow_links)
    yield from walker.files(root, os.path.realpath(root), None)
    yield walker.skipped


def relative(path: Path, root: Path) -> str:
    """Returns a path as messages show it: relative to a folder, if it lies in it."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def lies_in(path: str | Path, real_root: str) -> bool:
    """Returns whether a path lies in a folder after all links are resolved.

    Args:
        path: Any path.
        real_root: The folder without links, as `os.path.realpath` gives it.
    """
    real = os.path.realpath(path)
    return real == real_root or real.startswith(os.path.join(real_root, ""))


class _Walker:
    """What one walk knows.

    Args:
        root: Folder that is walked.
        follow_links: Whether links out of it are followed.
    """

    def __init__(self, root: Path, follow_links: bool) -> None:
        self.skipped = Skipped(root)
        self._root, self._follow = os.path.realpath(root), follow_links

    def folder(self, path: Path, real: str, entered: set[str] | None) -> Folder | None:
        """Lists one folder and those below it.

        Args:
            path: Path by which it was reached.
            real: The same without links.
            entered: The folders without links that must not be entered again, since a link was followed to get here;
                None where none was.

        Returns:
            The folder; None if it is a run directory, or holds nothing but such.
        """
        entries = _entries(path)
        if _is_run([entry.name for entry in entries]):
            if real != self._root:
                self.skipped.add(RUNS, path)
            return None
        folder, runs = Folder(path), 0
        for entry in entries:
            below = path / entry.name
            kind = self._kind(entry)
            if kind == "file":
                folder.files.append(below)
            elif kind == "folder":
                inside = self._enter(below, os.path.join(real, entry.name), entry.is_symlink(), entered)
                inner = self.folder(below, *inside) if inside else None
                folder.folders += [inner] if inner else []
                runs += bool(inside and not inner)
            else:
                self.skipped.add(kind, below)
        alone = runs and not folder.files and not folder.folders and real != self._root
        return None if alone else folder

    def files(self, path: Path, real: str, entered: set[str] | None) -> Iterator[Path]:
        """Yields the files of a folder and of those below it, in the order of their paths; see `folder`."""
        entries = _entries(path)
        if _is_run(entry.name for entry in entries):
            if real == self._root:
                raise _root_is_a_run(path)
            self.skipped.add(RUNS, path)
            return
        for entry in entries:
            below, kind = path / entry.name, self._kind(entry)
            if kind == "file":
                yield below
            elif kind == "folder":
                inside = self._enter(below, os.path.join(real, entry.name), entry.is_symlink(), entered)
                if inside:
                    yield from self.files(below, *inside)
            else:
                self.skipped.add(kind, below)

    def _kind(self, entry: "os.DirEntry[str]") -> str:
        """Returns "file", "folder", or why an entry is skipped."""
        if is_system_name(entry.name):
            return SYSTEM
        if entry.is_symlink() and not self._follow and not lies_in(entry.path, self._root):
            return OUTWARD
        try:
            if entry.is_dir():
                return "folder"
            # A link to nothing counts as a file: one that is missing.
            return "file" if entry.is_file() or not os.path.exists(entry.path) else SPECIAL
        except OSError:  # links to each other
            return CIRCLES

    def _enter(self, path: Path, real: str, link: bool, entered: set[str] | None) -> tuple[str, set[str] | None] | None:
        """Enters a sub-folder, but what is below one link only once, which bounds the walk.

        Returns:
            The other arguments of `folder`; None for a circle.
        """
        if link:
            entered = entered if entered is not None else _with_parents(os.path.dirname(real))
            real = os.path.realpath(path)
        if entered is not None:
            if real in entered:
                self.skipped.add(CIRCLES, path)
                return None
            entered.add(real)
        return real, entered


def _root_is_a_run(root: Path) -> UserError:
    return UserError(f"{str(root)!r} is the directory of a run; name the folder that holds the images")


def _with_parents(real: str) -> set[str]:
    return {real, *map(str, Path(real).parents)}


def _entries(path: Path) -> "list[os.DirEntry[str]]":
    try:
        with os.scandir(path) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(
            f"cannot look into the folder {str(path)!r}: {error.strerror}; change that, or move it elsewhere"
        ) from error


def _is_run(names: Iterable[str]) -> bool:
    """Returns whether a folder with these names in it is the directory of a run, perhaps of one that just began."""
    found = set(names)
    begun = _LOCK in found and all(name in _EARLY_RUN_FILES or name.startswith(".") for name in found)
    return begun or (found >= _RUN_FILES and bool(_MODEL_FILES & found))
