"""The notebook in docs runs from its first cell to its last, in a short form."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[3] / "docs" / "notebooks" / "cifar10.ipynb"


@pytest.mark.slow
def test_the_notebook_retells_the_report_from_loading_to_predicting(synthetic_cifar10, monkeypatch):
    monkeypatch.setenv("CIFAR10_DIR", str(synthetic_cifar10))
    monkeypatch.setenv("EPOCHS", "1")
    monkeypatch.setenv("IMAGES", "900")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "epoch  1  loss" in said
    assert "n = 10,000 test images" in said
    assert "verdict:" in said


def test_it_is_kept_with_its_outputs_and_no_path_of_a_machine():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(cell.outputs or "print" not in cell.source for cell in cells if cell.cell_type == "code")
    text = NOTEBOOK.read_text()
    for folder in (Path.home(), Path("~root").expanduser(), NOTEBOOK.parents[2]):
        assert f"{folder}/" not in text
    assert "/home/" not in text
    assert "/tmp/" not in text
