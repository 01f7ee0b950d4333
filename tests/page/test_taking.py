"""What a person takes home: the picture, and the same request by other means, which gives the same latents."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.client.made_up import read
from tests.end_to_end.server import PATIENCE_S, environment
from tests.page.latents import Latents
from tests.page.the_page import ThePage
from tests.saves import ROOT


@pytest.fixture
def example(page: ThePage) -> ThePage:
    """The example cells, encoded."""
    page.use_example()
    page.encode_all()
    return page


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment({"PYTHONPATH": str(ROOT / "client"), "no_proxy": "127.0.0.1"}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_picture_is_that_of_the_plot(example: ThePage, tmp_path: Path) -> None:
    expect(example.plot).to_be_visible()
    with Image.open(example.download("Picture as PNG", tmp_path)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert min(pixels.shape[:2]) > 500
    # Points are the only thing of colour; they are all over the picture.
    rows, columns = np.nonzero(np.ptp(pixels, axis=2) > 60)
    assert len(rows) > 2000
    assert np.ptp(rows) > pixels.shape[0] / 3
    assert np.ptp(columns) > pixels.shape[1] / 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_same_in_curl(example: ThePage, tmp_path: Path) -> None:
    page_s = example.latents(tmp_path)
    line = example.snippet("curl")
    example.download("Request as JSON", tmp_path)
    answer = Latents.answered(json.loads(run(tmp_path, "bash", "-c", line)))
    answer.assert_same(page_s)
    assert answer.cells == page_s.cells


def test_the_same_in_python(example: ThePage, tmp_path: Path) -> None:
    page_s = example.latents(tmp_path)
    shutil.copy(ROOT / "examples" / "cells.h5ad", tmp_path / "example-cells.h5ad")
    run(tmp_path, sys.executable, "-c", example.snippet("Python"))
    [written] = [path for path in tmp_path.glob("*.h5ad") if path.name != "example-cells.h5ad"]
    cells = read(written)
    assert list(cells.obs_names) == page_s.cells
    np.testing.assert_array_equal(cells.obsm["X_totalVI"], page_s.z)


def test_the_same_in_r_names_this_model_and_this_service(example: ThePage, tmp_path: Path) -> None:
    """R is not here to run it."""
    snippet = example.snippet("R")
    assert f"{example.page.url}v1/models/pbmc/versions/1/encode" in snippet
    assert example.download("Request as JSON", tmp_path).name in snippet
