"""Posterior of a request's cells → the answer it asked for. Draws and means that need arithmetic are made here."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from model.contract import Float32Array, LatentParams
from model.logistic_normal import CELLS_AT_ONCE, softmax_mean
from model.sampling import draw
from service.core.catalog import LoadedModel
from service.core.errors import ErrorKind, ServiceError, invalid
from service.core.messages import EncodeReply, Output, Samples
from service.core.preparation import PreparedRequest

_LOG_MAX = np.nextafter(np.log(np.finfo(np.float32).max), np.float32(0))


def compose_reply(
    prepared: PreparedRequest, params: LatentParams, model: LoadedModel, abandoned: Callable[[], bool] = lambda: False
) -> EncodeReply:
    """Build the answer. A pure function of the request, its posterior and the model.

    Args:
        prepared: the request.
        params: posterior of all its cells.
        model: that computed it.
        abandoned: asked now and then whether the caller has left; then there is no answer to build.

    Raises:
        ServiceError: CANCELLED, it was abandoned; INVALID, a cell's posterior is not finite: its counts are beyond
            what the encoder can take.
    """
    outputs, distribution = prepared.outputs, model.spec.latent_distribution
    if outputs & {Output.QZ, Output.Z, Output.SAMPLES}:
        _check_finite(params.qz_mean, params.qz_variance)
    if prepared.needs_library:
        _check_finite(params.ql_mean, params.ql_variance)
    has_qz, has_ql, has_library = (output in outputs for output in (Output.QZ, Output.QL, Output.LIBRARY))
    z = library_latent = samples = None
    if Output.Z in outputs:
        z = _softmax_means(params, abandoned) if distribution == "ln" else params.qz_mean
    if has_library and has_ql:
        # An untrained library encoder may say anything; JSON has no infinity, so it ends at the largest number.
        library_latent = np.exp(np.minimum(params.ql_mean + params.ql_variance / 2, _LOG_MAX))
    if Output.SAMPLES in outputs:
        draws = draw(
            params,
            distribution,
            n_samples=prepared.n_samples,
            seed=prepared.seed,
            first_cell=prepared.first_cell,
        )
        samples = Samples(prepared.seed, draws.latent_z, draws.latent_l, draws.untran_latent_z, draws.untran_latent_l)
    return EncodeReply(
        model=model.name,
        model_version=model.version,
        n_cells=prepared.n_cells,
        cells=prepared.names,
        qz_mean=params.qz_mean if has_qz else None,
        qz_variance=params.qz_variance if has_qz else None,
        ql_mean=params.ql_mean if has_ql else None,
        ql_variance=params.ql_variance if has_ql else None,
        z=z,
        library_observed=prepared.library if has_library else None,
        library_latent=library_latent,
        samples=samples,
        warnings=prepared.notices,
    )


def _softmax_means(params: LatentParams, abandoned: Callable[[], bool]) -> Float32Array:
    z = np.empty_like(params.qz_mean)
    for start in range(0, params.n_cells, CELLS_AT_ONCE):
        if abandoned():
            raise ServiceError(ErrorKind.CANCELLED, "nobody waits for the answer any more")
        some = params.cells(start, start + CELLS_AT_ONCE)
        z[start : start + CELLS_AT_ONCE] = softmax_mean(some.qz_mean, some.qz_variance)
    return z


def _check_finite(*outputs: Float32Array) -> None:
    """Refuse the request if a cell's row of any output is not finite."""
    # A sum is finite only if all its terms are; where it overflows, the looks below tell better.
    if all([math.isfinite(output.sum(dtype=np.float64)) for output in outputs]):
        return
    finite = np.ones(len(outputs[0]), dtype=np.bool_)
    for output in outputs:
        finite &= np.isfinite(output).all(axis=tuple(range(1, output.ndim)))
    if not finite.all():
        cell = int(np.argmin(finite))
        invalid(
            f"the posterior of cell {cell} is not finite: its counts are far beyond those of any cell",
            field="gene_counts",
            index=cell,
            counts={"offenders": int(np.count_nonzero(~finite))},
        )
