"""The plan of a training contains all that defines it, decided once.

It has three readers: one builds the network, one writes config.json, and one prints the decisions.
"""

import html
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import sklearn
import tensorflow as tf

from pipelines.config.finetune import FinetuneConfig
from pipelines.data.manifest import class_names, data_root, describe_data
from pipelines.data.value_range import decide_range
from pipelines.images.stream import InputSpec
from pipelines.recipe.balance import imbalance_in_words, imbalance_of
from pipelines.recipe.chosen import Chosen
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import Decision, Recipe, recipe_of
from pipelines.recipe.earlier import (
    Earlier,
    differences,
    repeated_findings,
    repeated_precision,
    repeated_recipe,
)
from pipelines.recipe.explain import batch_in_words, explain
from pipelines.recipe.findings import Findings
from pipelines.runs.files import fingerprint_of
from resnet_tf import __version__
from resnet_tf.architectures import find_architecture
from resnet_tf.distribution import choose_precision, choose_strategy, replicas
from resnet_tf.errors import UserError
from resnet_tf.networks import structure_for
from resnet_tf.weights import TORCH, Preprocessing, Structure, WeightFile
from resnet_tf.workers import Workers


@dataclass(frozen=True)
class Devices:
    """The devices that a training runs on.

    Args:
        strategy: tf.distribute strategy, or None for one device.
        workers: Processes that train together.
        precision: Precision of the computation.
    """

    strategy: Any
    workers: Workers
    precision: str

    @property
    def count(self) -> int:
        """Number of devices that share a batch, over all workers."""
        return replicas(self.strategy)


