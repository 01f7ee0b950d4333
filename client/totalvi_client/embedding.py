"""The latent space of an AnnData or a MuData, in one line."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from totalvi_client.choices import KEY, Choices
from totalvi_client.client import Client
from totalvi_client.elements import storable
from totalvi_client.encoding_run import Progress, card_of, client_of, encode_cells
from totalvi_client.holdings import holdings_of
from totalvi_client.left_over import forget_in_memory
from totalvi_client.part_file import Arrays
from totalvi_client.plan import Plan, plan_for
from totalvi_client.report import Report, gathered
from totalvi_client.results import Label, Notice


def embed(
    data: Any,
    client: Client | str,
    *,
    model: str | None = None,
    version: str | int | None = None,
    key: str = KEY,
    layer: str | None = None,
    gene_column: str | None = None,
    modality: str | None = None,
    proteins: str | Literal[False] | None = None,
    protein_names: str | Sequence[str] | None = None,
    protein_modality: str | None = None,
    protein_layer: str | None = None,
    batch_key: str | None = None,
    batch: Label | None = None,
    batch_map: Mapping[Any, Label] | None = None,
    covariate_keys: Mapping[str, str] | None = None,
    covariates: Mapping[str, Label] | None = None,
    distribution: bool = False,
    library: bool = False,
    n_samples: int = 0,
    seed: int | None = None,
    min_gene_coverage: float | None = None,
    allow_non_integer: bool = False,
    slice_cells: int | None = None,
    in_flight: int = 4,
    priority: Literal["interactive", "bulk"] | None = None,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> Report:
    """Encode the cells of an AnnData or MuData and put their latent representation into `obsm[key]`.

    Written are `obsm[key]`, float32 [cells, n_latent], what scvi-tools' `get_latent_representation()` gives, and
    `uns[key]`, where it came from; with `distribution` also `obsm["X_latent_qzm"]` and `obsm["X_latent_qzv"]`, mean and
    variance of q(z); with `n_samples` `obsm[key + "_samples"]`, [cells, n_samples, n_latent]; with `library` a column
    of `obs`. Of a MuData both it and the modality with the genes get them. Nothing is written before all is there.

    Args:
        data: AnnData or MuData, in memory, backed, or a view (which becomes an AnnData of its own, as always when one
            writes into it).
        client: whom to ask, or the address of a server.
        model: see `Choices`, as for all that follow.
        version: see `Choices`.
        key: see `Choices`.
        layer: see `Choices`.
        gene_column: see `Choices`.
        modality: see `Choices`.
        proteins: see `Choices`.
        protein_names: see `Choices`.
        protein_modality: see `Choices`.
        protein_layer: see `Choices`.
        batch_key: see `Choices`.
        batch: see `Choices`.
        batch_map: see `Choices`.
        covariate_keys: see `Choices`.
        covariates: see `Choices`.
        distribution: see `Choices`.
        library: see `Choices`.
        n_samples: see `Choices`.
        seed: see `Choices`.
        min_gene_coverage: see `Choices`.
        allow_non_integer: see `Choices`.
        slice_cells: see `Choices`.
        in_flight: see `Choices`.
        priority: see `Choices`.
        timeout: see `Choices`.
        progress: told of the cells done and of all of them.

    Returns:
        What was used, and what did not fit; print it.

    Raises:
        InputError: something is missing, unknown or cannot be told; the message says what to do.
        TotalviError: the server refuses, or does not answer.
    """
    choices = Choices(
        model=model,
        version=version,
        key=key,
        layer=layer,
        gene_column=gene_column,
        modality=modality,
        proteins=proteins,
        protein_names=protein_names,
        protein_modality=protein_modality,
        protein_layer=protein_layer,
        batch_key=batch_key,
        batch=batch,
        batch_map=batch_map,
        covariate_keys=covariate_keys,
        covariates=covariates,
        distribution=distribution,
        library=library,
        n_samples=n_samples,
        seed=seed,
        min_gene_coverage=min_gene_coverage,
        allow_non_integer=allow_non_integer,
        slice_cells=slice_cells,
        in_flight=in_flight,
        priority=priority,
        timeout=timeout,
    )
    began = time.monotonic()
    with client_of(client) as asked:
        plan, serving = _plan(data, asked, choices), asked.server_version()
        arrays = [np.empty((plan.n_cells, *kept.shape), dtype=np.float32) for kept in plan.kept]
        notices: list[Notice] = []

        def take(first: int, values: Arrays, told: tuple[Notice, ...]) -> None:
            for array, part in zip(arrays, values, strict=True):
                array[first : first + len(part)] = part
            notices.extend(told)

        encode_cells(plan, asked, take, progress=progress)
    report = plan.report(
        notices=gathered(notices, plan.notices),
        written=tuple(map(str, plan.kept)),
        server_version=serving,
        seconds=time.monotonic() - began,
    )
    _write(data, plan, arrays, report)
    return report


def check(data: Any, client: Client | str, *, progress: Progress | None = None, **choices: Any) -> Report:
    """What `embed` would do, without encoding: how the genes fit, and what the server would warn of.

    Args:
        data: AnnData or MuData.
        client: whom to ask, or the address of a server.
        progress: told of the cells looked at.
        **choices: those of `Choices`.

    Raises:
        InputError: what `embed` would raise.
        TotalviError: the server refuses, or does not answer.
    """
    with client_of(client) as asked:
        return look_at(_plan(data, asked, Choices(**choices)), asked, progress)


def look_at(plan: Plan, client: Client, progress: Progress | None) -> Report:
    """Look at every count, and let the server look at the first cells."""
    began = time.monotonic()
    notices: tuple[Notice, ...] = ()
    done = 0
    for cells in plan.slices():
        if done == 0:
            answer = client.validate(
                cells.gene_counts,
                protein_counts=cells.protein_counts,
                batch=cells.batch,
                categorical_covariates=cells.categorical_covariates,
                continuous_covariates=cells.continuous_covariates,
                **plan.options(),
            )
            notices = answer.warnings
        done = min(done + plan.slice_cells, plan.n_cells)
        if progress is not None:
            progress(done, plan.n_cells)
    return plan.report(notices=gathered(notices, plan.notices), seconds=time.monotonic() - began)


def _plan(data: Any, client: Client, choices: Choices) -> Plan:
    card = card_of(client, choices)
    holdings = holdings_of(data, card, modality=choices.modality, protein_modality=choices.protein_modality)
    return plan_for(holdings, card, choices)


def _write(data: Any, plan: Plan, arrays: list[npt.NDArray[np.float32]], report: Report) -> None:
    targets = [data]
    if plan.holdings.gene_modality is not None:
        targets.append(data.mod[plan.holdings.gene_modality])
    with warnings.catch_warnings():
        # A view becomes an AnnData of its own when it is written into, which anndata warns of.
        warnings.filterwarnings("ignore", message=".*view", category=Warning)
        for target in targets:
            for kept, array in zip(plan.kept, arrays, strict=True):
                if kept.place == "obsm":
                    target.obsm[kept.name] = array
                else:
                    target.obs[kept.name] = array
            forget_in_memory(target, plan.choices.key, report.written)
            target.uns[plan.choices.key] = storable(report.provenance())
