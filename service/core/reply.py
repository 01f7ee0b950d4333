"""Posterior of a request's cells → the answer it asked for. Draws and means that need arithmetic are made here."""

from __future__ import annotations

import dataclasses

import numpy as np

from model.contract import LatentParams
from model.logistic_normal import softmax_mean
from model.sampling import draw
from service.core.catalog import LoadedModel
from service.core.errors import invalid
from service.core.messages import EncodeReply, Output, Samples
from service.core.preparation import PreparedRequest


def compose_reply(prepared: PreparedRequest, params: LatentParams, model: LoadedModel) -> EncodeReply:
    """Build the answer. A pure function of the request, its posterior and the model.

    Raises:
        ServiceError: INVALID, a cell's posterior is not finite: its counts are beyond what the encoder can take.
    """
    _check_finite(params)
    outputs, distribution = prepared.outputs, model.spec.latent_distribution
    reply = EncodeReply(
        model=model.name,
        model_version=model.version,
        n_cells=prepared.n_cells,
        cells=prepared.names,
        warnings=prepared.notices,
    )
    if Output.QZ in outputs:
        reply = dataclasses.replace(reply, qz_mean=params.qz_mean, qz_variance=params.qz_variance)
    if Output.QL in outputs:
        reply = dataclasses.replace(reply, ql_mean=params.ql_mean, ql_variance=params.ql_variance)
    if Output.Z in outputs:
        z = softmax_mean(params.qz_mean, params.qz_variance) if distribution == "ln" else params.qz_mean
        reply = dataclasses.replace(reply, z=z)
    if Output.LIBRARY in outputs:
        reply = dataclasses.replace(reply, library_observed=prepared.library)
        if Output.QL in outputs:
            with np.errstate(over="ignore"):
                library_latent = np.exp(params.ql_mean + params.ql_variance / 2)
            reply = dataclasses.replace(reply, library_latent=library_latent)
    if Output.SAMPLES in outputs:
        draws = draw(
            params,
            distribution,
            n_samples=prepared.n_samples,
            seed=prepared.seed,
            first_cell=prepared.first_cell,
        )
        samples = Samples(prepared.seed, draws.latent_z, draws.latent_l, draws.untran_latent_z, draws.untran_latent_l)
        reply = dataclasses.replace(reply, samples=samples)
    return reply


def _check_finite(params: LatentParams) -> None:
    finite = np.isfinite(params.ql_mean) & np.isfinite(params.ql_variance)
    finite &= np.isfinite(params.qz_mean).all(axis=1) & np.isfinite(params.qz_variance).all(axis=1)
    if not finite.all():
        cell = int(np.argmin(finite))
        invalid(
            f"the posterior of cell {cell} is not finite: its counts are far beyond those of any cell",
            field="gene_counts",
            index=cell,
            counts={"offenders": int(np.count_nonzero(~finite))},
        )
