"""Random folders and tables: whatever there is in them, DATA is understood, or refused with one short line."""

import os
import random
from pathlib import Path

import pytest

from pipelines.data.find import find_images
from pipelines.data.named_files import expand
from resnet_tf.errors import MAX_CHARACTERS, UserError

TREES, TABLES = 300, 300
FOLDERS = [
    "train",
    "Train",
    "val",
    "test",
    "ant",
    "bee",
    "cafe\u0301",
    "caf\u00e9",
    "x" * 200,
    "@eaDir",
    ".git",
    " ",
    "a'b",
    "é\n",
]
FILES = [
    "a.jpg",
    "b.JPG",
    "Thumbs.db",
    ".DS_Store",
    "notes.txt",
    "config.json",
    "manifest.csv",
    "model.keras",
    ".lock",
    "\r",
]
CELLS = [
    "a.jpg",
    "ant/a.jpg",
    "ant\\a.jpg",
    "/",
    "..",
    ".",
    "",
    " ",
    "C:\\a",
    '"',
    "\n",
    "train",
    "\0",
    "x" * 3000,
    "é",
    ",",
]


def grow(folder: Path, top: Path, chance: random.Random, depth: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for name in chance.sample(FILES, chance.choice((0, 0, 1, 3))):
        (folder / name).write_bytes(b"x")
    if depth < 4:
        for name in chance.sample(FOLDERS, chance.choice((0, 1, 2, 3) if depth else (1, 2, 4))):
            grow(folder / name, top, chance, depth + 1)
    if chance.random() < 0.2:
        link = folder / "link"
        target = chance.choice((top, top.parent, folder, folder / "link", folder / "nothing", folder.parent, Path("/")))
        link.symlink_to(target, target_is_directory=True)


def check_answer(call) -> bool:
    """Returns whether there was an answer, after checking the message where there was none."""
    try:
        call()
    except UserError as error:
        message = str(error)
        assert len(message) <= MAX_CHARACTERS
        assert "\n" not in message
        return False
    return True


def test_random_folders(tmp_path):
    answers = []
    for seed in range(TREES):
        root = tmp_path / str(seed)
        grow(root, root, random.Random(seed))

        def look(root=root):
            found = find_images(root, flat=True)
            assert len(found.images)
            assert found.images["path"].is_unique
            assert found.images["label"].str.len().min() > 0
            assert all(os.path.lexists(root / path) for path in found.images["path"])

        answers.append(check_answer(look))
        check_answer(lambda root=root: expand(str(root)))
    assert 0.1 < sum(answers) / TREES < 0.9  # otherwise the trees are all of one kind


@pytest.mark.parametrize(
    "header", ["path,label", "path;label;split", "label\tpath", "path", "", "\ufeffpath,label,group"]
)
def test_random_tables(header, tmp_path):
    (tmp_path / "ant").mkdir()
    for name in ("a.jpg", "ant/a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    for seed in range(TABLES):
        chance = random.Random(seed)
        separator = next((letter for letter in ";\t" if letter in header), ",")
        rows = [
            separator.join(chance.choices(CELLS, k=chance.choice((1, 2, 2, 3)))) for _ in range(chance.randrange(4))
        ]
        (tmp_path / "labels.csv").write_text("\n".join([header, *rows]), newline="")
        check_answer(lambda: find_images(tmp_path / "labels.csv"))
