"""Folders of photos for tests: small drawn pictures in folders of any names, and what the commands say of them."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.cli import main
from resnet_tf.errors import MAX_CHARACTERS

SIX = dict.fromkeys(("ant", "bee"), 6)


def draw(path: Path, seed: int) -> Path:
    """Saves a small picture that is like no other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    Image.fromarray(pixels).resize((40, 40), Image.Resampling.BICUBIC).save(path, "JPEG")
    return path


def build(root: Path, **folders: int) -> Path:
    """Makes a folder of photos: the number of pictures by the path of the folder that they are in."""
    number = 1000 * sum(map(ord, "".join(folders)))
    for name, count in folders.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            number += 1
            draw(root / name / f"{index}.jpg", number)
    return root


def nested(*upper: str, classes: tuple[str, ...] = ("ant", "bee"), count: int = 6) -> dict[str, int]:
    return {f"{folder}/{label}": count for folder in upper for label in classes}


def audited(capsys, root, *options) -> tuple[int, str, str]:
    """Returns the exit code of an audit, what it printed, and its errors."""
    code = main(["audit", str(root), *map(str, options)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, root, *options) -> str:
    """Returns the one line with which an audit refuses a folder; finetune gives the same."""
    code, out, err = audited(capsys, root, *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert len(err) <= MAX_CHARACTERS + len("error: \n")
    assert main(["finetune", str(root), "--run", str(root.parent / "never"), "--weights", "none"]) == 2
    assert capsys.readouterr().err == err
    assert not (root.parent / "never").exists()
    return err
