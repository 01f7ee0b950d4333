"""docs/from-10x-to-umap.ipynb, from its first cell to its last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.server import RunningServer
from tests.saves import ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
for needed in ("ipykernel", "scanpy", "umap", "anndata"):
    pytest.importorskip(needed)

NOTEBOOK = ROOT / "docs" / "from-10x-to-umap.ipynb"


def read() -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    return notebook


def test_no_outputs_are_kept_in_the_repository() -> None:
    for cell in read().cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


# What jupyter's own packages warn of is theirs.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::RuntimeWarning")
@pytest.mark.timeout(300)
def test_the_notebook_runs(tmp_path: Path, example: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTALVI_CLIENT_SERVER", f"http://127.0.0.1:{example.http_port}")
    monkeypatch.setenv("TOTALVI_NOTEBOOK_WORK", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "client"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = read()
    client = nbclient.NotebookClient(
        notebook, timeout=200, kernel_name="python3", resources={"metadata": {"path": str(ROOT / "docs")}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs if output.output_type == "stream")
    assert "305 cells, 20 latent dimensions, model pbmc version 1" in text
    assert "295 cells, 20 latent dimensions, model pbmc version 1" in text
    assert "proteins: 14 of the model's 14" in text
    assert any("image/png" in output.get("data", {}) for output in outputs), "there is a picture"
    assert not any(output.output_type == "error" for output in outputs)
