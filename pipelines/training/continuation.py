"""Whether a command continues a run: the same settings, and the same images and weights, wherever these are now."""

from dataclasses import MISSING, fields
from pathlib import Path
from shlex import quote
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.data.manifest import fingerprint, load_manifest
from pipelines.evaluation.integrity import check_same_images
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import fingerprint_of, write_json
from pipelines.training.checkpoint import Progress
from pipelines.training.plan import Plan
from resnet_tf.errors import UserError
from resnet_tf.source_kinds import is_path

# Settings that name places. What is there is compared by its content, since a mount or a job's folder may move.
_NAMED = 3
_PLACES = ("data", "weights", "manifest")


def check_same_settings(run: Run, config: FinetuneConfig) -> None:
    """Checks that a run has the settings that are asked for now. A setting that a newer version has added counts as its
    default.

    Args:
        run: Run that exists.
        config: Settings that are asked for now.

    Raises:
        UserError: A setting differs, and the message names it; or the run is a training on all images.
    """
    if chosen_by := read_config(run.config).get("chosen_by"):
        raise UserError(
            f"{str(run.path)!r} is a training on all images; --run {quote(chosen_by['run'])} --use-all "
            f"{chosen_by['use_all']} continues it"
        )
    before, now = _arguments(run), config.as_arguments()
    for name in ("image_size", "balance"):
        if now[name] is None and name not in read_config(run.config).get("recipe", {}):
            now[name] = before[name]  # earlier versions did not leave it to the data
    changed = [name for name in now if before.get(name) != now[name] and not _moved(name, before.get(name), now[name])]
    if changed:
        what = "; ".join(f"{name} {before.get(name)!r}, now {now[name]!r}" for name in changed[:_NAMED])
        what += f"; and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        raise UserError(f"the run {str(run.path)!r} exists with other settings ({what}); choose another --run")


def check_moved(run: Run, plan: Plan) -> None:
    """Checks by their content that images and weights at another place are those of the run, and writes the new place
    into config.json.

    Args:
        run: Run that is continued.
        plan: The run's own plan, with the places that are given now.

    Raises:
        UserError: Something there differs from what the run was made with.
    """
    before, now = _arguments(run), plan.config.as_arguments()
    moved = [name for name in _PLACES if before.get(name) != now[name]]
    if not moved:
        return
    content = read_config(run.config)
    if "data" in moved:
        check_same_images(plan.manifest, plan.root)
    if "weights" in moved and plan.weights is not None:
        made, found = (content.get("weights") or {}).get("sha256"), fingerprint_of(plan.weights.path)
        if made not in (None, found):
            raise UserError(
                f"the weights {str(plan.weights.path)!r} have the SHA-256 {found}, but the run {str(run.path)!r} was "
                f"made with {made}; bring that file back, or choose another --run"
            )
    manifest = plan.config.manifest if "manifest" in moved else None
    if manifest is not None and fingerprint(load_manifest(Path(manifest))) != plan.data["fingerprint"]:
        raise UserError(
            f"--manifest {manifest} has other images or splits than the run {str(run.path)!r}; choose another --run"
        )
    write_json(run.config, {**content, "arguments": {**content["arguments"], **{name: now[name] for name in moved}}})


def check_choice(run: Run, progress: Progress, choose_by: str) -> None:
    """Checks that the best model so far was chosen as the next ones are.

    Args:
        run: Run that is continued.
        progress: Progress of the run.
        choose_by: Figure by which the best model is chosen now.

    Raises:
        UserError: A version of the program that knew no balanced log loss has chosen the best model.
    """
    if progress.best and getattr(progress, f"best_{choose_by}") is None:
        raise UserError(
            f"the run {str(run.path)!r} was begun by an earlier version, which did not choose by "
            f"{choose_by.replace('_', ' ')}; start anew with another --run, or finish it with that version"
        )


def _arguments(run: Run) -> dict[str, Any]:
    """The settings of a run, with the defaults of those that it does not have."""
    arguments = read_config(run.config)["arguments"]
    defaults = {each.name: each.default for each in fields(FinetuneConfig) if each.default is not MISSING}
    return {**defaults, **arguments}


def _moved(name: str, before: object, now: object) -> bool:
    """Whether two settings may be two places of the same thing."""
    if name not in _PLACES or before is None or now is None:
        return False
    return name != "weights" or (is_path(str(before)) and is_path(str(now)))
