"""What a caller asks and what it gets, in numpy, whatever the transport."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from model.contract import Float32Array, Label

_BYTES_PER_NAME = 80  # a short str of its own, and its place in a tuple


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class DenseCounts:
    """Counts as rows: `values` is [cells, columns] of any integer, float or bool dtype, unchecked."""

    values: npt.NDArray[Any]

    @property
    def n_cells(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix."""
        return self.values.nbytes


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CsrCounts:
    """Counts as compressed sparse rows over the request's own columns, unchecked.

    Attributes:
        indptr: [cells + 1], any integer dtype.
        indices: [entries], any integer dtype.
        data: [entries], any integer, float or bool dtype.
        n_columns: width where the caller stated it; None: as many as there are names (or model columns).
    """

    indptr: npt.NDArray[Any]
    indices: npt.NDArray[Any]
    data: npt.NDArray[Any]
    n_columns: int | None = None

    @property
    def n_cells(self) -> int:
        """Number of rows; 0 where `indptr` is empty (validation refuses that)."""
        return max(int(self.indptr.shape[0]) - 1, 0)

    @property
    def nbytes(self) -> int:
        """Bytes of the three arrays."""
        return self.indptr.nbytes + self.indices.nbytes + self.data.nbytes


Counts: TypeAlias = DenseCounts | CsrCounts

NO_CELLS: Final = DenseCounts(np.empty((0, 0), dtype=np.uint8))
"""The `gene_counts` of a stream's first message that brings no cells: this very object."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Categories of the cells, as the caller wrote them.

    Attributes:
        categories: distinct labels, each of its own Python type.
        codes: [cells] integer positions in `categories`; None: the one category holds for every cell.
    """

    categories: tuple[Label, ...]
    codes: npt.NDArray[Any] | None = None

    @staticmethod
    def one(label: Label) -> Labels:
        """The same label for all cells."""
        return Labels((label,))

    @staticmethod
    def per_cell(labels: Sequence[Label]) -> Labels:
        """One label per cell. Labels of different types stay different (1, 1.0 and "1")."""
        positions: dict[tuple[type, Label], int] = {}
        codes = np.fromiter(
            (positions.setdefault((type(label), label), len(positions)) for label in labels),
            dtype=np.int64,
            count=len(labels),
        )
        return Labels(tuple(label for _, label in positions), codes)


