"""Two dimensions of a latent space."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from totalvi_client import projection
from totalvi_client.projection import project

HAVE_UMAP = importlib.util.find_spec("umap") is not None


def latent(n_cells: int = 60, n_latent: int = 5, seed: int = 0) -> np.ndarray:
    """Two populations, far from each other in one direction."""
    cells = np.random.default_rng(seed).normal(size=(n_cells, n_latent))
    cells[: n_cells // 2, 0] += 20
    return cells.astype(np.float32)


def test_the_main_components_are_those_of_a_singular_value_decomposition() -> None:
    cells = latent()
    projected = project(cells, "pca")
    left, values, _ = np.linalg.svd(cells - cells.mean(axis=0, dtype=np.float64), full_matrices=False)
    scores = left[:, :2] * values[:2]
    for mine, theirs in zip(projected.points.T, scores.T, strict=True):
        assert np.allclose(mine, theirs) or np.allclose(mine, -theirs)
    shares = 100 * values**2 / (values**2).sum()
    assert projected.axes == (f"PC 1 ({shares[0]:.0f} % of the variance)", f"PC 2 ({shares[1]:.0f} % of the variance)")
    assert np.array_equal(projected.points, project(cells, "pca").points)


@pytest.mark.parametrize("shape", [(1, 5), (2, 5), (7, 1), (3, 2)])
def test_few_cells_and_few_dimensions_have_a_picture_too(shape: tuple[int, int]) -> None:
    projected = project(np.ones(shape))
    assert projected.points.shape == (shape[0], 2)
    assert projected.method == "PCA"
    assert not projected.points.any()
    assert projected.axes[0] == "PC 1 (0 % of the variance)"


@pytest.mark.skipif(not HAVE_UMAP, reason="umap-learn is not installed")
def test_umap_is_taken_where_it_is_installed_and_is_the_same_each_time() -> None:
    cells = latent()
    first, second = project(cells), project(cells)
    assert first.method == "UMAP"
    assert np.array_equal(first.points, second.points)
    one, other = first.points[:30], first.points[30:]
    apart = np.linalg.norm(one.mean(axis=0) - other.mean(axis=0))
    assert apart > one.std() + other.std()


def test_without_umap_the_components_are_taken_and_asking_for_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(projection, "umap_is_installed", lambda: False)
    assert project(latent()).method == "PCA"
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'totalvi-client\[umap\]'"):
        project(latent(), "umap")


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (np.zeros((0, 5)), "shape"),
        (np.zeros((5, 0)), "shape"),
        (np.zeros(5), "shape"),
        (np.array([[1.0, np.nan]]), "no numbers"),
    ],
)
def test_what_is_no_latent_space_is_refused(cells: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        project(cells)


def test_whether_umap_is_there_is_told_without_importing_it() -> None:
    code = "import sys; from totalvi_client.projection import *; umap_is_installed(); print('umap' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\n"
