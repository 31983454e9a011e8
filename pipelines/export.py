"""export: writes the best model for other engines, and checks in fresh processes that its answers are the same."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.config.formats import INT8, Target, check_installed
from pipelines.console.terminal import say
from pipelines.data.manifest import data_root
from pipelines.evaluation.inference import logits_of
from pipelines.evaluation.integrity import load_run_manifest
from pipelines.report.export_page import export_page
from pipelines.runs.chosen_by import learned_from
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import write_text
from pipelines.runs.lock import locked_part
from pipelines.runs.state import state_of
from pipelines.runs.temporaries import temporary_folder
from pipelines.serving.checked_saved_model import CHECKED_IMAGES, write_checked
from pipelines.serving.entries import Entry, entries_of, without, write_entries
from pipelines.serving.exported import Exported, load_exported
from pipelines.serving.measure import KEPT, Measurement, bytes_of, measure
from pipelines.serving.photos import Photos, for_calibration, held_out
from pipelines.serving.table import table_of
from pipelines.serving.web_runtime import runtime_of
from pipelines.serving.writers import Converters
from resnet_tf.errors import UserError

_SAVED_MODEL = Target("saved_model")
_PAGE = "report.html"


def export(run: Run, mirror: bool = False, *, unfinished: bool = False, data: str | None = None) -> Path:
    """Writes export/saved_model/1 in the run, after a fresh process has served held-out images with it.

    Args:
        run: Run that has a model.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        unfinished: Whether the best model so far of an unfinished run will do.
        data: Folder or CSV where the images are now, or None if they have not moved.

    Returns:
        The SavedModel's folder.

    Raises:
        UserError: The run is not finished, another process exports it, a held-out image is missing or another one, the
            fresh process cannot serve the SavedModel, or the served probabilities differ. The SavedModel is not kept
            then.
    """
    _check_finished(run, unfinished)
    with locked_part(run, run.export_report.parent):
        exported = load_exported(run, mirror)
        photos = held_out(load_run_manifest(run), _root(run, data), exported.spec, CHECKED_IMAGES)
        run.saved_model.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(run.saved_model.parent) as temporary:
            folder = temporary / "1"
            difference = write_checked(exported, photos, folder)
            _keep(exported, _SAVED_MODEL, folder, _unmeasured(folder, photos, difference))
        _write_page(exported)
    say(
        f"SavedModel: {run.saved_model}\nsignatures serving_default (uint8 images [n, h, w, 3]) and serve_bytes "
        f"(encoded images [n]); {len(photos)} images served in a fresh process, largest difference of a "
        f"probability {difference:.2g}{_calibrated(exported)}"
    )
    return run.saved_model


def export_formats(
    run: Run,
    targets: Sequence[Target],
    mirror: bool = False,
    *,
    unfinished: bool = False,
    data: str | None = None,
    runtime: str | None = None,
) -> Measurement:
    """Writes exports in the run's folder "export", each measured in a fresh process beside the SavedModel.

    Args:
        run: Run that has a model.
        targets: Formats and precisions to write, from `pipelines.config.formats.targets_of`.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        unfinished: Whether the best model so far of an unfinished run will do.
        data: Folder or CSV where the images are now, or None if they have not moved.
        runtime: Where the runtime for browsers is, see `pipelines.serving.web_runtime`; None downloads it.

    Returns:
        The figures of the SavedModel in float32, which is kept if it is among the targets, and of the others.

    Raises:
        UserError: As `export`; or a package is missing, a converter or a runtime fails, or an export differs by more
            than its bound. Such an export is not kept, and the others are.
    """
    _check_finished(run, unfinished)
    check_installed(targets)
    for_browsers = runtime_of(runtime) if any(target.format == "web" for target in targets) else None
    place = run.export_report.parent
    with locked_part(run, place):
        exported, root, manifest = load_exported(run, mirror), _root(run, data), load_run_manifest(run)
        photos = held_out(manifest, root, exported.spec)
        eight_bits = any(target.precision == INT8 for target in targets)
        calibration = for_calibration(manifest, root, exported.spec) if eight_bits else None
        place.mkdir(parents=True, exist_ok=True)
        with temporary_folder(place) as temporary:
            converters = Converters(exported, calibration, temporary, for_browsers)
            written, refused = _written(exported, _with_saved_model(targets), photos, converters)
            logits = logits_of(exported.model, mirror, exported.temperature)
            measurement = _wanted(measure(written, photos, exported.classes, logits), targets)
            for found in measurement.exports:
                if found.kept:
                    _keep(exported, found.target, found.path, found.as_dict())
        _write_page(exported)
    say(table_of(measurement))
    refused |= measurement.failed
    refused |= {found.target: found.complaint for found in measurement.exports if found.complaint}
    if refused:
        raise UserError("; ".join(f"{target} is not kept: {reason}" for target, reason in refused.items()))
    say(f"report: {place / _PAGE}{_calibrated(exported)}")
    return measurement


def _with_saved_model(targets: Sequence[Target]) -> list[Target]:
    """Returns the exports to measure: the SavedModel in float32, which the others are compared with, comes first."""
    return list(dict.fromkeys([_SAVED_MODEL, *targets]))


def _written(
    exported: Exported, targets: Sequence[Target], photos: Photos, converters: Converters
) -> tuple[list[tuple[Target, Path]], dict[Target, str]]:
    """Writes exports into the converters' folder.

    Returns:
        The exports with their places, and those whose converter fails with the reasons.

    Raises:
        UserError: The SavedModel in float32 cannot be written, so that there is nothing to compare with.
    """
    written, refused = list[tuple[Target, Path]](), dict[Target, str]()
    for target in targets:
        path = target.place(converters.work / "written")
        path.parent.mkdir(parents=True, exist_ok=True)
        say(f"writing {target}")
        if target == _SAVED_MODEL:
            write_checked(exported, photos, path)
        else:
            try:
                converters.write(target, path)
            except UserError as error:
                refused[target] = str(error)
                continue
        written.append((target, path))
    return written, refused


def _wanted(measurement: Measurement, targets: Sequence[Target]) -> Measurement:
    """Returns a measurement that says which exports were asked for."""
    exports = [replace(found, wanted=found.target in targets) for found in measurement.exports]
    return replace(measurement, exports=exports)


def _check_finished(run: Run, unfinished: bool) -> None:
    state = state_of(run)
    if state.text and not unfinished:
        raise UserError(f"{state.text}; finish it, or export its best model so far with --unfinished")


def _root(run: Run, data: str | None) -> Path:
    """Returns the folder of the run's images; where a network was imported without any, it is not used."""
    return data_root((read_config(run.config)["arguments"].get("data") or ".") if data is None else data)


