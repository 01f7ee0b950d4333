"""Small requests are checked as one: numpy takes as long for one cell as for fifty.

What is checked together is what `preparation` would check one by one: the joined request is prepared, and cut apart
again. Where anything is wrong or unusual about it, each request is prepared by itself, so that errors and warnings are
those of the request alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.core.catalog import LoadedModel
from service.core.errors import ServiceError
from service.core.messages import Counts, CsrCounts, DenseCounts, EncodeRequest, Labels, Limits
from service.core.preparation import PreparedRequest, check_request, prepare, wanted

log = logging.getLogger(__name__)

MOST_BYTES = 1 << 15
"""Of a request that is small."""

MOST_REQUESTS = 128
"""That are gathered; more are prepared at once, so that no more than this wait outside the queue and its bounds."""


class Asked(NamedTuple):
    """A request that waits for company.

    Attributes:
        request: decoded, unchecked.
        model: that it is for.
        held_bytes: what its call holds besides.
    """

    request: EncodeRequest
    model: LoadedModel
    held_bytes: int


class Gathering:
    """Gathers small requests while the worker is busy, and prepares them together once it is free.

    Where it is free, those of this turn of the loop are prepared at the turn's end. So nothing waits for company that
    could be computed meanwhile.

    Args:
        limits: on one request.
        is_idle: whether the worker is free.
        soon: runs a callback at the end of the loop's turn (`loop.call_soon`).
    """

    def __init__(
        self, limits: Limits, *, is_idle: Callable[[], bool], soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._limits = limits
        self._is_idle = is_idle
        self._soon = soon
        self._waiting: list[tuple[Asked, asyncio.Future[PreparedRequest]]] = []

    async def prepare(self, asked: Asked) -> PreparedRequest:
        """The checked request. Raises as `preparation.prepare` does."""
        future: asyncio.Future[PreparedRequest] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if len(self._waiting) == 1:
            self._soon(self._prepare_if_idle)
        elif len(self._waiting) >= MOST_REQUESTS:
            self.prepare_all()
        return await future

    def prepare_all(self) -> None:
        """Prepare what has gathered; to be called whenever the worker becomes free."""
        waiting, self._waiting = self._waiting, []
        by_model: dict[LoadedModel, list[tuple[Asked, asyncio.Future[PreparedRequest]]]] = {}
        for asked, future in waiting:
            if not future.done():  # its caller has left
                by_model.setdefault(asked.model, []).append((asked, future))
        for some in by_model.values():
            results = prepare_together([asked for asked, _ in some], self._limits)
            for (_, future), result in zip(some, results, strict=True):
                if isinstance(result, PreparedRequest):
                    future.set_result(result)
                else:
                    future.set_exception(result)

    def _prepare_if_idle(self) -> None:
        if self._is_idle():
            self.prepare_all()


def prepare_together(several: Sequence[Asked], limits: Limits) -> list[PreparedRequest | Exception]:
    """Prepare requests for one model.

    Args:
        several: of any kind; alike ones are quick.
        limits: on one request.

    Returns:
        For each what `preparation.prepare` returns or raises.
    """
    prepared = None
    if len(several) > 1:
        try:
            prepared = _prepared_as_one(several, limits)
        except Exception:  # whoever caused it is found out below; the others wait for their answers
            log.exception("%d requests could not be prepared together", len(several))
    return [_prepared_alone(asked, limits) for asked in several] if prepared is None else prepared


def _prepared_alone(asked: Asked, limits: Limits) -> PreparedRequest | Exception:
    try:
        return prepare(asked.request, asked.model, limits, held_bytes=asked.held_bytes)
    except Exception as error:  # the caller's own to raise
        return error


def _prepared_as_one(several: Sequence[Asked], limits: Limits) -> list[PreparedRequest | Exception] | None:
    """The same in one go; None where they are not alike, or something is wrong with any."""
    requests = [asked.request for asked in several]
    model = several[0].model
    joined = _joined(requests)
    if joined is None:
        return None
    try:
        for request in requests:
            check_request(request, model, limits)
        whole = prepare(joined, model, limits)
    except ServiceError:
        return None
    if any(notice.code not in _OF_COLUMNS for notice in whole.notices):
        return None
    prepared: list[PreparedRequest | Exception] = []
    start = 0
    for asked in several:
        stop = start + asked.request.n_cells
        outputs, n_samples, seed, notices = wanted(asked.request, model)
        prepared.append(
            PreparedRequest(
                batch=whole.batch.cells(start, stop),
                held_bytes=asked.held_bytes,
                library=whole.library[start:stop],
                outputs=outputs,
                n_samples=n_samples,
                seed=seed,
                first_cell=asked.request.first_cell,
                names=asked.request.cells,
                notices=(*whole.notices, *notices),
                gene_coverage=whole.gene_coverage,
                protein_coverage=whole.protein_coverage,
            )
        )
        start = stop
    return prepared


_OF_COLUMNS = frozenset({"missing_genes", "extra_genes", "missing_proteins", "extra_proteins"})
"""Warnings that are the same for each of the requests, since their columns are."""


def _joined(requests: Sequence[EncodeRequest]) -> EncodeRequest | None:
    """One request with the cells of all; None where they are not alike. Its options are the defaults."""
    first = requests[0]
    if not all(_are_alike(first, request) for request in requests[1:]):
        return None
    genes = _joined_csr([request.gene_counts for request in requests])
    proteins = None if first.protein_counts is None else _joined_rows([request.protein_counts for request in requests])
    if genes is None or (proteins is None and first.protein_counts is not None):
        return None
    lengths = [request.n_cells for request in requests]
    batch = _joined_labels([request.batch for request in requests], lengths)
    if batch is None and first.batch is not None:
        return None
    return EncodeRequest(
        gene_counts=genes,
        protein_counts=proteins,
        genes=first.genes,
        proteins=first.proteins,
        batch=batch,
        outputs=frozenset(),
        min_gene_coverage=first.min_gene_coverage,
        allow_non_integer=first.allow_non_integer,
    )


def _are_alike(one: EncodeRequest, other: EncodeRequest) -> bool:
    """Whether columns and what is tolerated are the same."""
    return (
        one.min_gene_coverage == other.min_gene_coverage
        and one.allow_non_integer == other.allow_non_integer
        and not other.categorical_covariates
        and not one.categorical_covariates
        and not other.continuous_covariates
        and not one.continuous_covariates
        and (one.batch is None) == (other.batch is None)
        and (one.protein_counts is None) == (other.protein_counts is None)
        and one.genes == other.genes
        and one.proteins == other.proteins
    )


def _joined_csr(several: Sequence[Counts]) -> CsrCounts | None:
    """The rows of all matrices in one; None where a matrix is no CSR or contradicts itself."""
    width = several[0].n_columns
    indptr: list[npt.NDArray[Any]] = [np.zeros(1, dtype=np.int64)]
    indices, data, n_entries = [], [], 0
    for counts in several:
        if not isinstance(counts, CsrCounts) or counts.n_columns != width or not _is_whole(counts):
            return None
        indptr.append(counts.indptr[1:].astype(np.int64) + n_entries)
        indices.append(counts.indices)
        data.append(counts.data)
        n_entries += len(counts.data)
    return CsrCounts(np.concatenate(indptr), np.concatenate(indices), np.concatenate(data), width)


def _is_whole(counts: CsrCounts) -> bool:
    indptr, indices, data = counts.indptr, counts.indices, counts.data
    if not indptr.ndim == indices.ndim == data.ndim == 1 or len(indptr) < 2 or indptr.dtype.kind not in "iu":
        return False
    return bool(indptr[0] == 0 and indptr[-1] == len(indices) == len(data))


def _joined_rows(several: Sequence[Counts | None]) -> DenseCounts | None:
    """The rows of all matrices in one; None where a matrix is not dense, or of another width."""
    rows = [counts.values for counts in several if isinstance(counts, DenseCounts) and counts.values.ndim == 2]
    if len(rows) != len(several) or any(some.shape[1] != rows[0].shape[1] for some in rows):
        return None
    return DenseCounts(np.concatenate(rows))


def _joined_labels(several: Sequence[Labels | None], lengths: Sequence[int]) -> Labels | None:
    """One label for each cell of all; None where there are none, or where codes are not those of the labels."""
    labels: list[Any] = []
    for some, n_cells in zip(several, lengths, strict=True):
        if some is None:
            return None
        if some.codes is None:
            if len(some.categories) != 1:
                return None
            labels += some.categories * n_cells
        elif some.codes.shape != (n_cells,):
            return None
        else:
            codes = some.codes.tolist()
            if not all(0 <= code < len(some.categories) for code in codes):
                return None
            labels += [some.categories[code] for code in codes]
    return Labels.per_cell(labels)
