"""A latent space in two dimensions: UMAP where umap-learn is installed, else the two main components."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FEWEST_FOR_UMAP = 20
"""Cells below which a neighbour graph says nothing, and umap-learn's own starting layout fails."""

N_NEIGHBOURS = 15

Method = Literal["auto", "umap", "pca"]


@dataclasses.dataclass(frozen=True)
class Projection:
    """Cells in two dimensions.

    Attributes:
        points: [cells, 2], float64.
        method: `UMAP` or `PCA`.
        axes: what to write on each axis.
    """

    points: npt.NDArray[np.float64]
    method: str
    axes: tuple[str, str]


def umap_is_installed() -> bool:
    """Whether umap-learn is here; it is not imported, which takes seconds."""
    return importlib.util.find_spec("umap") is not None


def project(latent: npt.NDArray[Any], method: Method = "auto", seed: int = 0) -> Projection:
    """Two dimensions of [cells, n_latent]; the same for the same cells, wherever umap-learn is of one version.

    Args:
        latent: [cells, n_latent], finite.
        method: `auto` takes UMAP where it is installed and there are at least 20 cells of two dimensions or more.
        seed: of UMAP.

    Raises:
        ModuleNotFoundError: UMAP was asked for by name and is not installed.
        ValueError: the latent is no matrix, is empty, or holds a NaN or an infinity.
    """
    latent = np.asarray(latent, np.float64)
    if latent.ndim != 2 or 0 in latent.shape:
        raise ValueError(f"a latent space is a matrix of cells and dimensions, this one has the shape {latent.shape}")
    if not np.isfinite(latent).all():
        raise ValueError("the latent space has values that are no numbers (NaN or infinite)")
    if method == "auto":
        can = umap_is_installed() and len(latent) >= FEWEST_FOR_UMAP and latent.shape[1] > 1
        method = "umap" if can else "pca"
    return _umap(latent, seed) if method == "umap" else _pca(latent)


def _umap(latent: npt.NDArray[np.float64], seed: int) -> Projection:
    if not umap_is_installed():
        raise ModuleNotFoundError("UMAP needs umap-learn: pip install 'totalvi-client[umap]'", name="umap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ImportWarning)  # that its other half, which needs tensorflow, is not there
        umap = importlib.import_module("umap")  # takes seconds

    # One job, since a seed allows no more and umap-learn would warn of it.
    reducer = umap.UMAP(n_neighbors=min(N_NEIGHBOURS, len(latent) - 1), random_state=seed, n_jobs=1)
    return Projection(np.asarray(reducer.fit_transform(latent), np.float64), "UMAP", ("UMAP 1", "UMAP 2"))


def _pca(latent: npt.NDArray[np.float64]) -> Projection:
    centred = latent - latent.mean(axis=0)
    # The product is small whatever the number of cells, which may be a million.
    variances, directions = np.linalg.eigh(centred.T @ centred)
    variances, directions = variances[::-1][:2], directions[:, ::-1][:, :2]
    # A component's sign is arbitrary: its largest weight is positive, so that two runs draw the same picture.
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.where(directions[largest, np.arange(directions.shape[1])] < 0, -1.0, 1.0)
    points = centred @ directions
    total = float((centred**2).sum())
    shares = [100 * float(max(variance, 0.0)) / total if total else 0.0 for variance in variances]
    if points.shape[1] == 1:  # a latent space of one dimension lies on a line
        points, shares = np.column_stack([points, np.zeros(len(points))]), [*shares, 0.0]
    first, second = (f"PC {i} ({share:.0f} % of the variance)" for i, share in enumerate(shares, 1))
    return Projection(points, "PCA", (first, second))
