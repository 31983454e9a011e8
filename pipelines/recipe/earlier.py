"""Finds out what an earlier run decided.

An unfinished run continues with its own decisions, and `--config` repeats those of a different run.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import Recipe
from pipelines.recipe.findings import Findings, findings_from
from pipelines.runs.directory import read_config
from pipelines.runs.files import fingerprint_of
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers

# The settings that a recipe is decided from. A different number of images only changes the steps of a repeated recipe.
_DECIDED_FROM = ("arch", "recipe", "batch_size")


@dataclass(frozen=True)
class Earlier:
    """The config.json of an earlier run.

    Args:
        source: Path of the file.
        content: Whole content of the file.
    """

    source: str
    content: dict[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """The settings that the run was given."""
        return self.content["arguments"]


def read_earlier(path: Path) -> Earlier:
    """Reads a config.json.

    Raises:
        UserError: The file cannot be read, or is not the config.json of a run that has chosen its own model.
    """
    content = read_config(path)
    if content.get("chosen_by"):
        raise UserError(
            f"{str(path)!r} is of a training on all images, which has chosen nothing; repeat the run that chose it, "
            f"{content['chosen_by']['run']!r}"
        )
    return Earlier(str(path), content)


def repeated_recipe(earlier: Earlier | None, config: FinetuneConfig) -> dict[str, Any]:
    """Returns the decisions that `pipelines.recipe.decide.decide` repeats, by setting.

    There are none if they were taken for a different network or batch size, see `changed_facts`.

    Args:
        earlier: Run that decided, or None.
        config: Settings that are asked for now.

    Raises:
        UserError: A decision has a name that this version does not know.
    """
    if earlier is None or changed_facts(earlier, config):
        return {}
    recipe = earlier.content.get("recipe") or {}
    unknown = sorted(set(recipe) - {field.name for field in fields(Recipe)})
    if unknown:
        raise UserError(f"{earlier.source!r} has decisions that this version does not know: {', '.join(unknown)}")
    if recipe:  # what earlier versions did without writing it here
        arguments = earlier.arguments
        unwritten = {"view": "crop", "image_size": arguments.get("image_size"), "minutes": None}
        recipe = {**unwritten, "balance": arguments.get("balance", "none"), **recipe}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.items()}


def repeated_findings(earlier: Earlier | None, config: FinetuneConfig) -> Findings | None:
    """Returns what the earlier run saw in a look at the pictures, if its recipe is repeated, or None."""
    if earlier is None or not repeated_recipe(earlier, config):
        return None
    try:
        return findings_from(earlier.content["findings"]) if earlier.content.get("findings") else None
    except (TypeError, KeyError) as error:
        raise UserError(f"the 'findings' of {earlier.source!r} are not understood: {error}") from error


def repeated_precision(earlier: Earlier | None, config: FinetuneConfig) -> str:
    """Returns the precision that is asked for, or the earlier run's precision if "auto" is asked for."""
    return earlier.content.get("precision", "auto") if earlier and config.precision == "auto" else config.precision


def changed_facts(earlier: Earlier, config: FinetuneConfig) -> list[str]:
    """Returns the names of the settings that the recipe depends on and that have changed since it was decided."""
    before, now = earlier.arguments, asdict(config)
    changed = [name for name in _DECIDED_FROM if before.get(name) != now[name]]
    return changed + (["weights"] if (before.get("weights") != "none") != config.pretrained else [])


def check_weights(earlier: Earlier | None, config: FinetuneConfig, weights: Path | None) -> None:
    """Checks that weights with the name that the earlier run used are also the same file.

    Nothing would be repeated with a different file.

    Args:
        earlier: Run that is repeated, or None.
        config: Settings that are asked for now.
        weights: Path of the weights, or None.

    Raises:
        UserError: The file is a different one.
    """
    if earlier is None or weights is None or earlier.arguments.get("weights") != config.as_arguments()["weights"]:
        return
    before, now = (earlier.content.get("weights") or {}).get("sha256"), fingerprint_of(weights)
    if before not in (None, now):
        raise UserError(
            f"the weights {str(weights)!r} have the SHA-256 {now}, but {earlier.source!r} was made with {before}; "
            "bring that file back, or start another --run without --config"
        )


def differences(
    earlier: Earlier | None,
    config: FinetuneConfig,
    structure: Mapping[str, Any],
    data: Mapping[str, Any],
    versions: Mapping[str, str],
) -> list[str]:
    """Returns the reasons why the result may differ from the earlier run's, as sentences.

    Args:
        earlier: Run that is repeated, or None.
        config: Settings that are asked for now.
        structure: Structure of the present network, as in config.json.
        data: Description of the present images, as in config.json.
        versions: Versions of the present packages, as in config.json.
    """
    if earlier is None:
        return []
    before = earlier.content
    lines = []
    if facts := changed_facts(earlier, config):
        lines.append(f"the recipe is decided anew, since {' and '.join(facts)} changed")
    elif missing := [field.name for field in fields(Recipe) if field.name not in repeated_recipe(earlier, config)]:
        lines.append(f"it decides nothing of {', '.join(missing)}; that is decided now")
    if not facts and before.get("structure") not in (None, structure):
        lines.append(f"the network is another one: {structure}, there {before['structure']}")
    if (before.get("data") or {}).get("fingerprint") != data["fingerprint"]:
        lines.append("the images or their splits are others")
    made = before.get("versions") or {}
    newer = [f"{name} {made.get(name)}, now {now}" for name, now in versions.items() if made.get(name) != now]
    if newer:
        lines.append(f"it was made with {'; '.join(newer)}")
    return [f"{earlier.source}: {line}" for line in lines]


def earlier_for_all(workers: Workers, find: Callable[[], Earlier | None]) -> Earlier | None:
    """Returns the run whose decisions the chief repeats, or None. All workers must call this together.

    Args:
        workers: All workers.
        find: Function that returns the run that is continued, or the run of `--config`; only the chief calls it.

    Raises:
        UserError: The run's config.json is damaged.
    """

    def found() -> dict[str, Any] | None:
        earlier = find()
        return asdict(earlier) if earlier else None

    content = workers.from_chief(found)
    return Earlier(**content) if content else None
