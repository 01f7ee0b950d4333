"""A matrix that comes in slices: names and options once, then cells; each slice is answered as a part of the whole."""

from __future__ import annotations

import dataclasses

from service.core.alignment import shown_key
from service.core.catalog import LoadedModel
from service.core.errors import invalid
from service.core.messages import NO_CELLS, EncodeRequest, Labels, Limits
from service.core.preparation import Columns, PreparedRequest, align_columns, check_request, drawn_seed, prepare


class EncodeStream:
    """What the slices of a stream have in common: the model, the columns, the options and one seed.

    The first cell of a slice has the index that the first message gives plus the number of cells before it, so that its
    draws are those of the whole matrix. A label or number that the first message gives for all its cells holds for each
    slice that has none of its own; those per cell are for the cells beside them. Proteins are counted in all slices or
    in none.

    Args:
        first: the first message, unchecked; its `gene_counts` are `NO_CELLS` where it brings none.
        model: computes the stream from its first cell to its last, whatever becomes the default meanwhile.
        limits: on each slice.

    Attributes:
        model: as given.

    Raises:
        ServiceError: TOO_LARGE or INVALID, for what the first message says of all cells.
    """

    def __init__(self, first: EncodeRequest, model: LoadedModel, limits: Limits) -> None:
        self.model = model
        self._common = dataclasses.replace(
            first,
            gene_counts=NO_CELLS,
            protein_counts=None,
            cells=None,
            batch=first.batch if _for_all(first.batch) else None,
            categorical_covariates={key: some for key, some in first.categorical_covariates.items() if _for_all(some)},
            continuous_covariates={key: some for key, some in first.continuous_covariates.items() if some.ndim == 0},
            seed=drawn_seed() if first.seed is None else first.seed,
        )
        self._next_cell = first.first_cell
        self._begun = False
        check_request(first, model, limits)
        if first.gene_counts is NO_CELLS:
            _refuse_labels_of_no_cells(first)
            # Whether proteins were counted the first cells will tell; until then their names are taken to mean it.
            self._has_proteins: bool | None = None
            self._columns = align_columns(dataclasses.replace(first, protein_counts=NO_CELLS), model)
        else:
            self._has_proteins = first.protein_counts is not None
            self._columns = align_columns(first, model)

    def next(self, cells: EncodeRequest, *, n_bytes: int) -> StreamSlice:
        """Take the next cells, in the order of the messages.

        Args:
            cells: of one message; of the names and options in it nothing is read.
            n_bytes: of the message.

        Raises:
            ServiceError: INVALID, its proteins are counted and those before it were not, or the other way round.
        """
        self._check_proteins(cells)
        common = self._common
        request = dataclasses.replace(
            common,
            # The columns are known: names would count as memory that every slice holds.
            genes=None,
            proteins=None,
            gene_counts=cells.gene_counts,
            protein_counts=cells.protein_counts,
            cells=cells.cells,
            batch=common.batch if cells.batch is None else cells.batch,
            categorical_covariates={**common.categorical_covariates, **cells.categorical_covariates},
            continuous_covariates={**common.continuous_covariates, **cells.continuous_covariates},
            first_cell=self._next_cell,
        )
        piece = StreamSlice(self, request, self._columns, n_bytes, continues=self._begun)
        self._next_cell += request.n_cells
        self._begun = True
        return piece

    def _check_proteins(self, cells: EncodeRequest) -> None:
        has_proteins = cells.protein_counts is not None
        if self._has_proteins is None:
            self._has_proteins = has_proteins
            if not has_proteins:
                self._columns = align_columns(self._common, self.model)
        elif has_proteins != self._has_proteins:
            before = "has some" if self._has_proteins else "has none"
            invalid(
                f"protein_counts come with every slice of a stream or with none, and the first {before}",
                field="protein_counts",
            )


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class StreamSlice:
    """The cells of one message of a stream, as a request of their own.

    Attributes:
        stream: that they are of.
        request: unchecked, with the options of the stream, its seed and their own `first_cell`, without names.
        columns: where the columns of their counts go.
        n_bytes: of the message.
        continues: they are not the first cells of the stream.
    """

    stream: EncodeStream
    request: EncodeRequest
    columns: Columns
    n_bytes: int
    continues: bool

    def prepare(self, limits: Limits, *, held_bytes: int) -> PreparedRequest:
        """Check them and put them into the model's columns. Raises as `prepare` does."""
        return prepare(
            self.request,
            self.stream.model,
            limits,
            held_bytes=held_bytes,
            columns=self.columns,
            continues=self.continues,
        )


def _for_all(labels: Labels | None) -> bool:
    return labels is not None and labels.codes is None


def _refuse_labels_of_no_cells(first: EncodeRequest) -> None:
    """Labels per cell without cells would be for nobody, though the caller meant them for somebody."""
    categorical, continuous = first.categorical_covariates, first.continuous_covariates
    per_cell = [
        *(["batch"] if first.batch is not None and first.batch.codes is not None else []),
        *(f"categorical_covariates.{shown_key(key)}" for key, some in categorical.items() if some.codes is not None),
        *(f"continuous_covariates.{shown_key(key)}" for key, some in continuous.items() if some.ndim > 0),
    ]
    if per_cell:
        invalid(f"{per_cell[0]} is given per cell, but no cells are with it", field=per_cell[0])
