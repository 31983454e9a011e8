"""push: puts a run's model and its card into a repository of the Hugging Face hub; no photo goes there."""

import os
import re
from pathlib import Path
from typing import Any

from pipelines.config.first_steps import PushConfig
from pipelines.console.terminal import answer, say
from pipelines.runs.directory import Run, finished_run, load_classes, load_model, read_config
from pipelines.runs.files import read_json, write_json, write_text
from pipelines.runs.state import state_of
from pipelines.runs.temporaries import temporary_folder
from resnet_tf import __version__
from resnet_tf.errors import UserError
from resnet_tf.saved import what_a_model_says
from resnet_tf.weights.hub import MADE_BY, WEIGHTS
from resnet_tf.weights.weight_file import WeightFile
from resnet_tf.weights.writers import write_weights

_TARGET = re.compile(r"hf:([\w.-]+/[\w.-]+)")
_MATRIX = "confusion_matrix.png"


def push(config: PushConfig) -> str:
    """Writes the card, the Keras file and safetensors of a run, and uploads them in one commit.

    Args:
        config: Run, and the repository that it goes to, which is made if it is new.

    Returns:
        The repository's address.

    Raises:
        UserError: The run is not finished, TARGET is no repository, huggingface_hub is missing, or the hub refuses.
    """
    found = _TARGET.fullmatch(config.target)
    if found is None:
        raise UserError(f"TARGET must be hf:OWNER/NAME, received {config.target!r}")
    api = _api()
    run = finished_run(config.run)
    if text := state_of(run).text:
        raise UserError(f"{text}; finish it before it is pushed")
    with temporary_folder(run.path) as folder:
        _write_all(run, folder, found[1], config.licence)
        names = ", ".join(sorted(file.name for file in folder.iterdir()))
        say(f"uploading {names} to {found[1]} …")
        try:
            address = str(api.create_repo(found[1], private=config.private, exist_ok=True))
            api.upload_folder(repo_id=found[1], folder_path=folder, commit_message=f"{run.name}, by resnet-tf")
        except Exception as error:  # errors of huggingface_hub, of its HTTP library, or of the file system
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            sign_in = "; `hf auth login` signs you in" if re.search(r"\b40[13]\b", reason) else ""
            raise UserError(f"could not push to {config.target!r}: {reason}{sign_in}") from error
    answer(f"{address}\n`resnet-tf finetune DATA --weights {config.target} --arch {_arch(run)}` starts from it")
    return address


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise UserError("push needs huggingface_hub: pip install 'resnet-tf[hub]'") from None
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def _write_all(run: Run, folder: Path, repository: str, licence: str | None) -> None:
    said, classes = what_a_model_says(run.model), load_classes(run)
    assert said is not None, run.model  # every version has written a description
    write_weights(load_model(run), folder / WEIGHTS, said.preprocessing, image_size=said.image_size, classes=classes)
    (folder / run.model.name).write_bytes(run.model.read_bytes())
    write_json(folder / "classes.json", classes)
    write_json(folder / "config.json", {MADE_BY: __version__, "architecture": _arch(run), "num_labels": len(classes)})
    tested = run.evaluation("test")
    metrics = read_json(tested / "metrics.json") if (tested / "metrics.json").is_file() else None
    if metrics:
        write_json(folder / "metrics.json", metrics)
        (folder / _MATRIX).write_bytes((tested / _MATRIX).read_bytes())
    write_text(folder / "README.md", card_of(repository, said, classes, metrics, licence))


def card_of(
    repository: str, said: WeightFile, classes: list[str], metrics: dict[str, Any] | None, licence: str | None
) -> str:
    """Returns the card of a model, in Markdown, with what the hub reads at its beginning.

    Args:
        repository: OWNER/NAME.
        said: What the model's file says of itself.
        classes: Names of the classes.
        metrics: Content of metrics.json of the test, or None.
        licence: Licence as the hub names it, or None.
    """
    from huggingface_hub import EvalResult, ModelCardData

    name = repository.rpartition("/")[2]
    figures = [("accuracy", metrics["accuracy"]), ("f1", metrics["macro_f1"])] if metrics else []
    results = [EvalResult("image-classification", "photos", name, kind, value) for kind, value in figures]
    data = ModelCardData(
        license=licence,
        library_name="resnet-tf",
        pipeline_tag="image-classification",
        tags=["keras", "tensorflow", "resnet", said.architecture or "resnet"],
        model_name=name if results else None,
        eval_results=results or None,
    )
    lines = [
        f"---\n{data.to_yaml()}\n---\n\n# {name}\n",
        f"{said.architecture}, fine-tuned with resnet-tf {__version__} for {len(classes)} classes.\n",
        *_figures(metrics),
        f"It takes uint8 RGB images of {said.image_size} pixels, view {said.preprocessing.view!r}, and gives logits.\n",
        "```python\nimport keras\nfrom huggingface_hub import hf_hub_download\n",
        f'model = keras.saving.load_model(hf_hub_download("{repository}", "model.keras"))\n```\n',
        f"`resnet-tf finetune PHOTOS --weights hf:{repository} --arch {said.architecture}` starts from it.\n",
        "## Classes\n",
        *(f"{number}. {_escaped(label)}" for number, label in enumerate(classes)),
    ]
    return "\n".join(lines) + "\n"


def _figures(metrics: dict[str, Any] | None) -> list[str]:
    if metrics is None:
        return ["It has not been evaluated.\n"]
    low, high = metrics["accuracy_ci95"]
    return [
        f"On {metrics['n']} images that it has not learned from, its accuracy is {metrics['accuracy']:.3f} "
        f"(95 % interval {low:.3f} to {high:.3f}), and its log loss {metrics['log_loss']:.3f}.\n",
        f"![Confusion matrix]({_MATRIX})\n",
    ]


def _arch(run: Run) -> str:
    return str(read_config(run.config)["arguments"]["arch"])


def _escaped(name: str) -> str:
    """Returns the name of a class so that Markdown and HTML show it unchanged."""
    plain = re.sub(r"\s+", " ", name)
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|<>&])", r"\\\1", plain)
