"""What a caller asks of all the cells of a matrix."""

from __future__ import annotations

import dataclasses
import operator
import secrets
from collections.abc import Iterable
from typing import Any, Final

from totalvi_client.errors import InputError
from totalvi_client.labels import read_names

OUTPUTS: Final = ("qz", "ql", "z", "library", "samples")


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """What holds for all cells of a matrix, however many calls it takes; read from what the caller gave.

    Attributes:
        genes: names of the gene columns; None: exactly the model's, in its order.
        proteins: names of the protein columns; None: exactly the model's, in its order.
        model: name; None: the only one.
        version: of the model; None: the highest that is ready.
        outputs: what to answer; None: the server's choice.
        n_samples: draws per cell.
        seed: of the draws; None: there are none.
        first_cell: index of the first cell in the caller's whole matrix.
        min_gene_coverage: share of the model's genes to insist on; None: the server's choice.
        allow_non_integer: take counts that look normalised.
    """

    genes: tuple[str, ...] | None = None
    proteins: tuple[str, ...] | None = None
    model: str | None = None
    version: str | None = None
    outputs: tuple[str, ...] | None = None
    n_samples: int = 0
    seed: int | None = None
    first_cell: int = 0
    min_gene_coverage: float | None = None
    allow_non_integer: bool = False

    @property
    def draws(self) -> int:
        """Draws per cell that the answer will have."""
        return self.n_samples or int(self.outputs is not None and "samples" in self.outputs)


def read_options(
    *,
    genes: Iterable[Any] | None = None,
    proteins: Iterable[Any] | None = None,
    model: str | None = None,
    version: str | int | None = None,
    outputs: Iterable[str] | None = None,
    n_samples: int = 0,
    seed: int | None = None,
    first_cell: int = 0,
    min_gene_coverage: float | None = None,
    allow_non_integer: bool = False,
) -> Options:
    """Read what a caller gave; where there are samples to draw and no seed is given, one is drawn.

    Raises:
        InputError: an option of the wrong type or outside its range.
    """
    if isinstance(outputs, str):
        raise InputError(f"outputs must be a list of {', '.join(OUTPUTS)}, not one text")
    wanted = None if outputs is None else tuple(dict.fromkeys(outputs)) or None
    for output in wanted or ():
        if output not in OUTPUTS:
            raise InputError(f"outputs: {output!r:.40} is none of {', '.join(OUTPUTS)}")
    options = Options(
        genes=None if genes is None else read_names(genes, "genes") or None,
        proteins=None if proteins is None else read_names(proteins, "proteins") or None,
        model=model or None,
        version=None if version is None else str(version),
        outputs=wanted,
        n_samples=_whole(n_samples, "n_samples", 32),
        seed=None if seed is None else _whole(seed, "seed", 64),
        first_cell=_whole(first_cell, "first_cell", 63),
        min_gene_coverage=None if min_gene_coverage is None else float(min_gene_coverage),
        allow_non_integer=bool(allow_non_integer),
    )
    if options.draws and options.seed is None:
        # Drawn here, so that the parts of a matrix share it and a call that is repeated gets the same draws.
        return dataclasses.replace(options, seed=secrets.randbits(63))
    return options


def _whole(given: Any, name: str, bits: int) -> int:
    try:
        number = operator.index(given)
    except TypeError:
        raise InputError(f"{name} must be a whole number, not {type(given).__name__}") from None
    if not 0 <= number < 1 << bits:
        raise InputError(f"{name} must be from 0 to 2^{bits} - 1")
    return number
