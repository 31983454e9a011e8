"""Ultralytics' `yolo classify train`, with torchvision's network as its backbone and its own head.

Its published weights can only be downloaded. Its module "TorchVision" takes a backbone of torchvision, which gets the
weights of our file here. Ultralytics feeds images in 0 … 1, so the first batch norm takes over what the normalization
subtracts; at the border, where the convolution pads with zeros, the function differs a little.
"""

import os
import time
from pathlib import Path
from typing import Any

from exchange import Task, read_task, write_predictions
from torch_network import fill, import_torchvision

torchvision = import_torchvision()

import torch  # noqa: E402

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
START = "start.pt"


def backbone_of(task: Task) -> Any:
    """Returns torchvision's network with the weights of the file, for images in 0 … 1."""
    network = getattr(torchvision.models, task.arch)()
    fill(network, task.weights)
    kernel, norm = network.conv1.weight.data, network.bn1
    kernel /= torch.tensor(DEVIATION).view(1, 3, 1, 1)
    norm.running_mean += (kernel.sum(dim=(2, 3)) * torch.tensor(MEAN)).sum(dim=1)
    return network


def model_file(task: Task) -> Path:
    """Writes Ultralytics' model of this backbone with a random head, and returns the path."""
    from ultralytics.nn.tasks import ClassificationModel

    network = backbone_of(task)
    layers = {
        "nc": len(task.classes),
        "backbone": [[-1, 1, "TorchVision", [network.fc.in_features, task.arch, None, True, 2]]],
        "head": [[-1, 1, "Classify", ["nc"]]],
    }
    model = ClassificationModel(layers, nc=len(task.classes), verbose=False)
    backbone = torch.nn.Sequential(*list(network.children())[:-2])
    model.model[0].m.load_state_dict(backbone.state_dict())
    path = Path(task.folder) / START
    torch.save({"model": model, "train_args": {"task": "classify"}, "epoch": -1}, path)
    return path


def main() -> None:
    task = read_task()
    os.environ["YOLO_CONFIG_DIR"] = task.folder
    os.environ["YOLO_OFFLINE"] = "true"
    from ultralytics import YOLO

    torch.manual_seed(task.seed)
    model = YOLO(str(model_file(task)))
    settings = {"project": task.folder, "name": "run", "plots": False, "amp": False, "device": "cpu", "workers": 2}
    model.train(data=task.images, epochs=task.options["epochs"], imgsz=task.image_size, seed=task.seed, **settings)
    training, began = task.waited(), time.perf_counter()
    best = YOLO(str(Path(task.folder) / "run" / "weights" / "best.pt"))
    order = [next(number for number, each in best.names.items() if each == name) for name in task.classes]
    found = [
        best.predict(row["file"], imgsz=task.image_size, verbose=False)[0].probs.data[order].tolist()
        for row in task.files("test")
    ]
    write_predictions(task, "plain", found, training, time.perf_counter() - began)


if __name__ == "__main__":
    main()
