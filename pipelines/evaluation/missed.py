"""Finds the classes that a model has given up: their images are there, and it recognizes (nearly) none of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

# With fewer images of a class, none may be recognized by chance.
FEWEST_IMAGES = 3
# A class is missed if its recall is below this share of the accuracy over all images.
SHARE_OF_ACCURACY = 0.25
_NAMED = 3
# A size, in pixels, from which on a larger one is hardly worth its time.
_LARGE = 448


@dataclass(frozen=True)
class MissedClass:
    """A class that is (nearly) never recognized.

    Args:
        label: Number of the class.
        images: Number of its images.
        recognized: Number of its images that are recognized.
        taken_for: Number of the other class that most of its images are taken for.
        taken: Number of its images that are taken for that class.
    """

    label: int
    images: int
    recognized: int
    taken_for: int
    taken: int

    def named(self, classes: Sequence[str]) -> dict[str, Any]:
        """Returns the same with names of classes, as in metrics.json."""
        return {
            "class": classes[self.label],
            "images": self.images,
            "recognized": self.recognized,
            "taken_for": classes[self.taken_for],
            "taken": self.taken,
        }


def missed_classes(labels: np.ndarray, predicted: np.ndarray) -> tuple[MissedClass, ...]:
    """Returns the classes that are (nearly) never recognized, those with the most images first.

    A class is one of them if it has at least three images and its recall is 0, or less than a quarter of the accuracy
    over all images. The rule is a judgement: recall differs between classes, but not so much in a model that serves
    for all of them.

    Args:
        labels: int [n], true class of each image; there is at least one image.
        predicted: int [n], predicted class of each image.
    """
    least = SHARE_OF_ACCURACY * float((predicted == labels).mean())
    found = []
    for label, images in zip(*np.unique(labels, return_counts=True), strict=True):
        answers = np.bincount(predicted[labels == label], minlength=label + 1)
        recognized = int(answers[label])
        if images >= FEWEST_IMAGES and (recognized == 0 or recognized / images < least):
            answers[label] = 0
            other = int(answers.argmax())
            found.append(MissedClass(int(label), int(images), recognized, other, int(answers[other])))
    return tuple(sorted(found, key=lambda missed: -missed.images))


def missed_in_words(missed: Iterable[dict[str, Any]], split: str, recipe: Mapping[str, Any]) -> str:
    """Returns a sentence about classes that are (nearly) never recognized and what to try, or "" if there are none.

    Args:
        missed: Classes, as `MissedClass.named` returns them.
        split: Name of the images in words, such as "validation".
        recipe: Values of the recipe that the model was trained with, by setting; {} for a network that was imported.
    """
    missed = list(missed)
    if not missed:
        return ""
    named = [_in_words(each, f"{split} " if number == 0 else "") for number, each in enumerate(missed[:_NAMED])]
    more = f"; and {len(missed) - _NAMED} more classes are like that" if len(missed) > _NAMED else ""
    return f"{'; '.join(named)}{more}; try {_remedies(recipe)}"


def _remedies(recipe: Mapping[str, Any]) -> str:
    """Returns what a training has not tried yet for classes that are missed."""
    remedies = [
        *(["--balance logits"] if recipe.get("balance") == "none" else []),
        *(["--view squeeze"] if recipe.get("view") == "crop" else []),
        *(["a larger --image-size"] if recipe.get("image_size", _LARGE) < _LARGE else []),
    ]
    more = "more pictures of what is missed"
    return f"{', '.join(remedies)}, or {more}" if remedies else more


def _in_words(missed: dict[str, Any], kind: str) -> str:
    recognized = missed["recognized"]
    how_many = "none is" if recognized == 0 else f"only {recognized} {'is' if recognized == 1 else 'are'}"
    calls = "is" if missed["taken"] == 1 else "are"
    return (
        f"of {missed['images']} {kind}images of {missed['class']!r} {how_many} recognized "
        f"({missed['taken']} {calls} called {missed['taken_for']!r})"
    )
