"""export.json: a list with an object for each export that is in the run's folder "export"."""

from typing import Any

from pipelines.config.formats import Target
from pipelines.console.terminal import warn
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, write_json
from resnet_tf.errors import UserError

Entry = dict[str, Any]


def entries_of(run: Run) -> list[Entry]:
    """Returns the objects of a run's exports that are still there; none if the file is missing or of another kind."""
    if not run.export_report.is_file():
        return []
    try:
        content = read_json(run.export_report)
    except UserError as error:
        warn(f"{error}; it is written anew")
        return []
    if not isinstance(content, list):  # of a version that knew one format
        return []
    folder = run.export_report.parent
    return [each for each in content if isinstance(each, dict) and (folder / str(each.get("path"))).exists()]


def without(entries: list[Entry], target: Target) -> list[Entry]:
    """Returns the objects of all other exports."""
    return [
        each for each in entries if (each.get("format"), each.get("precision")) != (target.format, target.precision)
    ]


def write_entries(run: Run, entries: list[Entry]) -> None:
    """Writes export.json; without any export there is none."""
    if entries:
        write_json(run.export_report, entries)
    else:
        run.export_report.unlink(missing_ok=True)
