"""The notebooks run from the first cell to the last, one after the other, as a newcomer runs them."""

from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def run(name: str, folder: Path, **replaced: str):
    """Executes a notebook in a folder, with some of its text replaced; returns it with what it has printed."""
    client, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    for before, after in replaced.items():
        assert before in notebook.cells[1].source
        notebook.cells[1].source = notebook.cells[1].source.replace(before, after)
    settings = {"timeout": 240, "kernel_name": "python3", "resources": {"metadata": {"path": str(folder)}}}
    return client.NotebookClient(notebook, **settings).execute()


def printed(notebook) -> str:
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


def test_the_main_job_and_the_reading_of_its_report(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOKS.parent))
    made = run("main_job.ipynb", tmp_path, **{"5, 30": "2, 8", '"image_size": 64': '"image_size": 32'})
    assert "of new pictures right" in printed(made)
    assert (tmp_path / "saved_models" / "first" / "export" / "saved_model" / "1").is_dir()
    read = printed(run("reading_a_report.ipynb", tmp_path))
    assert "of 2 images, 95 % interval" in read
    assert "calibration error" in read


@pytest.mark.parametrize("name", ["main_job.ipynb", "reading_a_report.ipynb"])
def test_a_notebook_is_kept_without_outputs(name):
    assert '"outputs": []' in (NOTEBOOKS / name).read_text(encoding="utf-8")
    assert '"output_type"' not in (NOTEBOOKS / name).read_text(encoding="utf-8")
