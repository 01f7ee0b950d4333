"""A client of nobody: answers by a rule that one can see through, so that what is around it is tested alone."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from totalvi_client.cells import Cells
from totalvi_client.results import (
    Card,
    CategoricalField,
    Coverage,
    Encoding,
    Library,
    Normal,
    Notice,
    Samples,
    Validation,
)

GENES = tuple(f"G{i}" for i in range(12))
PROTEINS = ("CD3_TotalSeqB", "CD19_TotalSeqB", "CD4_TotalSeqB")
N_LATENT = 3


def card(**changes: Any) -> Card:
    """A small model's."""
    facts: dict[str, Any] = {
        "name": "small",
        "version": "2",
        "versions": ("1", "2"),
        "state": "ready",
        "sha256": "ab" * 32,
        "genes": GENES,
        "proteins": PROTEINS,
        "batch": CategoricalField("batch", ("b0", "b1")),
        "manifest": {
            "n_latent": N_LATENT,
            "encode_covariates": True,
            "input_transform": "log1p",
            "latent_distribution": "normal",
        },
    }
    return Card(**(facts | changes))


def answer(dense: Any, proteins: Any, labels: list[Any]) -> Any:
    """float32 [cells, N_LATENT]: tells every gene, every protein and every label from any other."""
    weights = np.arange(1, dense.shape[1] + 1)
    z = np.zeros((dense.shape[0], N_LATENT))
    z[:, 0] = dense @ weights
    z[:, 1] = proteins @ (10 ** np.arange(proteins.shape[1])) if proteins is not None else -1
    z[:, 2] = [zlib.crc32(repr(label).encode()) % 1000 for label in labels]
    return z.astype(np.float32)


class FakeClient:
    """Answers as `answer` says, over the columns of its card.

    Args:
        of: the card.
        fails_after: slices, after which there is no more answer.
    """

    def __init__(self, of: Card | None = None, *, fails_after: int | None = None) -> None:
        self.card = of or card()
        self.fails_after = fails_after
        self.sent: list[Cells] = []
        self.options: dict[str, Any] = {}

    def server_version(self) -> str:
        return "1.2.3"

    def model(self, name: str | None = None, version: Any = None) -> Card:
        return self.card

    def validate(self, gene_counts: Any, **options: Any) -> Validation:
        self.options = options
        n = len(options["genes"] or self.card.genes)
        genes = Coverage(n, n, 0, 0, 1.0)
        return Validation("small", "2", gene_counts.shape[0], genes, genes, (Notice("seen", "seen by the server", 1),))

    def encode_stream(self, slices: Iterable[Cells], *, first_cell: int = 0, **options: Any) -> Iterator[Encoding]:
        self.options = options | {"first_cell": first_cell}
        for number, cells in enumerate(slices):
            if number == self.fails_after:
                raise ConnectionAbortedError("the test ends here")
            self.sent.append(cells)
            yield self._encoding(cells, options, first_cell)
            first_cell += cells.gene_counts.shape[0]

    def _encoding(self, cells: Cells, options: Any, first_cell: int) -> Encoding:
        n = cells.gene_counts.shape[0]
        dense = np.zeros((n, len(self.card.genes)))
        columns = [self.card.genes.index(name) for name in options["genes"] or self.card.genes]
        dense[:, columns] = cells.gene_counts.toarray()
        proteins = None
        if cells.protein_counts is not None:
            proteins = np.zeros((n, len(self.card.proteins)))
            for name, column in zip(options["proteins"], cells.protein_counts.T, strict=True):
                if name in self.card.proteins:
                    proteins[:, self.card.proteins.index(name)] = column
        labels: list[Any] = [None] * n
        if cells.batch is not None:
            column = cells.batch
            labels = (
                [column] * n if not hasattr(column, "codes") else [column.categories[code] for code in column.codes]
            )
        z = answer(dense, proteins, labels)
        draws = options["n_samples"]
        index = np.arange(first_cell, first_cell + n, dtype=np.float32)
        samples = None
        if draws:
            drawn = np.stack([z + index[:, None] + sample + options["seed"] % 1000 for sample in range(draws)])
            samples = Samples(options["seed"], drawn, drawn[..., 0], drawn, drawn[..., 0])
        return Encoding(
            self.card.name,
            self.card.version,
            n,
            qz=Normal(z, z * 0 + np.float32(0.5)),
            z=z,
            library=Library(dense.sum(axis=1).astype(np.float32)),
            samples=samples,
            warnings=(Notice("slice", "told of every slice", n),),
        )
