"""explain: draws which positions of photos speak for the likeliest classes, and which against them."""

from pathlib import Path

import numpy as np

from pipelines.config.verbs import ExplainConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import say, warn
from pipelines.data.named_files import expand, readable_rows
from pipelines.evaluation.evidence import EXACT, Explainer
from pipelines.evaluation.inference import named_images_of, softmax
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.predictions import BATCH_SIZE, input_spec_of
from pipelines.evaluation.run_calibration import temperature_of
from pipelines.report.evidence_figure import Explained, draw_evidence
from pipelines.runs.directory import finished_run
from pipelines.runs.files import check_place, write_atomically
from resnet_tf.errors import UserError

# With more rows, the figure would be too tall to be looked at.
MOST_PHOTOS = 40
_CURRENT = Path(".")


def explain(config: ExplainConfig) -> list[Explained]:
    """Draws each photo as the network sees it, beside the evidence for its likeliest classes.

    Args:
        config: Run, photos, number of classes, and file to write.

    Returns:
        What is drawn of each photo.

    Raises:
        UserError: The run is not finished, a path names nothing, none of the files is an image, or they are too many.
    """
    check_place(Path(config.out))
    run = finished_run(config.run)
    with Interrupts():
        files = [file for pattern in config.paths for file in expand(pattern, config.follow_links)]
        if len(files) > MOST_PHOTOS:
            raise UserError(f"{len(files)} photos are too many for one figure; name at most {MOST_PHOTOS}")
        rows, unreadable = readable_rows(files)
        for file, reason in unreadable:
            warn(f"left out: {file} ({reason})")
        if rows.empty:
            raise UserError(f"not one of the {len(files)} files is a readable image, such as {str(files[0])!r}")
        model, classes = load_network(run)
        explainer, spec, temperature = Explainer(model), input_spec_of(run), temperature_of(run)
        found: list[Explained] = []
        for images in named_images_of(rows, _CURRENT, spec, BATCH_SIZE):
            names = rows["path"].iloc[len(found) : len(found) + len(images)]
            found += explained(explainer, images.numpy(), names.tolist(), classes, config.top, temperature)
        write_atomically(Path(config.out), lambda path: draw_evidence(found, explainer.method, path))
    what = "parts of the logit" if explainer.method == EXACT else "Grad-CAM, since the head is not linear in positions"
    say(f"wrote {config.out}: {len(found)} photos, {what}")
    return found


def explained(
    explainer: Explainer, images: np.ndarray, names: list[str], classes: list[str], top: int, temperature: float = 1.0
) -> list[Explained]:
    """Returns the evidence for the likeliest classes of a batch of images.

    Args:
        explainer: Explainer of the network.
        images: uint8 [images, height, width, 3], as the network sees them.
        names: Names of the images.
        classes: Names of the classes.
        top: Number of classes for each image, the likeliest first.
        temperature: Number that logits are divided by for probabilities.
    """
    none = np.zeros((len(images), 0), int)
    logits = explainer(images, none).logits
    likeliest = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    found, probabilities = explainer(images, likeliest), softmax(logits / temperature)
    return [
        Explained(
            name,
            images[place],
            [classes[label] for label in likeliest[place]],
            probabilities[place, likeliest[place]],
            logits[place, likeliest[place]],
            found.bias[place],
            found.maps[place],
        )
        for place, name in enumerate(names)
    ]
