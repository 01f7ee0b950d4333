"""What was given, taken apart: whose genes, whose proteins, and who tells of the cells."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from totalvi_client.damage import damaged
from totalvi_client.errors import InputError
from totalvi_client.extra import require_anndata
from totalvi_client.results import Card
from totalvi_client.tables import AnnDataTable, Table

Kind = Literal["anndata", "mudata", "10x"]

RNA = ("rna", "gex", "gene expression", "gene_expression", "genes", "rna_subset")
PROTEIN = ("prot", "protein", "proteins", "adt", "antibody capture", "antibody_capture", "ab", "protein_subset", "cite")


@dataclasses.dataclass(slots=True, eq=False)
class Holdings:
    """Cells, as they were given.

    Attributes:
        kind: of what.
        genes: the table with the gene counts.
        proteins: the modality with the protein counts; None: they are to be found in `genes`.
        obs: who tells of the cells, the first first.
        gene_modality: name of the modality of a MuData; None otherwise.
        protein_modality: likewise.
        source: the file that it is read from, or None.
        resources: what is to be closed.
    """

    kind: Kind
    genes: Table
    proteins: Table | None = None
    obs: Sequence[Table] = ()
    gene_modality: str | None = None
    protein_modality: str | None = None
    source: Path | None = None
    resources: contextlib.ExitStack = dataclasses.field(default_factory=contextlib.ExitStack)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return self.genes.n_cells

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """While counts are read: what breaks is the file."""
        return contextlib.nullcontext() if self.source is None else damaged(self.source)

    def __enter__(self) -> Holdings:
        """Itself; leaving closes its files."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its files."""
        self.resources.close()


def holdings_of(data: Any, card: Card, *, modality: str | None, protein_modality: str | None) -> Holdings:
    """What an AnnData or MuData holds.

    Args:
        data: of either kind.
        card: of the model.
        modality: of the genes, for a MuData.
        protein_modality: of the proteins.

    Raises:
        InputError: it is neither, or the modalities cannot be told apart.
    """
    require_anndata()
    if hasattr(data, "mod") and hasattr(data, "obsmap"):
        tables = {str(name): AnnDataTable(table, f"the modality {name!r}") for name, table in data.mod.items()}
        return of_modalities(
            tables, AnnDataTable(data, "the MuData"), card, modality=modality, protein_modality=protein_modality
        )
    if all(hasattr(data, part) for part in ("obs", "var", "obsm", "uns", "layers")):
        table = AnnDataTable(data)
        return Holdings("anndata", table, obs=(table,))
    raise InputError(f"an AnnData or a MuData is needed, not a {type(data).__name__}; for a file there is encode_file")


def of_modalities(
    tables: dict[str, Any], whole: Table, card: Card, *, modality: str | None, protein_modality: str | None
) -> Holdings:
    """The two modalities of a MuData that the model takes.

    Args:
        tables: modalities by name.
        whole: what is told of the cells of all of them.
        card: of the model.
        modality: of the genes, where the caller says.
        protein_modality: of the proteins, likewise.

    Raises:
        InputError: they cannot be told apart, or are not of the same cells.
    """
    rna = _chosen(tables, modality, "modality", RNA, set(card.genes), "genes")
    others = {name: table for name, table in tables.items() if name != rna}
    protein = None
    if protein_modality is not None or (card.proteins and others):
        protein = _chosen(
            others, protein_modality, "protein_modality", PROTEIN, set(card.proteins), "proteins", needed=False
        )
    for name in filter(None, (rna, protein)):
        _check_same_cells(tables[name], whole)
    return Holdings(
        "mudata",
        tables[rna] if rna else whole,
        proteins=tables[protein] if protein else None,
        obs=tuple(table for table in (tables.get(rna or ""), whole, tables.get(protein or "")) if table is not None),
        gene_modality=rna,
        protein_modality=protein,
    )


def _chosen(
    tables: dict[str, Any],
    asked: str | None,
    argument: str,
    usual: Sequence[str],
    known: set[str],
    what: str,
    *,
    needed: bool = True,
) -> str | None:
    if asked is not None:
        if asked not in tables:
            raise InputError(f"there is no modality {asked!r}; {argument}= may be: {', '.join(tables)}")
        return asked
    by_name = [name for name in tables if name.casefold() in usual]
    if len(by_name) == 1:
        return by_name[0]
    fits = {name: len(known & set(table.var_names("X"))) for name, table in tables.items()}
    best = [name for name, fit in fits.items() if fit and fit == max(fits.values())]
    if len(best) == 1:
        return best[0]
    if not needed and not by_name and not best:
        return None
    raise InputError(
        f"which modality has the {what} cannot be told from their names: {', '.join(tables) or 'there is none'}; "
        f"name it by {argument}="
    )


def _check_same_cells(table: Table, whole: Table) -> None:
    if table.n_cells == whole.n_cells and bool(np.array_equal(table.obs_names(), whole.obs_names())):
        return
    raise InputError(
        f"{table.title} has not the same cells in the same order as the MuData ({table.n_cells} and {whole.n_cells}); "
        "a cell needs both its genes and its proteins: muon.pp.intersect_obs(mdata) keeps those that have both"
    )
