"""A decoded request → cells ready for one encoder. Whatever can refuse a request stands before the queue, here."""

from __future__ import annotations

import dataclasses
import secrets

import numpy as np

from model.contract import CategoricalField, CellBatch, Float32Array
from service.core.alignment import EXAMPLES, ColumnMap, sample
from service.core.catalog import LoadedModel
from service.core.errors import invalid
from service.core.messages import Coverage, EncodeRequest, Labels, Limits, Notice, Output
from service.core.tracing import CallTrace
from service.core.validation import (
    category_codes,
    check_limits,
    check_options,
    continuous_column,
    gene_rows,
    protein_rows,
    unknown_labels,
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Where the columns of a request go, or those of all slices of a stream.

    Attributes:
        genes: the gene columns.
        proteins: the protein columns.
    """

    genes: ColumnMap
    proteins: ColumnMap


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """A checked request: the batcher's item.

    Attributes:
        batch: its cells over the model's columns.
        held_bytes: what the caller's side of the call keeps in memory until it is answered.
        library: float32 [cells], sum of the model genes' counts.
        outputs: what to answer.
        n_samples: draws per cell.
        seed: of the draws.
        first_cell: index of the first cell in the caller's matrix.
        names: the caller's cell names, or None.
        notices: warnings for the caller.
        gene_coverage: how its genes meet the model's.
        protein_coverage: how its proteins do.
        queued: where it is traced, its trace and the monotonic seconds at which it was queued.
    """

    batch: CellBatch
    held_bytes: int
    library: Float32Array
    outputs: frozenset[Output]
    n_samples: int
    seed: int
    first_cell: int
    names: tuple[str, ...] | None
    notices: tuple[Notice, ...]
    gene_coverage: Coverage
    protein_coverage: Coverage
    queued: tuple[CallTrace, float] | None = None

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.batch.n_cells

    @property
    def needs_library(self) -> bool:
        """Whether its answer takes q(l)."""
        return not self.outputs.isdisjoint((Output.QL, Output.SAMPLES))

    @property
    def nbytes(self) -> int:
        """Bytes held while it waits."""
        return self.batch.nbytes + self.held_bytes

    def entries(self, start: int, stop: int) -> int:
        """Stored gene counts of the cells `start` to `stop`."""
        return int(self.batch.indptr[stop] - self.batch.indptr[start])


def check_request(request: EncodeRequest, model: LoadedModel, limits: Limits) -> None:
    """Hold sizes and options against the limits and their ranges: what takes no look at a column or a count.

    Raises:
        ServiceError: TOO_LARGE or INVALID.
    """
    check_limits(request, limits, n_samples=_n_samples(request), n_latent=model.spec.n_latent)
    check_options(request)


def align_columns(request: EncodeRequest, model: LoadedModel) -> Columns:
    """Find the model's columns among a request's, by name.

    Raises:
        ServiceError: INVALID, a name is wrong, or too few genes are known.
    """
    genes = model.genes.align(request.genes)
    share = genes.coverage.coverage
    if share < request.min_gene_coverage:
        names = request.genes or ()
        invalid(
            f"only {share:.1%} of the model's {len(model.spec.genes)} genes are in the request "
            f"(min_gene_coverage is {request.min_gene_coverage:.0%}){model.genes.guess(names)}",
            field="genes",
            counts={"known": genes.coverage.known, "needed": len(model.spec.genes)},
        )
    # Without protein counts every protein is missing; a name list without counts is a mistake.
    if request.protein_counts is None and request.proteins:
        invalid("proteins are named, but there are no protein_counts", field="protein_counts")
    return Columns(genes, model.proteins.align(() if request.protein_counts is None else request.proteins))


def prepare(
    request: EncodeRequest,
    model: LoadedModel,
    limits: Limits,
    *,
    held_bytes: int = 0,
    columns: Columns | None = None,
    continues: bool = False,
) -> PreparedRequest:
    """Check a request and align it to a model.

    Args:
        request: decoded, unchecked.
        model: that it is for.
        limits: on one request.
        held_bytes: what the call holds besides; counted against the queue's bound.
        columns: where its columns go, whatever names it has; None: they are aligned here.
        continues: it is a slice of a stream, whose first one bears the warnings of columns and options.

    Raises:
        ServiceError: TOO_LARGE or INVALID; nothing is guessed.
    """
    check_request(request, model, limits)
    spec = model.spec
    if columns is None:
        columns = align_columns(request, model)
    indptr, indices, counts, gene_notices = gene_rows(
        request.gene_counts, columns.genes, n_genes=len(spec.genes), allow_non_integer=request.allow_non_integer
    )
    protein_counts, protein_notices = protein_rows(
        request.protein_counts,
        columns.proteins,
        n_cells=request.n_cells,
        n_proteins=len(spec.proteins),
        allow_non_integer=request.allow_non_integer,
    )
    batch = CellBatch(
        indptr=indptr,
        indices=indices,
        counts=counts,
        proteins=protein_counts,
        continuous=_continuous(request, model),
        codes=_codes(request, model),
    )
    outputs, n_samples, seed, option_notices = wanted(request, model)
    notices = (*gene_notices, *protein_notices, *_unused(request, model))
    if not continues:
        notices = (*columns.genes.notices, *columns.proteins.notices, *notices, *option_notices)
    return PreparedRequest(
        batch=batch,
        held_bytes=held_bytes,
        library=_row_sums(batch),
        outputs=outputs,
        n_samples=n_samples,
        seed=seed,
        first_cell=request.first_cell,
        names=request.cells,
        notices=notices,
        gene_coverage=columns.genes.coverage,
        protein_coverage=columns.proteins.coverage,
    )


def wanted(request: EncodeRequest, model: LoadedModel) -> tuple[frozenset[Output], int, int, tuple[Notice, ...]]:
    """What a request asks for.

    Returns:
        Its outputs, draws per cell and their seed, and warnings of these.
    """
    outputs, n_samples = _outputs(request, model), _n_samples(request)
    return outputs, n_samples, _seed(request, n_samples=n_samples), _untrained(outputs, model)


def _seed(request: EncodeRequest, *, n_samples: int) -> int:
    """The caller's; else one is drawn if there is anything to draw with it, since asking the kernel takes its time."""
    if request.seed is not None:
        return request.seed
    return drawn_seed() if n_samples else 0


def drawn_seed() -> int:
    """A seed for a caller that gave none."""
    return secrets.randbits(63)


def _n_samples(request: EncodeRequest) -> int:
    """Draws per cell; samples asked for without a number are one."""
    return request.n_samples or int(request.outputs is not None and Output.SAMPLES in request.outputs)


def _codes(request: EncodeRequest, model: LoadedModel) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """int32 [cells, categorical inputs], batch first."""
    spec = model.spec
    codes = np.zeros((request.n_cells, len(spec.categorical_inputs)), dtype=np.int32)
    for column, field in enumerate(spec.categorical_inputs):
        if field is spec.batch:
            codes[:, column] = category_codes(request.batch, field, request.n_cells, "batch")
        else:
            labels = request.categorical_covariates.get(field.key)
            name = f"categorical_covariates.{field.key}"
            codes[:, column] = category_codes(labels, field, request.n_cells, name)
    return codes


def _continuous(request: EncodeRequest, model: LoadedModel) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """float32 [cells, continuous inputs]."""
    keys = model.spec.continuous_inputs
    continuous = np.zeros((request.n_cells, len(keys)), dtype=np.float32)
    for column, key in enumerate(keys):
        values = request.continuous_covariates.get(key)
        continuous[:, column] = continuous_column(values, key, request.n_cells)
    return continuous


def _outputs(request: EncodeRequest, model: LoadedModel) -> frozenset[Output]:
    """What to answer; samples are implied by their number."""
    if request.outputs is not None:
        outputs = request.outputs
    else:
        outputs = frozenset({Output.QZ, Output.Z, Output.LIBRARY})
        if model.spec.library_encoder_trained:
            outputs |= {Output.QL}
    return outputs | {Output.SAMPLES} if request.n_samples > 0 else outputs


def _unused(request: EncodeRequest, model: LoadedModel) -> list[Notice]:
    """Warnings for what the encoder does not use: covariates the model never saw, labels it does not know."""
    spec = model.spec
    notices: list[Notice] = []
    if not (request.categorical_covariates or request.continuous_covariates) and spec.batch in spec.categorical_inputs:
        return notices
    known = {field.key for field in spec.categorical_covariates} | set(spec.continuous_covariates)
    extra = sorted((request.categorical_covariates.keys() | request.continuous_covariates.keys()) - known)
    if extra:
        detail = f"the model has no covariate {sample(extra)}; it has {sample(sorted(known))}"
        notices.append(Notice("unknown_covariates", detail, len(extra), tuple(extra[:EXAMPLES])))
    given: dict[str, tuple[Labels | None, CategoricalField | None]] = {"batch": (request.batch, spec.batch)}
    for covariate in spec.categorical_covariates:
        labels = request.categorical_covariates.get(covariate.key)
        given[f"categorical_covariates.{covariate.key}"] = (labels, covariate)
    for name, (labels, field) in given.items():
        if labels is None or field is None or field in spec.categorical_inputs:
            continue
        unknown = unknown_labels(labels, field)
        if unknown:
            detail = f"{name} has labels unknown to the model: {sample(unknown)}; its encoder does not use {name}"
            notices.append(Notice("unused_labels", detail, len(unknown), tuple(map(str, unknown[:EXAMPLES]))))
    return notices


def _untrained(outputs: frozenset[Output], model: LoadedModel) -> tuple[Notice, ...]:
    """A warning for q(l) of a model that used the observed library size: its l branch is a random initialisation."""
    if Output.QL not in outputs or model.spec.library_encoder_trained:
        return ()
    detail = "the model was trained with the observed library size, so ql comes from weights that were never trained"
    return (Notice("untrained_library_encoder", detail, 1),)


def _row_sums(batch: CellBatch) -> Float32Array:
    """float32 [cells]; summed in float64, so exact for counts."""
    if batch.n_cells == 1:
        return np.array([batch.counts.sum(dtype=np.float64)], dtype=np.float32)
    sums = np.zeros(batch.n_cells, dtype=np.float64)
    (filled,) = (batch.indptr[1:] > batch.indptr[:-1]).nonzero()
    if filled.size:
        # reduceat sums from each start to the next, so cells without counts must not be among the starts.
        sums[filled] = np.add.reduceat(batch.counts.astype(np.float64), batch.indptr[filled])
    return sums.astype(np.float32)
