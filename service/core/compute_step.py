"""One batch, start to end: slices of requests → one `CellBatch` → encode → split by cells. Pure, and on the worker."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from model.contract import CellBatch, Encoder, LatentParams
from service.core.batcher import Slice
from service.core.preparation import PreparedRequest


def compute(encoder: Encoder, slices: Sequence[Slice[PreparedRequest]]) -> list[LatentParams]:
    """Encode the cells of all slices at once.

    Args:
        encoder: of the model that all of them were prepared for.
        slices: in any order; none of them may be changed.

    Returns:
        The posterior of each slice's cells, in order, as views; q(l) where any of the requests takes it.

    Raises:
        RuntimeError: the encoder answered another number of cells, or another shape, than it was asked.
    """
    cells = CellBatch.concatenate([slice_.item.batch.cells(slice_.start, slice_.stop) for slice_ in slices])
    params = encoder.encode(cells, library=any(slice_.item.needs_library for slice_ in slices))
    _check_shape(params, cells.n_cells, encoder.spec.n_latent)
    bounds = np.cumsum([0, *(slice_.n_cells for slice_ in slices)]).tolist()
    return [params.cells(start, stop) for start, stop in itertools.pairwise(bounds)]


def _check_shape(params: LatentParams, n_cells: int, n_latent: int) -> None:
    """An answer split without this check would hand callers each other's cells."""
    matrix, vector = (n_cells, n_latent), (n_cells,)
    shapes = (params.qz_mean.shape, params.qz_variance.shape, params.ql_mean.shape, params.ql_variance.shape)
    if shapes != (matrix, matrix, vector, vector):
        raise RuntimeError(f"the encoder answered {shapes} for {n_cells} cells of {n_latent} latent dimensions")
