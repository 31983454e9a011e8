"""AutoGluon's `MultiModalPredictor` with timm's network and the weights of our file, and its own defaults."""

import json
import time
from pathlib import Path

from exchange import Task, read_task, write_predictions
from torch_network import import_torchvision, tensors_of

import_torchvision()

import pandas as pd  # noqa: E402
import torch  # noqa: E402

CHECKPOINT = "checkpoint"


def checkpoint_of(task: Task) -> Path:
    """Writes the folder that AutoGluon loads a network of timm from without a download, and returns its path."""
    folder = Path(task.folder) / CHECKPOINT
    folder.mkdir(exist_ok=True)
    torch.save(tensors_of(task.weights), folder / "pytorch_model.bin")
    normalization = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    of_input = {"input_size": [3, task.image_size, task.image_size], "crop_pct": 0.875, "interpolation": "bilinear"}
    config = {
        "architecture": task.arch,
        "num_classes": 0,
        "num_features": tensors_of(task.weights, head=True)["fc.weight"].shape[1],
    }
    (folder / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {**normalization, **of_input}}))
    return folder


def main() -> None:
    task = read_task()
    from autogluon.multimodal import MultiModalPredictor

    tables = {
        split: pd.DataFrame({"image": [row["file"] for row in rows], "label": [row["label"] for row in rows]})
        for split in ("train", "val", "test")
        for rows in [task.files(split)]
    }
    predictor = MultiModalPredictor(label="label", problem_type="multiclass", path=str(Path(task.folder) / "predictor"))
    changes = {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": str(checkpoint_of(task)),
        "env.num_workers": 2,
        "env.num_gpus": 0,
    }
    predictor.fit(tables["train"], tuning_data=tables["val"], hyperparameters=changes, seed=task.seed)
    training, began = task.waited(), time.perf_counter()
    probabilities = predictor.predict_proba(tables["test"][["image"]])
    found = probabilities[task.classes].to_numpy().tolist()
    write_predictions(task, "plain", found, training, time.perf_counter() - began)


if __name__ == "__main__":
    main()
