"""How a run was made, for its report and its model card: the command, what it worked with, and how long it took."""

import shlex
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.config.finetune import FinetuneConfig
from pipelines.config.setting import described
from pipelines.config.verbs import ImportConfig
from pipelines.console.escapes import first_of
from pipelines.data.manifest import load_manifest
from pipelines.evaluation.predictions import preprocessing_of
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import sha256
from pipelines.runs.tables import read_table
from resnet_tf.errors import UserError


@dataclass(frozen=True)
class Made:
    """How a run was made.

    Args:
        command: Command that makes it again.
        facts: What it was made with, in words: pairs of a name and a value.
        history: Rows of history.csv; empty for an imported network.
        best: Name of the best model, in words, "" where nothing says it.
        findings: What the audit found: pairs of a finding and the number of images with examples.
        arch: Name of the network.
        data: Name of the images' folder or table.
        weights: Name of the file of weights, "" for none.
    """

    command: str
    facts: Sequence[tuple[str, str]]
    history: pd.DataFrame
    best: str
    findings: Sequence[tuple[str, str]]
    arch: str
    data: str
    weights: str


def how_it_was_made(run: Run, best: str = "") -> Made:
    """Reads from a run how it was made.

    Args:
        run: Finished run.
        best: Name of its best model, in words.

    Raises:
        UserError: Its config.json or its manifest cannot be read.
    """
    content = read_config(run.config)
    arguments, history = content["arguments"], _history(run)
    try:
        facts = [pair for pair in _facts(run, content, history) if pair[1]]
        weights = str((content.get("weights") or {}).get("file", ""))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{str(run.config)!r} is not as a run writes it: {error!r}; bring the original back") from error
    return Made(
        _command(content, run),
        facts,
        history,
        best,
        _findings(load_manifest(run.manifest)),
        str(arguments.get("arch", "")),
        Path(str(arguments.get("data") or "")).name,
        weights,
    )


def _command(content: dict[str, Any], run: Run) -> str:
    """The command with every argument that is not the default. The run that chose makes a training on all images."""
    chosen = content.get("chosen_by") or {}
    given = {**content["arguments"], "run": chosen.get("run", str(run.path)), "use_all": chosen.get("use_all")}
    verb, config = ("import", ImportConfig) if content.get("imported") else ("finetune", FinetuneConfig)
    positional, options = [], []
    for each in described(config):
        value = given.get(each.name, each.default)
        if value is None or value is False or value is MISSING or value == each.default:
            continue
        words = [shlex.quote(str(value))] if value is not True else []
        if each.setting.positional:
            positional += words
        else:
            options.append(" ".join([each.option, *words]))
    return " ".join(["resnet-tf", verb, *positional, *options])


def _facts(run: Run, content: dict[str, Any], history: pd.DataFrame) -> list[tuple[str, str]]:
    recipe, data = content.get("recipe") or {}, content.get("data") or {}
    weights, devices = content.get("weights") or {}, content.get("devices") or {}
    splits = ", ".join(f"{count:,} {name}" for name, count in (data.get("splits") or {}).items())
    look = preprocessing_of(run)
    size = recipe.get("image_size") or content["arguments"].get("image_size")
    processes = "" if devices.get("workers", 1) == 1 else f" in {devices['workers']} processes"
    return [
        ("network", f"{content['arguments'].get('arch', '')} at {size} pixels, view {look.view}"),
        ("images", f"{data.get('images', 0):,} ({splits})" if data else ""),
        ("fingerprint of the images", str(data.get("fingerprint", ""))),
        ("weights it began with", str(weights.get("file", "none, random values"))),
        ("SHA-256 of these weights", str(weights.get("sha256", ""))),
        ("SHA-256 of model.keras", sha256(run.model)),
        ("seed", str(content["arguments"].get("seed", ""))),
        ("training", _training(recipe, history) if recipe else ""),
        ("precision of the training", str(content.get("precision", ""))),
        ("devices of the training", f"{devices['devices']}{processes}" if devices else ""),
        ("minutes of training", _minutes(history)),
        ("versions", ", ".join(f"{name} {version}" for name, version in (content.get("versions") or {}).items())),
    ]


def _training(recipe: dict[str, Any], history: pd.DataFrame) -> str:
    """How long all layers were trained: with --minutes, --epochs auto or --patience, the recipe only has a bound."""
    epochs = recipe["epochs"]
    if len(history):
        epochs = int(history.loc[history["loss"].notna(), "epoch"].max()) if history["loss"].notna().any() else 0
    return f"{epochs} epoch{'' if epochs == 1 else 's'}, {recipe['optimizer']}" if epochs else "of the head alone"


def _history(run: Run) -> pd.DataFrame:
    """Returns history.csv, or an empty table where there is none that can be drawn."""
    try:
        table = read_table(run.history, ("phase",))
    except (OSError, ValueError):
        return pd.DataFrame()
    for name in table.columns.drop("phase", errors="ignore"):
        table[name] = pd.to_numeric(table[name], errors="coerce")
    drawn = {"epoch", "phase", "loss", "accuracy", "val_accuracy", "val_log_loss"} <= set(table)
    return table if drawn and len(table) and table["epoch"].notna().all() else pd.DataFrame()


def _minutes(history: pd.DataFrame) -> str:
    if "seconds" not in history or not history["seconds"].notna().any():
        return ""
    return f"{history['seconds'].sum() / 60:.1f} for the epochs"


def _findings(manifest: pd.DataFrame) -> list[tuple[str, str]]:
    """What the audit found in the images that a run kept."""
    found = []
    codes = manifest["problems"].str.split().explode().dropna()
    for code, images in codes.value_counts().items():
        paths = manifest["path"].loc[codes.index[codes == code]].tolist()
        found.append((str(code).replace("_", " "), f"{images:,} images, such as {first_of(paths, 2)}"))
    similar = manifest[manifest["similar"] > 0]
    if len(similar):
        groups = similar.groupby("similar")
        across = sum(len(set(labels)) > 1 for _, labels in groups["label"])
        more = f", {across:,} of them across classes" if across else ", none across classes"
        found.append(("near-identical pictures", f"{groups.ngroups:,} groups of {len(similar):,} images{more}"))
    tied = manifest[manifest["group"] != ""]
    if len(tied):
        found.append(("named groups", f"{tied['group'].nunique():,} groups of {len(tied):,} images stay together"))
    return found
