"""The second training, on all images: it repeats what a run has chosen, and chooses nothing."""

from dataclasses import replace

from pipelines.images.stream import steps_per_epoch
from pipelines.recipe.chosen import Chosen, everything, repeated_decisions
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import write_json
from pipelines.training.all_layers import assign_average, train_all_layers
from pipelines.training.checkpoint import Progress, load_start, restore, save_start, values_of
from pipelines.training.head import repeat_head
from pipelines.training.plan import Plan
from pipelines.training.training_run import TrainingRun
from resnet_tf.errors import UserError


def plan_for_all(plan: Plan, run: Run, progress: Progress) -> Plan:
    """Returns the plan of a training on all images that repeats what a finished run has chosen.

    Args:
        plan: Plan of the run, whose settings say which images are used.
        run: Finished run.
        progress: Progress at its end.

    Raises:
        UserError: The run has no model, or an earlier version has not recorded what it chose.
    """
    chosen = _chosen(plan, run, progress)
    manifest, batch_size = everything(plan.manifest, chosen.use_all), plan.config.batch_size
    before, now = (
        steps_per_epoch(int((each["split"] == "train").sum()), batch_size) for each in (plan.manifest, manifest)
    )
    return replace(
        plan,
        manifest=manifest,
        decisions=repeated_decisions(plan.decisions, chosen, before, now),
        earlier=None,
        chosen=chosen,
    )


def _chosen(plan: Plan, run: Run, progress: Progress) -> Chosen:
    if not progress.best:
        raise UserError(f"the run {str(run.path)!r} has kept no model, so that --use-all has nothing to repeat")
    recorded = (
        progress.best_share,
        *((progress.head_strength, progress.head_channels) if plan.recipe.head_first else ()),
    )
    if None in recorded:
        raise UserError(
            f"the run {str(run.path)!r} was trained by an earlier version, which did not record all that it chose; "
            "start anew with another --run"
        )
    assert plan.config.use_all is not None
    assert progress.best_share is not None
    return Chosen(
        str(run.path),
        plan.config.use_all,
        progress.best,
        progress.best_epoch,
        progress.best_share,
        progress.head_strength,
        progress.head_channels,
        progress.plateau_epochs,
    )


def check_same_choice(run: Run, plan: Plan) -> None:
    """Checks that a training on all images that exists repeats the same choice, and writes into its config.json where
    the images and weights are now.

    Args:
        run: Run of the training on all images, which has a config.json.
        plan: Its plan, as it follows now from the run that has chosen.

    Raises:
        UserError: The choice, or the images, are others.
    """
    content, now = read_config(run.config), plan.content()
    made, chosen = content.get("chosen_by") or {}, now["chosen_by"]
    changed = [name for name in chosen if name != "run" and made.get(name) != chosen[name]]
    if changed or content["data"] != now["data"]:
        what = changed[0] if changed else "data"
        was, is_now = (made.get(what), chosen[what]) if changed else ("other images", "these")
        raise UserError(
            f"{str(run.path)!r} repeats another choice ({what} {was!r}, now {is_now!r}); move that folder away, or "
            "choose another --run"
        )
    if run.writable and content["arguments"] != now["arguments"]:
        write_json(run.config, {**content, "arguments": now["arguments"]})


def learn_from_all(training: TrainingRun) -> None:
    """Goes through the steps of the training, from the point where it was cut off, and writes the model at the end.

    Args:
        training: Training with a plan from `plan_for_all`.

    Raises:
        Collapsed: The loss became NaN.
        LostImage: An image is missing or can no longer be read.
    """
    run, model, progress = training.run, training.trainer.model, training.progress
    chosen = training.trainer.plan.chosen
    assert chosen is not None
    if training.checkpoint:
        restore(training.checkpoint, model)
    else:
        _begin(training, chosen)
    train_all_layers(training)
    if 0.0 < chosen.share < 1.0:
        start = training.trainer.plan.devices.workers.arrays_from_chief(lambda: load_start(run))
        assign_average(training, start, values_of(model), chosen.share)
    training.save_best()
    progress.best, progress.best_epoch, progress.best_share = chosen.model, chosen.epochs, chosen.share
    training.record(at_end=True)
    progress.finished = f"all {chosen.epochs} epochs"
    training.save_checkpoint()


def _begin(training: TrainingRun, chosen: Chosen) -> None:
    """Fits the head, and records when the rate goes down if validation has decided that."""
    model, progress = training.trainer.model, training.progress
    progress.plateau_epochs = chosen.plateau_epochs
    progress.plateau_steps = chosen.plateau_epochs * training.trainer.steps
    if chosen.head_strength is None or chosen.head_channels is None:
        return
    repeat_head(training.trainer, chosen.head_strength, chosen.head_channels)
    progress.rows.append({"epoch": 0, "phase": "head"})
    save_start(training.run, model)
    training.save_checkpoint()
    training.record()
