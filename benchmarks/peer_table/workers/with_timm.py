"""timm's own training script, run unchanged from a checkout of its repository; the wheel does not have it."""

import runpy
import sys
import time
from pathlib import Path

from exchange import Task, read_task, write_predictions
from torch_network import import_torchvision, tensors_of

import_torchvision()

import timm  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from timm.data import create_transform, resolve_data_config  # noqa: E402

EXPERIMENT, WEIGHTS = "experiment", "weights.safetensors"
BATCH = 32


def words_of(task: Task) -> list[str]:
    """Returns the command line: the script's defaults but for rate, batch and epochs, which are made for ImageNet."""
    settings = {
        "--data-dir": task.images,
        "--train-split": "train",
        "--val-split": "val",
        "--model": task.arch,
        "--pretrained-path": str(Path(task.folder) / WEIGHTS),
        "--num-classes": len(task.classes),
        "--img-size": task.image_size,
        "--batch-size": BATCH,
        "--lr": 0.01,
        "--weight-decay": 1e-4,
        "--epochs": task.options["epochs"],
        "--warmup-epochs": 1,
        "--checkpoint-hist": 1,
        "--seed": task.seed,
        "--workers": 2,
        "--device": "cpu",
        "--output": task.folder,
        "--experiment": EXPERIMENT,
    }
    return [str(word) for pair in settings.items() for word in pair] + ["--pretrained"]


def predict(task: Task) -> list[list[float]]:
    """Returns the probabilities of the checkpoint that was best on validation, with timm's transforms."""
    network = timm.create_model(task.arch, num_classes=len(task.classes))
    best = Path(task.folder) / EXPERIMENT / "model_best.pth.tar"
    network.load_state_dict(torch.load(best, weights_only=False, map_location="cpu")["state_dict"])
    network.eval()
    config = resolve_data_config({"img_size": task.image_size}, model=network)
    transform = create_transform(**config)
    files, found = [row["file"] for row in task.files("test")], []
    for begin in range(0, len(files), BATCH):
        images = [transform(Image.open(file).convert("RGB")) for file in files[begin : begin + BATCH]]
        with torch.inference_mode():
            found += network(torch.stack(images)).softmax(dim=1).tolist()
    return found


def main() -> None:
    task = read_task()
    save_file(tensors_of(task.weights, head=True), Path(task.folder) / WEIGHTS)
    sys.argv = [task.options["script"], *words_of(task)]
    runpy.run_path(task.options["script"], run_name="__main__")
    training, began = task.waited(), time.perf_counter()
    write_predictions(task, "plain", predict(task), training, time.perf_counter() - began)


if __name__ == "__main__":
    main()
