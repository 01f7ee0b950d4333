"""What is asked of a server and what comes back, in one form for both transports."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Label: TypeAlias = str | int | float | bool


@dataclasses.dataclass(frozen=True)
class Csr:
    """Compressed sparse rows; nothing is checked."""

    indptr: Array
    indices: Array
    data: Array

    @classmethod
    def of(cls, dense: Array) -> Csr:
        """The entries of a matrix, in the smallest types that many counts fit."""
        rows, columns = np.nonzero(dense)
        data = dense[rows, columns]
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(dense)))])
        if np.all((data >= 0) & (data < 1 << 16) & (data == np.floor(data))):
            data = data.astype(np.uint16)
        return cls(indptr.astype(np.uint32), columns.astype(np.uint16), data)


@dataclasses.dataclass(frozen=True)
class Ask:
    """What to encode, in no transport's words; what is None is left out.

    Attributes:
        model: name.
        version: of the model.
        gene_counts: [cells, genes].
        protein_counts: [cells, proteins].
        genes: names of the gene columns.
        proteins: names of the protein columns.
        cells: names of the cells.
        batch: one label, or one for each cell.
        categorical: labels by covariate.
        continuous: numbers by covariate.
        outputs: names of what to answer.
        options: `n_samples`, `seed` and the like.
    """

    model: str | None = None
    version: str | None = None
    gene_counts: Array | Csr | None = None
    protein_counts: Array | Csr | None = None
    genes: Sequence[str] | None = None
    proteins: Sequence[str] | None = None
    cells: Sequence[str] | None = None
    batch: Label | Sequence[Label] | None = None
    categorical: Mapping[str, Label | Sequence[Label]] = dataclasses.field(default_factory=dict)
    continuous: Mapping[str, float | Array] = dataclasses.field(default_factory=dict)
    outputs: Sequence[str] | None = ("qz", "ql", "z", "library")
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def but(self, **changes: Any) -> Ask:
        """The same with changes."""
        return dataclasses.replace(self, **changes)

    def sparse(self) -> Ask:
        """The same with its counts as CSR."""
        return self.but(
            **{
                name: Csr.of(counts)
                for name in ("gene_counts", "protein_counts")
                if isinstance(counts := getattr(self, name), np.ndarray)
            }
        )

    def part(self, cells: slice) -> Ask:
        """The same for some of its cells; its counts must be dense."""

        def cut(value: Any) -> Any:
            return value if value is None or isinstance(value, str | int | float) else value[cells]

        return self.but(
            gene_counts=cut(self.gene_counts),
            protein_counts=cut(self.protein_counts),
            cells=cut(self.cells),
            batch=cut(self.batch),
            categorical={key: cut(labels) for key, labels in self.categorical.items()},
            continuous={key: cut(numbers) for key, numbers in self.continuous.items()},
        )


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came back, in one form for both transports.

    Attributes:
        arrays: float32 by name: `qz_mean`, `ql_variance`, `library_latent`, `untran_latent_z`, …
        facts: `model`, `model_version`, `n_cells`, `cells`, and `seed` where there are samples.
        warnings: `code`, `detail`, `count`, `examples` of each.
        headers: response headers or trailing metadata.
    """

    arrays: dict[str, npt.NDArray[np.float32]]
    facts: dict[str, Any]
    warnings: list[dict[str, Any]]
    headers: dict[str, str]


class Refused(Exception):
    """An error answer, in one form for both transports.

    Attributes:
        status: HTTP status or gRPC code.
        code: machine code; None where the answer has none.
        detail: for people.
        field: at fault, or None.
        index: of the first offender, or None.
        headers: response headers or trailing metadata.
        told: all that the caller can read of it.
    """

    def __init__(self, status: int | grpc.StatusCode, detail: str, headers: Mapping[str, str], told: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status = status
        self.detail = detail
        self.headers = dict(headers)
        self.told = told
        self.code: str | None = None
        self.field: str | None = None
        self.index: int | None = None