def _keep(exported: Exported, target: Target, written: Path, figures: Entry) -> None:
    """Puts an export into its place in the run, and its figures into export.json."""
    run = exported.run
    place = target.place(run.export_report.parent)
    others = without(entries_of(run), target)
    write_entries(run, others)  # an export with an object in export.json is complete
    place.parent.mkdir(parents=True, exist_ok=True)
    _replace(written, place)
    write_entries(run, [*others, {**figures, **_facts(exported, place)}])


def _facts(exported: Exported, place: Path) -> Entry:
    run = exported.run
    return {
        "path": str(place.relative_to(run.export_report.parent)),
        "model_sha256": exported.file.sha256,
        "mirror": exported.mirror,
        "temperature": exported.temperature,
        "finished": exported.file.finished,
        "trained_on": learned_from(run) or None,
    }


def _unmeasured(folder: Path, photos: Photos, difference: float) -> Entry:
    """Returns what export.json has of a SavedModel that was checked, but not measured."""
    return {
        "format": _SAVED_MODEL.format,
        "precision": _SAVED_MODEL.precision,
        "bytes": bytes_of(folder),
        "split": photos.split,
        "n": len(photos),
        "max_probability_difference": difference,
        "verdict": KEPT,
    }


def _write_page(exported: Exported) -> None:
    """Writes the page of all exports that can be compared, as soon as one of them was measured.

    An export of an earlier model, or of another temperature, stays in export.json alone.
    """
    run, facts = exported.run, (exported.file.sha256, exported.temperature)
    entries = entries_of(run)
    alike = [entry for entry in entries if (entry.get("model_sha256"), entry.get("temperature")) == facts]
    if any("images_per_second" in entry for entry in alike):
        page = export_page(run.name, alike, len(entries) - len(alike))
        write_text(run.export_report.with_name(_PAGE), page)


def _calibrated(exported: Exported) -> str:
    calibration = exported.calibration
    if calibration is None:
        return ""
    return f"\nprobabilities are calibrated (temperature {calibration.temperature:.3g} of {calibration.fitted_on})"


def _replace(source: Path, target: Path) -> None:
    """Renames a file or folder to `target`; what was there goes beside the source, or back after an error."""
    old = source.with_name(f"old-{source.name}")  # one command may replace several
    try:
        if target.exists():
            target.rename(old)
        source.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
