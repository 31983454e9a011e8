"""Decides which folders are classes and which are splits, by their names and by what is in them.

What cannot be told is refused, with what was seen and what to do; what is likely but not sure is a doubt.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.data.classes import ClassFinding
from pipelines.data.system_files import PHOTO_ENDINGS
from pipelines.data.walk import Folder, Skipped, relative
from resnet_tf.errors import UserError, without_middle

WANTED = "it must have one sub-folder per class, or train/, val/ and test/ of such folders"
_WORDS = {
    "train": ("train", "training", "trn"),
    "val": ("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
# What may follow such a word: train_set, Training Images, val2017.
_SPLIT_NAME = re.compile(r"([a-z]+?)(set|data|dataset|images|imgs|photos|pictures|split)?((19|20)\d\d)?")
_SHOWN = 3


@dataclass
class Layout:
    """What a folder was understood as.

    Args:
        rows: Path relative to the root, label and split ("" where there are none) of each file.
        notes: What else was seen, in sentences.
        doubts: What may have been misunderstood.
    """

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    doubts: list[ClassFinding] = field(default_factory=list)


def split_of(name: str) -> str | None:
    """Returns the split that a name stands for, in any case and with its synonyms; None if it stands for none."""
    word = re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", name).casefold())
    found = _SPLIT_NAME.fullmatch(word)
    return _SPLITS.get(word) or (_SPLITS.get(found[1]) if found else None)


def understand(root: Folder, skipped: Skipped, flat: bool) -> Layout:
    """Decides which folders are classes and which are splits.

    Args:
        root: Everything in DATA.
        skipped: What is in DATA and was skipped.
        flat: Whether a folder without sub-folders is one class, named like the folder.

    Raises:
        UserError: There are no images, or the folders can be understood in several ways.
    """
    splits = _splits(root)
    if flat and root.files and not root.folders:
        name = Path(root.path).resolve().name
        return Layout([(relative(file, root.path), name, "") for file in root.files])
    if not root.folders or not root.count:
        _refuse_nothing(root, skipped)
    layout = Layout()
    _note_loose(layout, root, root)
    if splits:
        _add_splits(layout, root, splits, skipped)
    else:
        _add_classes(layout, root, root, _without_flat_splits(layout, root), "", skipped)
    return layout


def _splits(root: Folder) -> list[Folder]:
    """Returns the folders that are named like splits and hold class folders.

    A folder with most of its images in none of its own folders may also be a class, so that what is beside it decides.
    """
    named = [folder for folder in root.folders if split_of(folder.name) and folder.folders]
    alone = all(split_of(folder.name) for folder in root.folders)
    counts = Counter(name for folder in named for name in {_plain(inner.name) for inner in folder.folders})
    return [
        folder
        for folder in named
        if alone or _is_of_folders(folder) or any(counts[_plain(inner.name)] > 1 for inner in folder.folders)
    ]


def _is_of_folders(folder: Folder) -> bool:
    """Returns whether the images are in the sub-folders, or at least most of them."""
    return bool(folder.folders) and 2 * len(folder.files) <= folder.count


def _refuse_nothing(root: Folder, skipped: Skipped) -> None:
    seen = f"{len(root.files)} files" if root.files else "nothing"
    if root.folders:
        seen = f"only empty folders, such as {root.folders[0].name!r}"
    else:
        seen = f"it has no sub-folders, {'only ' if root.files else ''}{seen} in it"
    left_out = f" ({'; '.join(skipped.lines())})" if skipped.found else ""
    raise UserError(f"no images in {str(root.path)!r} that belong to a class: {seen}{left_out}; {WANTED}")


def _note_loose(layout: Layout, root: Folder, folder: Folder) -> None:
    """Says which photos stand beside the class folders, and belong to none."""
    loose = [file for file in folder.files if _is_photo(file)]
    if loose:
        place = "" if folder is root else f" in {folder.name!r}"
        layout.notes.append(f"left out: {_photos(loose, root)} beside the class folders{place}")


def _add_splits(layout: Layout, root: Folder, splits: list[Folder], skipped: Skipped) -> None:
    others = [folder for folder in root.folders if folder not in splits and folder.count]
    unsplit = [folder for folder in others if not split_of(folder.name)]
    if any(map(_has_photos, unsplit)):
        _check_splits_are_sure(splits, unsplit)
    for folder in others:
        why = "beside the splits" if folder in unsplit else "which are in no class folder"
        layout.notes.append(f"left out: {_photos(list(folder.all_files()), root)} of the folder {folder.name!r}, {why}")
    for folder in splits:
        _note_loose(layout, root, folder)
        _add_classes(layout, root, folder, folder.folders, split_of(folder.name) or "", skipped)


def _check_splits_are_sure(splits: list[Folder], others: list[Folder]) -> None:
    """Where another folder stands beside the splits, these must be several that have classes in common, and the other
    must have none of these.

    Raises:
        UserError: The folders can be understood in several ways.
    """
    classes = {_plain(inner.name) for folder in splits for inner in folder.folders}
    for folder in others:
        alike = [inner for inner in folder.folders if _plain(inner.name) in classes]
        if alike:
            raise UserError(
                f"the folder {_cut(folder.name)} is beside {_names(splits)} and holds the same classes "
                f"({_names(alike)}), but its name is that of no split; name it train, val or test, or move it elsewhere"
            )
    if len({split_of(folder.name) for folder in splits}) == 1 or not _common(splits):
        raise UserError(
            f"the folder {_cut(splits[0].name)} is named like a split and holds folders ({_names(splits[0].folders)}), "
            f"but {_cut(others[0].name)} is beside it; keep either splits ({', '.join(_WORDS)}) or classes there, and "
            "move or rename the other"
        )


def _without_flat_splits(layout: Layout, root: Folder) -> list[Folder]:
    """Returns the class folders, to which folders that are named val or test and have no class folders do not belong.

    A folder named train stays among them, with a note, since a class can have this name, as in CIFAR-100.

    Raises:
        UserError: All folders are named like splits.
    """
    named = [folder for folder in root.folders if split_of(folder.name) and folder.count]
    if named and len(named) == sum(folder.count > 0 for folder in root.folders):
        raise UserError(
            f"no images in {str(root.path)!r} that belong to a class: {_cut(named[0].name)} is named like a split and "
            f"has {len(named[0].files)} files, but no class folders; {WANTED}"
        )
    kept = []
    for folder in root.folders:
        split = split_of(folder.name) if folder.count else None
        if split in ("val", "test"):
            layout.notes.append(
                f"left out: {_photos(list(folder.all_files()), root)} of the folder {folder.name!r}, which is named "
                "like a split and has no class folders; rename it if it is a class"
            )
            continue
        if split == "train":
            layout.notes.append(f"the folder {folder.name!r} is taken as a class, since it has no class folders")
        kept.append(folder)
    return kept


def _add_classes(
    layout: Layout, root: Folder, above: Folder, folders: list[Folder], split: str, skipped: Skipped
) -> None:
    _check_one_level(above, folders, "move them up" if split else "")
    _note_levels(layout, folders)
    for folder in folders:
        if not folder.count:
            left_out = "; ".join(skipped.within(folder.path).lines())
            raise UserError(
                f"the class folder {str(folder.path)!r} has no files in it{f' ({left_out})' if left_out else ''}; "
                "remove it or add images"
            )
        layout.rows += [(file.relative_to(root.path).as_posix(), folder.name, split) for file in folder.all_files()]


def _check_one_level(above: Folder, folders: list[Folder], advice: str) -> None:
    """Refuses folders that stand where classes are expected, and are clearly something else.

    Raises:
        UserError: The classes or the splits are further down.
    """
    hollow = _hollow(folders)
    if len(folders) == 1 and _is_of_folders(folders[0]) and folders[0].count:
        inner = folders[0]
        while len(inner.folders) == 1 and not inner.files and inner.folders[0].folders:
            inner = inner.folders[0]
        raise UserError(
            f"{str(above.path)!r} has a single folder, {_cut(folders[0].name)}, and the folders of images "
            f"({_names(inner.folders)}) are further down; {advice or f'name {str(inner.path)!r} as DATA'}"
        )
    if hollow == folders and all(split_of(inner.name) for folder in hollow for inner in folder.folders):
        raise UserError(
            f"the class folders ({_names(folders)}) hold splits ({_names(hollow[0].folders)}); the splits must be the "
            "upper folders: train/CLASS, val/CLASS and test/CLASS"
        )
    names = {_plain(folder.name) for folder in folders}
    for folder in hollow:
        repeated = [inner for inner in folder.folders if _plain(inner.name) in names - {_plain(folder.name)}]
        if len(repeated) >= min(2, len(folder.folders)):
            raise UserError(
                f"the folder {_cut(folder.name)} holds folders ({_names(repeated)}) that are named like the classes "
                "beside it; move their images into those, or move the folder elsewhere"
            )
    common = _common(hollow) if hollow == folders else []
    if len(common) >= len(hollow) > 1:
        raise UserError(
            f"the folders {_names(folders)} hold the same sub-folders ({', '.join(map(_cut, common[:_SHOWN]))}), which "
            f"seem to be the classes; {advice or 'name the upper folders train, val and test, or name one as DATA'}"
        )


def _note_levels(layout: Layout, folders: list[Folder]) -> None:
    """Says where classes hold folders rather than images."""
    hollow = _hollow(folders)
    common = _common(hollow) if len(hollow) > 1 else []
    common = common if len(common) > 1 else []  # a single one, such as ant/images and bee/images, cannot be the classes
    for folder in hollow if len(hollow) < len(folders) or common else []:
        found = f"holds no images itself, but folders ({_names(folder.folders)})"
        others = ", as other classes do," if common else ", while other classes hold images,"
        layout.doubts.append(
            ClassFinding(
                folder.name, "mixed_levels", f"{found}{others} and all count as it; move these up if they are classes"
            )
        )
    if hollow and len(hollow) == len(folders) and not common:
        example = relative(hollow[0].folders[0].path, hollow[0].path.parent)
        layout.notes.append(
            f"the class folders hold sub-folders, such as {example!r}; all images in a class folder are of that class"
        )
    names = {_plain(folder.name) for folder in folders}
    for folder in folders:
        for inner in folder.folders if folder.files else []:
            known = "a class" if _plain(inner.name) in names else "a split" if split_of(inner.name) else ""
            if known:
                reason = (
                    f"holds a folder {_cut(inner.name)}, which is the name of {known}; its images count as this class"
                )
                layout.doubts.append(ClassFinding(folder.name, "mixed_levels", reason))


def _hollow(folders: Sequence[Folder]) -> list[Folder]:
    """Returns the folders that hold images in their sub-folders only."""
    return [folder for folder in folders if folder.count and not folder.files]


def _common(folders: Sequence[Folder]) -> list[str]:
    """Returns the names of sub-folders that all of these folders have, if they are at least half of all such names."""
    counts = Counter(name for folder in folders for name in {_plain(inner.name) for inner in folder.folders})
    common = [name for name, count in counts.items() if count == len(folders)]
    return sorted(common) if 2 * len(common) >= len(counts) else []


def _plain(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in PHOTO_ENDINGS


def _has_photos(folder: Folder) -> bool:
    return any(map(_is_photo, folder.all_files()))


def _photos(files: Sequence[Path], root: Folder) -> str:
    kind = "photo" if any(map(_is_photo, files)) else "file"
    example = repr(without_middle(relative(files[0], root.path), 80))
    return f"{len(files)} {kind}s, such as {example}" if len(files) > 1 else f"1 {kind}, {example}"


def _cut(name: str) -> str:
    return repr(without_middle(name, 40))


def _names(folders: Iterable[Folder]) -> str:
    found = list(folders)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{', '.join(_cut(folder.name) for folder in found[:_SHOWN])}{more}"
