"""fastai: `vision_learner` and `fine_tune`, with the transforms of its book (chapter 5)."""

import time
from typing import Any

from exchange import Task, read_task, write_predictions
from torch_network import fill, import_torchvision

torchvision = import_torchvision()

from fastai.vision.all import (  # noqa: E402
    ImageDataLoaders,
    Resize,
    aug_transforms,
    set_seed,
    vision_learner,
)
from fastai.vision.learner import model_meta  # noqa: E402

BATCH = 32  # as in all other rows; with the default of 64, 120 images would be a single step, since the rest is dropped
PRESIZE = 460  # of the book: a large crop first, so that the augmentation has no black corners


def learner_of(task: Task) -> Any:
    """Returns the learner, whose body has the weights of the file."""

    def network(weights: Any = None) -> Any:
        made = getattr(torchvision.models, task.arch)()
        fill(made, task.weights)
        return made

    model_meta[network] = model_meta[getattr(torchvision.models, task.arch)]
    images = ImageDataLoaders.from_folder(
        task.images,
        valid="val",
        item_tfms=Resize(PRESIZE),
        batch_tfms=aug_transforms(size=task.image_size, min_scale=0.75),
        bs=BATCH,
        num_workers=2,
    )
    return vision_learner(images, network)


def main() -> None:
    task = read_task()
    set_seed(task.seed)
    learner = learner_of(task)
    learner.fine_tune(task.options["epochs"])
    training = task.waited()
    order = [list(learner.dls.vocab).index(name) for name in task.classes]
    for output, predict in (("plain", learner.get_preds), ("averaged", learner.tta)):
        began = time.perf_counter()
        probabilities, _ = predict(dl=learner.dls.test_dl([row["file"] for row in task.files("test")]))
        found = probabilities[:, order].tolist()
        write_predictions(task, output, found, training, time.perf_counter() - began)


if __name__ == "__main__":
    main()