class Output(enum.Enum):
    """What a caller may ask for; the value is the name on the wire."""

    QZ = "qz"
    QL = "ql"
    Z = "z"
    LIBRARY = "library"
    SAMPLES = "samples"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class EncodeRequest:
    """Cells to encode, decoded but not yet checked.

    Attributes:
        gene_counts: raw counts [cells, request's gene columns].
        protein_counts: raw counts [cells, request's protein columns]; None: no protein was measured.
        genes: names of the gene columns; None: exactly the model's, in order.
        proteins: names of the protein columns; None: exactly the model's, in order.
        cells: names to echo, or None.
        batch: batch labels, or None.
        categorical_covariates: labels by covariate key.
        continuous_covariates: [cells] or [] (one value for all) numbers by covariate name, in the trainer's units.
        outputs: what to answer; None: the default set.
        n_samples: draws per cell.
        seed: of the draws, 0 to 2**64 - 1; None: one is drawn and returned.
        first_cell: index of the first cell in the caller's whole matrix, so that split calls draw what one call would.
        min_gene_coverage: refuse below this share of the model's genes.
        allow_non_integer: take counts that look normalised (see `validation`).
    """

    gene_counts: Counts
    protein_counts: Counts | None = None
    genes: tuple[str, ...] | None = None
    proteins: tuple[str, ...] | None = None
    cells: tuple[str, ...] | None = None
    batch: Labels | None = None
    categorical_covariates: Mapping[str, Labels] = dataclasses.field(default_factory=dict)
    continuous_covariates: Mapping[str, npt.NDArray[Any]] = dataclasses.field(default_factory=dict)
    outputs: frozenset[Output] | None = None
    n_samples: int = 0
    seed: int | None = None
    first_cell: int = 0
    min_gene_coverage: float = 0.5
    allow_non_integer: bool = False

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.gene_counts.n_cells

    @property
    def nbytes(self) -> int:
        """About the bytes that its arrays and names hold."""
        n_names = len(self.genes or ()) + len(self.proteins or ()) + len(self.cells or ())
        n_bytes = self.gene_counts.nbytes + _BYTES_PER_NAME * n_names
        return n_bytes if self.protein_counts is None else n_bytes + self.protein_counts.nbytes


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """A warning that travels with the answer.

    Attributes:
        code: machine code, e.g. `missing_genes`.
        detail: one sentence for a person.
        count: how many columns or cells it concerns.
        examples: a few of their names.
    """

    code: str
    detail: str
    count: int
    examples: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Draws from the posterior, the two dictionaries of `EncoderTOTALVI.forward`.

    Attributes:
        seed: that they were drawn with.
        latent_z: float32 [samples, cells, n_latent], softmax of the draw for `ln`, the draw itself for `normal`.
        latent_l: float32 [samples, cells], exp(min(draw, 15)).
        untran_latent_z: float32 [samples, cells, n_latent], the normal draw.
        untran_latent_l: float32 [samples, cells], the normal draw, at most 15.
    """

    seed: int
    latent_z: Float32Array
    latent_l: Float32Array
    untran_latent_z: Float32Array
    untran_latent_l: Float32Array


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class EncodeReply:
    """The answer; an array is None where its output was not asked for.

    Attributes:
        model: name of the model that computed it.
        model_version: version that computed it.
        n_cells: number of cells.
        cells: the caller's names, echoed.
        qz_mean: float32 [cells, n_latent].
        qz_variance: float32 [cells, n_latent].
        ql_mean: float32 [cells].
        ql_variance: float32 [cells].
        z: float32 [cells, n_latent], what `get_latent_representation()` gives.
        library_observed: float32 [cells], sum of the model genes' counts.
        library_latent: float32 [cells], exp(ql_mean + ql_variance / 2); present with `ql`.
        samples: draws, or None.
        warnings: what the caller should know about its columns and counts.
    """

    model: str
    model_version: str
    n_cells: int
    cells: tuple[str, ...] | None = None
    qz_mean: Float32Array | None = None
    qz_variance: Float32Array | None = None
    ql_mean: Float32Array | None = None
    ql_variance: Float32Array | None = None
    z: Float32Array | None = None
    library_observed: Float32Array | None = None
    library_latent: Float32Array | None = None
    samples: Samples | None = None
    warnings: tuple[Notice, ...] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        arrays = [
            self.qz_mean,
            self.qz_variance,
            self.ql_mean,
            self.ql_variance,
            self.z,
            self.library_observed,
            self.library_latent,
        ]
        if (samples := self.samples) is not None:
            arrays += [samples.latent_z, samples.latent_l, samples.untran_latent_z, samples.untran_latent_l]
        return sum([array.nbytes for array in arrays if array is not None])


@dataclasses.dataclass(frozen=True, slots=True)
class Coverage:
    """How the columns of one kind of a request meet the model's.

    Attributes:
        given: columns of the request.
        known: of those, how many the model has.
        missing: columns of the model that the request lacks; they count 0.
        extra: columns of the request that the model lacks; they are dropped.
        coverage: share of the model's columns that the request has.
    """

    given: int
    known: int
    missing: int
    extra: int
    coverage: float


@dataclasses.dataclass(frozen=True, slots=True)
class ValidationReport:
    """What would happen to a request, without computing it.

    Attributes:
        model: name of the model it was held against.
        model_version: its version.
        n_cells: number of cells.
        genes: coverage of the model's genes.
        proteins: coverage of the model's proteins.
        warnings: those the answer would bear.
    """

    model: str
    model_version: str
    n_cells: int
    genes: Coverage
    proteins: Coverage
    warnings: tuple[Notice, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelCard:
    """What a caller may know of a served model.

    Attributes:
        name: the model.
        version: the version, a positive integer as text.
        versions: every version that is served, ascending; the last one is the default.
        state: `loading`, `ready` or `failed`.
        sha256: of the artifact, lower-case hex; the REST `ETag`.
        manifest: the public part of the artifact's manifest, JSON-ready; empty until loaded.
        reason: why it failed, without paths; None otherwise.
    """

    name: str
    version: str
    versions: tuple[str, ...]
    state: str
    sha256: str
    manifest: Mapping[str, Any]
    reason: str | None = None


VersionState: TypeAlias = Literal["loading", "ready", "failed", "unloaded"]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelState:
    """One line of the index of models: a version that is served, or what became of it.

    Attributes:
        name: the model.
        version: the version, a positive integer as text.
        state: `ready` is served; of `loading`, `failed` and `unloaded` nothing is.
        reason: why it is not served, or why its last reload failed, without paths; empty where there is none.
    """

    name: str
    version: str
    state: VersionState
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Published limits on one request; over any of them the answer is `too_large`, naming it.

    Attributes:
        max_request_bytes: body or message, after decompression.
        max_request_cells: cells.
        max_samples: draws per cell.
        max_sample_values: draws x cells x (n_latent + 1): what bounds the memory of an answer.
        max_columns: names or columns of one kind.
    """

    max_request_bytes: int = 64 * 1024 * 1024
    max_request_cells: int = 65536
    max_samples: int = 1000
    max_sample_values: int = 1 << 23
    max_columns: int = 200_000
