"""A decision is one row of a recipe, with its reason and with who took it. The rows together make the recipe."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# The values of `Decision.decided_by`.
USER, EARLIER_RUN, POLICY, DATA = "user", "earlier run", "policy", "data"
# The value of `Recipe.choose_by` where there is no validation, since everything is chosen.
NOTHING = "nothing"


@dataclass(frozen=True)
class Decision:
    """One row of a recipe.

    Args:
        setting: Name of a field of `Recipe`.
        value: Value that was decided.
        reason: Reason in a few words, with its source.
        decided_by: Who decided: "user"; "earlier run", whose decisions are repeated; "policy", which holds for all
            data; or "data" if the policy depends on the images.
    """

    setting: str
    value: Any
    reason: str
    decided_by: str = POLICY

    @property
    def changed(self) -> bool:
        """Whether somebody has overruled the policy."""
        return self.decided_by in (USER, EARLIER_RUN)


@dataclass(frozen=True)
class Recipe:
    """The values of all decisions: everything that training needs to know besides the data.

    Args:
        name: Name of the recipe, "pretrained" or one of `pipelines.recipe.scratch`.
        head_first: Whether a head is fitted to the frozen backbone's features before the layers are trained.
        head_stages: Number of the last stages that the head sees.
        head_pooling: Pooling of each stage, "avg" or "avg+max"; the head may leave the maxima out, see
            `fit_linear_probe`.
        refit_head: Whether the head that is kept was fitted to the validation images as well.
        frozen_stages: Names of the stages whose variables keep the values of the weights.
        freeze_batch_norms: Whether batch norms keep the statistics of the weights.
        balance: What is done about classes of unequal size, one of `pipelines.config.shared.BALANCES`.
        choose_by: Figure on the validation images that is lowest for the best model, "log_loss" or "balanced_log_loss",
            see `pipelines.evaluation.score`; or "nothing" without validation, see `pipelines.recipe.chosen`.
        epochs: Number of epochs in which the layers are trained together; with a plateau, their largest number.
        minutes: Time of the whole command, in minutes, by which the training ends; None if epochs decide.
        patience: Number of epochs without a better validation before training stops early.
        optimizer: Name of the optimizer: "adamw"; "sgd" with Nesterov momentum 0.9; or "momentum", also 0.9, with the
            papers' L2 penalty.
        schedule: Name of the schedule: "cosine" to 0 (Loshchilov and Hutter 2016), "steps", or "plateau", see
            `pipelines.recipe.schedule`.
        plateau_patience: Number of epochs without a better validation until the rate leaves the plateau; 0 without a
            plateau.
        learning_rate: Peak of the learning rate.
        warmup_steps: Number of warm-up steps. With "steps", the rate is a tenth of the peak in them; otherwise it rises
            linearly from 0 to the peak.
        drop_steps: Numbers of steps after which the schedule "steps" divides the rate by 10.
        total_steps: Number of steps of the whole training; with a plateau, their largest number.
        weight_decay: Decoupled decay of kernels only: in a step a weight loses learning_rate × weight_decay of itself.
            For "momentum" it is the factor of the penalty of all variables, see `resnet_tf.optimizers`.
        label_smoothing: Share of the target that is spread over all classes.
        augment: Changes that training makes to each image, one of `pipelines.images.augment.AUGMENTATIONS`.
        mix: Mixing that training applies to each batch, "none" or one of `pipelines.images.mix.MIXES`.
        min_area: Area of the smallest random crop, as a share of the image.
        image_size: Height and width of what the network sees, in pixels.
        view: What the network sees of a picture, "crop", "squeeze" or "pad", see
            `pipelines.images.regions.evaluation_region`.
    """

    name: str
    head_first: bool
    head_stages: int
    head_pooling: str
    refit_head: bool
    frozen_stages: tuple[str, ...]
    freeze_batch_norms: bool
    balance: str
    choose_by: str
    epochs: int
    minutes: float | None
    patience: int
    optimizer: str
    schedule: str
    plateau_patience: int
    learning_rate: float
    warmup_steps: int
    drop_steps: tuple[int, ...]
    total_steps: int
    weight_decay: float
    label_smoothing: float
    augment: str
    mix: str
    min_area: float
    image_size: int
    view: str

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from weights."""
        return self.name == PRETRAINED


PRETRAINED = "pretrained"


def recipe_of(decisions: Iterable[Decision]) -> Recipe:
    """Returns the recipe that decisions make; there must be one decision for each field of `Recipe`."""
    return Recipe(**{row.setting: row.value for row in decisions})
