"""What an earlier run decided: an unfinished one goes on with it, and `--config` repeats it in another one."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipelines.config.finetune import FinetuneConfig
from pipelines.recipe.decision import Recipe
from pipelines.runs.files import fingerprint_of, read_json
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers

# What a recipe is decided from beside the images; the number of these changes steps alone.
_DECIDED_FROM = ("arch", "recipe", "batch_size")


@dataclass(frozen=True)
class Earlier:
    """A run's config.json.

    Args:
        source: Where it stands.
        content: All of it.
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
        UserError: It cannot be read, or is not of a run.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("arguments"), dict):
        raise UserError(f"{str(path)!r} is no config.json of a run: it has no 'arguments'")
    return Earlier(str(path), content)


def repeated_recipe(earlier: Earlier | None, config: FinetuneConfig) -> dict[str, Any]:
    """The decisions for `pipelines.recipe.decide.decide` to repeat, none where they were for another network or batch.

    Args:
        earlier: The run that decided, or None.
        config: What is asked for now.

    Raises:
        UserError: A decision has a name that this version does not know.
    """
    if earlier is None or changed_facts(earlier, config):
        return {}
    recipe = earlier.content.get("recipe") or {}
    unknown = sorted(set(recipe) - {field.name for field in fields(Recipe)})
    if unknown:
        raise UserError(f"{earlier.source!r} has decisions that this version does not know: {', '.join(unknown)}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in recipe.items()}


def repeated_precision(earlier: Earlier | None, config: FinetuneConfig) -> str:
    """The precision that is asked for, or where that is "auto", the one that was chosen then."""
    return earlier.content.get("precision", "auto") if earlier and config.precision == "auto" else config.precision


def changed_facts(earlier: Earlier, config: FinetuneConfig) -> list[str]:
    """What else than the images is not as it was when the recipe was decided."""
    before, now = earlier.arguments, asdict(config)
    changed = [name for name in _DECIDED_FROM if before.get(name) != now[name]]
    return changed + (["weights"] if (before.get("weights") != "none") != config.pretrained else [])


def check_weights(earlier: Earlier | None, config: FinetuneConfig, weights: Path | None) -> None:
    """The weights of the same name must be the same file, else nothing would be repeated.

    Args:
        earlier: The run that is repeated, or None.
        config: What is asked for now.
        weights: Their file, or None.

    Raises:
        UserError: They are not.
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
    """Why the result may be another one, in sentences.

    Args:
        earlier: The run that is repeated, or None.
        config: What is asked for now.
        structure: What config.json says of the network now.
        data: And of the images.
        versions: And of the packages.
    """
    if earlier is None:
        return []
    before = earlier.content
    lines = []
    if facts := changed_facts(earlier, config):
        lines.append(f"the recipe is decided anew, since {' and '.join(facts)} changed")
    elif missing := [field.name for field in fields(Recipe) if field.name not in (before.get("recipe") or {})]:
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
    """The run whose decisions the chief repeats, None where there is none. Collective.

    Args:
        workers: All of them.
        find: Reads the decisions of the run that is continued, or has those of `--config`.

    Raises:
        UserError: The run's config.json is damaged.
    """

    def found() -> dict[str, Any] | None:
        earlier = find()
        return asdict(earlier) if earlier else None

    content = workers.from_chief(found)
    return Earlier(**content) if content else None
