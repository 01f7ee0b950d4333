"""A matrix that comes in slices: what its calls have in common, whoever answers them."""

from __future__ import annotations

import dataclasses

from totalvi_client.cells import ReadCells
from totalvi_client.errors import InputError, ModelChanged, NotFound, ServiceError
from totalvi_client.joining import ABOUT_COLUMNS
from totalvi_client.options import Options
from totalvi_client.results import Card, Encoding
from totalvi_client.session import Deadline, Session, Steps


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """Some of the cells.

    Attributes:
        number: of the slice, from 0.
        cells: of the slice.
        options: those of the matrix, with the index of the slice's first cell.
    """

    number: int
    cells: ReadCells
    options: Options


class Stream:
    """Each slice is a call of its own, which any replica may answer and which is asked again if none does.

    What makes them one matrix: all name the version of the model that is the default as the stream begins, share the
    seed, and tell the index of their first cell. Before and after them the model's card is looked at: if the artifact
    was exchanged under the same version meanwhile, its digest is another one.

    Args:
        session: asks.
        options: of the matrix.
        priority: whose turn the cells take.
        sha256: digest that the card is to have; None: any.
    """

    def __init__(self, session: Session, options: Options, priority: str | None, sha256: str | None = None) -> None:
        self._session, self._options, self._priority, self._sha256 = session, options, priority, sha256
        self._next_cell = options.first_cell
        self._n_slices = 0
        self._has_proteins: bool | None = None
        self._names_are_of_counts = (options.genes is None, options.proteins is None)
        self._card: Card | None = None

    def open(self, deadline: Deadline) -> Steps[Card]:
        """Find the model, and stay with its version from here on.

        Raises:
            ModelChanged: it has another digest than it is to have.
        """
        card = yield from self._session.ready_model(self._options.model, self._options.version, deadline)
        self._options = dataclasses.replace(self._options, model=card.name, version=card.version)
        if self._sha256 not in (None, card.sha256):
            raise self._changed()
        self._card = card
        return card

    def take(self, cells: ReadCells) -> Slice:
        """The next cells, in the order of the matrix.

        Raises:
            InputError: they have proteins where those before had none, or other columns.
        """
        has_proteins = cells.protein_counts is not None
        if self._has_proteins not in (None, has_proteins):
            raise InputError("protein_counts come with every slice of a matrix or with none")
        self._has_proteins = has_proteins
        self._take_names(cells)
        taken = Slice(self._n_slices, cells, dataclasses.replace(self._options, first_cell=self._next_cell))
        self._n_slices += 1
        self._next_cell += cells.n_cells
        return taken

    def encode(self, taken: Slice, deadline: Deadline) -> Steps[Encoding]:
        """Encode a slice; warnings of columns and options are in the first one's answer alone."""
        first = taken.options.first_cell
        try:
            encoding = yield from self._session.encode(taken.cells, taken.options, self._priority, deadline)
        except NotFound as error:
            # It was there when the stream began.
            raise self._changed() from error
        except ServiceError as error:
            error.cells = (first, first + max(taken.cells.n_cells, 1) - 1)
            raise
        if (encoding.model, encoding.model_version) != (self._options.model, self._options.version):
            raise ModelChanged(
                f"version {self._options.version} of model {self._options.model} was asked, "
                f"version {encoding.model_version} of {encoding.model} answered"
            )
        if taken.number == 0:
            return encoding
        warnings = tuple(notice for notice in encoding.warnings if notice.code not in ABOUT_COLUMNS)
        return dataclasses.replace(encoding, warnings=warnings)

    def close(self, deadline: Deadline) -> Steps[None]:
        """Look whether all slices were answered by the same artifact.

        Raises:
            ModelChanged: it was exchanged meanwhile.
        """
        before = self._card
        if before is None or self._n_slices < 2:
            return
        try:
            after = yield from self._session.model(before.name, before.version, deadline)
        except NotFound as error:
            raise self._changed() from error
        if after.sha256 != before.sha256:
            raise self._changed()

    def _changed(self) -> ModelChanged:
        return ModelChanged(
            f"version {self._options.version} of model {self._options.model} was exchanged or removed while cells were "
            "encoded with it: encode all of them again"
        )

    def _take_names(self, cells: ReadCells) -> None:
        for name, of_counts in zip(("genes", "proteins"), self._names_are_of_counts, strict=True):
            found, known = getattr(cells, name), getattr(self._options, name)
            if not of_counts or found == known:
                continue
            if self._n_slices and (found or known):
                raise InputError(f"the {name} of a slice are others than those of the slices before it")
            self._options = dataclasses.replace(self._options, **{name: found})
