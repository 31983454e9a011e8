"""The temperature of a run comes from images that its model was not fitted to, and every answer has it."""

import numpy as np
import pandas as pd
import pytest

from pipelines.data.manifest import label_numbers, load_manifest
from pipelines.data.sample import draw_image
from pipelines.evaluation.calibration import fit_temperature
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.run_calibration import load_calibration
from pipelines.finetune import finetune
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.runs.directory import Run, load_classes, load_model
from pipelines.training import linear_probe
from tests.conftest import small_config


@pytest.fixture(scope="module")
def noise(tmp_path_factory, small, small_weights) -> Run:
    """Returns a run on pictures whose labels are drawn by lot, so that it can learn them by heart and nothing else."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    names = [f"{number:03d}.png" for number in range(90)]
    for name in names:
        draw_image("striped_star", 48, random).save(folder / name)
    splits = np.repeat(["train", "val", "test"], 30)
    table = pd.DataFrame(
        {"path": names, "label": random.choice(["a", "b", "c"], 90), "split": random.permutation(splits)}
    )
    table.to_csv(folder / "noise.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_probe, "STRENGTHS", (1.0,))  # weak enough to learn by heart
        return finetune(small_config(folder / "noise.csv", folder / "run", arch=small, weights=str(small_weights)))


def logits_of_run(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    manifest, classes = load_manifest(run.manifest), load_classes(run)
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    source = ImageSource(rows, run.path.parent, classes)
    batches = images_of(evaluation_stream(source, input_spec_of(run), 32))
    return label_numbers(rows, classes), outputs(Inference(load_model(run)), batches, len(rows), 32, "")


def test_a_model_that_has_seen_validation_does_not_choose_its_own_temperature(noise):
    labels, seen = logits_of_run(noise, "val")
    assert (seen.argmax(axis=1) == labels).mean() > 0.9  # the kept head has learned these labels by heart
    leaking = fit_temperature(labels, seen)
    calibration = load_calibration(noise)
    assert calibration.images == 30
    assert leaking < 1.0
    assert calibration.temperature > 2.0
    labels, new = logits_of_run(noise, "test")
    confidences = [softmax(new / temperature).max(axis=1).mean() for temperature in (leaking, calibration.temperature)]
    assert confidences[0] > 0.8
    assert confidences[1] < 0.62  # a third of the answers is right