@dataclass(frozen=True, eq=False)
class Plan:
    """All that defines a training: what is trained, and how.

    `pipelines.training.setup.make_plan` makes a plan, and so does `plan_of` if images and weights are already known;
    `changed` makes a different one.

    Args:
        config: Settings that the user asked for.
        root: Folder that the manifest's paths are relative to.
        manifest: Table of all images, divided into splits.
        weights: File of weights, or None for training from scratch.
        structure: Structure of the network, which is the user's choice or else that of the weights.
        devices: Devices that the training runs on.
        decisions: Rows of the recipe, one for each of its settings.
        earlier: Run whose decisions are repeated, or None.
        passed: Settings of the recipe that a caller from Python has changed, by name.
        findings: What a look at the pictures has shown, or None before that.
        chosen: What another run has chosen and this training repeats on all images; None if it chooses by validation.
    """

    config: FinetuneConfig
    root: Path
    manifest: pd.DataFrame
    weights: WeightFile | None
    structure: Structure
    devices: Devices
    decisions: tuple[Decision, ...]
    earlier: Earlier | None = None
    passed: Mapping[str, Any] = field(default_factory=dict)
    findings: Findings | None = None
    chosen: Chosen | None = None

    @cached_property
    def recipe(self) -> Recipe:
        """The values of the decisions."""
        return recipe_of(self.decisions)

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return class_names(self.manifest)

    @cached_property
    def rows(self) -> dict[str, pd.DataFrame]:
        """The manifest's rows of each split, "train", "val" and "test"."""
        return {split: self.manifest[self.manifest["split"] == split] for split in ("train", "val", "test")}

    @property
    def validated(self) -> bool:
        """Whether there are images for validation."""
        return not self.rows["val"].empty

    @cached_property
    def data(self) -> dict[str, object]:
        """What config.json says of the images, their fingerprint among it."""
        return describe_data(self.manifest)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are normalized, and what the network sees of them."""
        return replace(self.weights.preprocessing if self.weights else TORCH, view=self.recipe.view)

    @cached_property
    def input_spec(self) -> InputSpec:
        """How images are prepared for the network."""
        return InputSpec(
            self.recipe.image_size,
            self.preprocessing.crop_fraction,
            self.preprocessing.interpolation,
            self.recipe.min_area,
            augment=self.recipe.augment,
            mix=self.recipe.mix,
            balanced=self.recipe.balance == "sampling",
            value_range=decide_range(self.config.range, self.manifest["stored_values"]),
            view=self.recipe.view,
        )

    def changed(self, **settings: Any) -> "Plan":
        """Returns the same plan with different settings of the recipe.

        What follows from them, such as the number of steps, is decided anew.

        Args:
            settings: Values by their names in `Recipe`.

        Raises:
            UserError: A name is not that of a setting.
        """
        passed = {**self.passed, **settings}
        decisions = _decisions(self.config, self.manifest, self.earlier, passed, self.findings)
        return replace(self, decisions=decisions, passed=passed)

    @property
    def wants_look(self) -> bool:
        """Whether the recipe depends on what the frozen network makes of the pictures."""
        open_questions = not all(self.decided(setting) for setting in ("view", "image_size", "epochs"))
        return self.recipe.head_first and open_questions and not repeated_recipe(self.earlier, self.config)

    def decided(self, setting: str) -> bool:
        """Returns whether somebody else than the policy has decided a setting of the recipe."""
        return next(row.changed for row in self.decisions if row.setting == setting)

    def informed(self, findings: Findings) -> "Plan":
        """Returns the plan that follows from a look at the pictures."""
        decisions = _decisions(self.config, self.manifest, self.earlier, self.passed, findings)
        return replace(self, decisions=decisions, findings=findings)

    def safer_learning_rate(self) -> float:
        """Returns the rate to try after a training that failed: the policy's own, or a fifth of it where it failed."""
        policy = _decisions(replace(self.config, learning_rate=None), self.manifest, None, {}, self.findings)
        usual = recipe_of(policy).learning_rate
        return usual if self.recipe.learning_rate > usual else self.recipe.learning_rate / 5

    def differences(self) -> list[str]:
        """Returns the reasons why a repeated run may give a different result, as sentences."""
        return differences(self.earlier, self.config, asdict(self.structure), self.data, _versions())

    def content(self) -> dict[str, Any]:
        """Returns the content of config.json, all that defines the run.

        "recipe" has the values, which a continued run reads; "decisions" has the same with reasons, for people.
        """
        weights, count = self.weights, self.devices.count
        return {
            "arguments": self.config.as_arguments(),
            "recipe": asdict(self.recipe),
            "decisions": [asdict(row) for row in self.decisions],
            "precision": self.devices.precision,
            "devices": {
                "workers": self.devices.workers.count,
                "devices": count,
                # The batch and the peak learning rate are those of a step over all devices, however many there are.
                "images_per_step": self.config.batch_size,
                "images_per_step_and_device": self.config.batch_size // count,
            },
            "findings": asdict(self.findings) if self.findings else None,
            "structure": asdict(self.structure),
            "preprocessing": asdict(self.preprocessing),
            "value_range": asdict(self.input_spec.value_range),
            "weights": {"file": weights.path.name, "sha256": fingerprint_of(weights.path)} if weights else None,
            "data": self.data,
            "chosen_by": asdict(self.chosen) if self.chosen else None,
            "versions": _versions(),
        }

    def __str__(self) -> str:
        """Returns what is trained, and the decisions with their reasons."""
        lines = [self.summary(), *self._remarks(), explain(self.decisions)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Returns the same as an HTML table, for notebooks."""
        columns = ("setting", "value", "decided_by", "reason")
        cells = [[html.escape(str(getattr(row, name))) for name in columns] for row in self.decisions]
        rows = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in cells)
        head = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in columns)
        return f"<p>{html.escape(self.summary())}</p><table><tr>{head}</tr>{rows}</table>"

    def _remarks(self) -> list[str]:
        labels = self.rows["train"]["label"]
        words = imbalance_in_words(labels.value_counts(), self.recipe.balance)
        return [each for each in (words, batch_in_words(self.config.batch_size, len(labels))) if each]

    def summary(self) -> str:
        """Returns in one line what is trained: the network, the classes, the images and the devices."""
        used = ("train", "val") if self.validated else ("train",)
        images = ", ".join(f"{len(self.rows[split])} {split}" for split in used)
        return (
            f"{self.config.arch} at {self.recipe.image_size} pixels, {len(self.classes)} classes, images: {images}; "
            f"{self.devices.precision} on {self.devices.count} device(s)"
        )


def plan_of(
    config: FinetuneConfig,
    manifest: pd.DataFrame,
    weights: WeightFile | None = None,
    earlier: Earlier | None = None,
    workers: Workers | None = None,
) -> Plan:
    """Makes a plan from images and weights that are already known. All workers must call this together.

    Args:
        config: Settings that the user asked for.
        manifest: Table of all images, divided into splits.
        weights: File of weights, or None for training from scratch.
        earlier: Run whose decisions are repeated, or None.
        workers: Processes that train together; None is this one alone.

    Raises:
        UserError: The weights do not fit, or a batch cannot be divided among the devices.
    """
    workers = workers or Workers()
    structure = structure_for(find_architecture(config.arch), weights, config.shortcut, config.stride_at)
    strategy = workers.strategy or choose_strategy(config.strategy)
    precision = workers.from_chief(lambda: choose_precision(repeated_precision(earlier, config)))
    if config.batch_size % replicas(strategy):
        raise UserError(f"--batch-size {config.batch_size} cannot be divided among {replicas(strategy)} devices")
    devices = Devices(strategy, workers, precision)
    findings = repeated_findings(earlier, config)
    decisions = _decisions(config, manifest, earlier, {}, findings)
    root = data_root(config.data)
    return Plan(config, root, manifest, weights, structure, devices, decisions, earlier, findings=findings)


def _decisions(
    config: FinetuneConfig,
    manifest: pd.DataFrame,
    earlier: Earlier | None,
    passed: Mapping[str, Any],
    findings: Findings | None,
) -> tuple[Decision, ...]:
    labels = manifest.loc[manifest["split"] == "train", "label"]
    source, imbalance = earlier.source if earlier else "", imbalance_of(labels.value_counts())
    return decide(config, len(labels), repeated_recipe(earlier, config), source, passed, findings, imbalance)


def _versions() -> dict[str, Any]:
    return {
        "resnet_tf": __version__,
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
    }
