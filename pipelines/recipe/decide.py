"""Decides the settings of a recipe, each of them once.

A policy decides first. An earlier run overrules it, then what the user asked for, and last what a caller from Python
passes. Policies are small pure functions, as in BiT's hyper-rule (Kolesnikov et al. 2020).
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pipelines.config.checks import check_choice
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.shared import AUTO, BALANCES, VIEWS
from pipelines.recipe.balance import balance_decision, choice_of_model
from pipelines.recipe.decision import DATA, EARLIER_RUN, USER, Decision, Recipe
from pipelines.recipe.findings import Findings
from pipelines.recipe.pretrained import pretrained_policy
from pipelines.recipe.scratch import MODERN, he_drops, he_warmup, random_policy
from resnet_tf.architectures import find_architecture
from resnet_tf.errors import UserError

WARMUP_SHARE = 0.1
MOST_EPOCHS = 100_000  # as for --epochs
# The settings of a recipe that a user may ask for; None leaves them to the policy.
ASKED = (
    "image_size",
    "epochs",
    "minutes",
    "learning_rate",
    "label_smoothing",
    "augment",
    "mix",
    "patience",
    "view",
    "balance",
)
# The settings that say how long a training goes on.
_ENDS = ("epochs", "minutes", "patience", "schedule", "plateau_patience", "warmup_steps", "drop_steps", "total_steps")
_STEPS = ("warmup_steps", "drop_steps", "total_steps")


def decide(
    config: FinetuneConfig,
    images: int,
    recorded: Mapping[str, Any] | None = None,
    source: str = "",
    passed: Mapping[str, Any] | None = None,
    findings: Findings | None = None,
    imbalance: float = 1.0,
) -> tuple[Decision, ...]:
    """Decides all settings of a recipe, each with its reason.

    Passed values take precedence over the user's settings, these over an earlier run's decisions, and these over the
    policy. Numbers of steps follow from the number of images; the earlier run's are repeated if its total is the same.

    Args:
        config: Settings that the user asked for.
        images: Number of training images.
        recorded: Decisions of an earlier run, by setting; see `pipelines.recipe.earlier`.
        source: Path of the file with the earlier run's decisions.
        passed: Values that a caller from Python sets, by setting.
        findings: What a look at the pictures has shown, or None if nobody has looked.
        imbalance: Number of training images of the largest class over that of the smallest.

    Returns:
        One decision for each field of `Recipe`.

    Raises:
        UserError: A passed setting is not a field of `Recipe`, or there is no such view.
    """
    recorded, passed = dict(recorded or {}), _known(passed or {})
    policy = pretrained_policy(config, images, findings) if config.pretrained else random_policy(config, images)
    rows = {row.setting: row for row in policy}
    rows["balance"] = balance_decision(imbalance)
    usual_epochs = rows["epochs"].value
    rows["minutes"] = Decision("minutes", None, "the number of epochs says when it ends")
    if config.minutes is not None:
        rows |= {row.setting: row for row in timed_policy(usual_epochs, rows["name"].value)}
    elif config.epochs == AUTO:
        rows |= {row.setting: row for row in open_ended_policy(usual_epochs, rows["head_first"].value)}
    open_ended = config.epochs == AUTO or config.minutes is not None
    if ((recorded.get("schedule") == "plateau") != open_ended) or recorded.get("minutes") != config.minutes:
        # the user asks for a different end
        recorded = {name: value for name, value in recorded.items() if name not in _ENDS}

    asked = {name: getattr(config, name) for name in ASKED if getattr(config, name) not in (None, AUTO)}
    repeated = {name: value for name, value in recorded.items() if name not in _STEPS}
    where = f"as in {source}" if source else "as given"
    _overrule(rows, repeated, where, EARLIER_RUN, only_others=True)
    _overrule(rows, asked, "as asked", USER)
    _overrule(rows, passed, "as passed", USER)
    check_choice("the view", rows["view"].value, VIEWS)
    check_choice("the balance", rows["balance"].value, tuple(BALANCES))
    choice = choice_of_model(rows["balance"])
    other = recorded.get("choose_by") != choice.value and recorded.get("balance") == rows["balance"].value
    if "choose_by" not in passed and not ("choose_by" in recorded and other):
        rows["choose_by"] = choice

    steps = math.ceil(images / config.batch_size)
    total = max(1, steps * rows["epochs"].value)
    warming = steps * usual_epochs if rows["schedule"].value == "plateau" else total
    if config.minutes is not None:  # nobody knows yet how many epochs there will be; one of warm-up is enough
        warming = min(warming, round(steps / WARMUP_SHARE))
    for row in schedule_steps(rows["schedule"].value, config, warming, total):
        rows.setdefault(row.setting, row)
    if recorded.get("total_steps") == total:
        repeated = {name: recorded[name] for name in _STEPS if name in recorded and name not in passed}
        _overrule(rows, repeated, where, EARLIER_RUN, only_others=True)
    return tuple(rows.values())


def open_ended_policy(epochs: int, head_first: bool) -> list[Decision]:
    """Returns the decisions for --epochs auto, with a rate that stays at its peak while validation improves.

    These numbers are judgements. Fine-tuning, which usually has few epochs, may take ten times as many, and training
    from scratch twice as many. The rate leaves the plateau after a twelfth of the usual epochs, and at least two,
    without a better validation.

    Args:
        epochs: Number of epochs that the policy has for a known end.
        head_first: Whether a head is fitted before all layers are trained.
    """
    found = "as good as a cosine with a known end (Hägele et al. 2024)"
    return [
        Decision("epochs", (10 if head_first else 2) * epochs, "as asked", USER),
        Decision("schedule", "plateau", "as asked", USER),
        Decision("plateau_patience", max(2, round(epochs / 12)), found),
    ]


def timed_policy(epochs: int, recipe: str) -> list[Decision]:
    """Returns the decisions for --minutes, with an end that follows from the measured speed.

    There is no bound but the time. The patience is twice that of --epochs auto, since the time is there to be used.

    Args:
        epochs: Number of epochs that the policy has for a known end.
        recipe: Name of the recipe.
    """
    unknown = "how many epochs fit is not known before; only 100 and more have time for more difficult images"
    images = [Decision("augment", "light", unknown), Decision("mix", "none", unknown)] if recipe == MODERN else []
    return [
        Decision("epochs", MOST_EPOCHS, "as asked", USER),
        Decision("schedule", "plateau", "as asked", USER),
        Decision("plateau_patience", max(5, round(epochs / 6)), "as good as a cosine (Hägele et al. 2024)"),
        *images,
    ]


def schedule_steps(schedule: str, config: FinetuneConfig, warming: int, total: int) -> list[Decision]:
    """Returns the decisions on the steps at which the rate changes.

    Args:
        schedule: Name of the schedule, "cosine", "steps" or "plateau".
        config: Settings that the user asked for.
        warming: Number of steps that the warm-up is a share of; with a plateau, the steps of the usual training.
        total: Number of steps of the whole training; with a plateau, their largest number.
    """
    row = find_architecture(config.arch)
    if schedule == "steps":
        drops: tuple[int, ...] = tuple(round(share * warming) for share in he_drops(row))
        warmup, why = he_warmup(row, config.batch_size, warming), "He et al. 2015, section 4.2"
    else:
        drops, warmup, why = (), round(WARMUP_SHARE * warming), "for the optimizer's averages to fill"
    return [
        Decision("warmup_steps", warmup, why, DATA),
        Decision("drop_steps", drops, "at fixed shares of the training" if drops else "the rate has no steps", DATA),
        Decision("total_steps", total, "the epochs, and the number of images", DATA),
    ]


def _overrule(
    rows: dict[str, Decision], values: Mapping[str, Any], reason: str, decider: str, only_others: bool = False
) -> None:
    """Puts values into the rows. With `only_others`, a row that already has the value keeps its own reason."""
    for name, value in values.items():
        if not (only_others and name in rows and rows[name].value == value):
            rows[name] = Decision(name, value, reason, decider)


def _known(passed: Mapping[str, Any]) -> dict[str, Any]:
    known = [field.name for field in fields(Recipe)]
    unknown = sorted(set(passed) - set(known))
    if unknown:
        raise UserError(f"a recipe has no {', '.join(unknown)}; it has {', '.join(known)}")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in passed.items()}
