"""Where the protein counts are: a modality, a matrix of `obsm`, or columns beside the genes."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from totalvi_client.counts_in import NumberKind, find_counts, kind_of
from totalvi_client.errors import InputError
from totalvi_client.genes_in import EXAMPLES, feature_types
from totalvi_client.holdings import Holdings
from totalvi_client.matrices import Columns, Matrix
from totalvi_client.obs_columns import shown
from totalvi_client.results import Card, Coverage, Notice
from totalvi_client.tables import Table

USUAL_KEYS = (
    "protein_expression", "protein_counts", "proteins", "protein", "prot", "adt", "adt_counts", "antibody_capture",
    "antibody capture", "cite", "cite_seq", "ab",
)  # fmt: skip
USUAL_NAMES = ("{}_names", "protein_names", "_protein_names")
PROTEIN_TYPES = ("antibody capture", "antibody_capture", "protein", "proteins", "protein expression", "adt", "cite")
_DECORATION = re.compile(r"^(anti-(human|mouse)-|anti-|adt[-_])|([-_.]?(totalseq-?[a-d]?|totala|prot|adt)|[-.]1)$")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class ProteinColumns:
    """Protein counts, and the names of their columns.

    Attributes:
        place: what messages and the report call where they are; empty where there are none.
        table: that knows the cells' names.
        matrix: [cells, proteins]; None: no protein is sent.
        names: of its columns, those unknown to the model among them: the server tells of those.
        argument: how the caller would name another place.
        coverage: how they meet the model's.
        missing: the model's proteins that are not there.
        notices: what to know of them.
    """

    place: str
    table: Table
    matrix: Matrix | None
    names: tuple[str, ...]
    argument: str
    coverage: Coverage
    missing: tuple[str, ...]
    notices: tuple[Notice, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Place:
    title: str
    table: Table
    matrix: Matrix
    names: tuple[str, ...]
    argument: str = "proteins"


def find_proteins(
    holdings: Holdings,
    card: Card,
    gene_layer: str,
    *,
    proteins: str | Literal[False] | None,
    protein_names: str | Sequence[str] | None,
    protein_layer: str | None,
    allow_non_integer: bool,
) -> ProteinColumns:
    """The protein counts of the cells.

    Args:
        holdings: what was given.
        card: of the model.
        gene_layer: where the genes are; proteins may stand beside them.
        proteins: a key of `obsm`; False: none; None: to be found.
        protein_names: key of `uns` with the names of the columns, or the names.
        protein_layer: layer of the modality.
        allow_non_integer: fractions are no matter.

    Raises:
        InputError: the model has proteins and there are none, they are no counts, or bear other names.
    """
    table = holdings.genes
    n_model = len(card.proteins)
    if not n_model or proteins is False:
        coverage = Coverage(0, 0, n_model, 0, 0.0 if n_model else 1.0)
        detail = f"no protein was given, as asked for; each of the model's {n_model} counts 0, which shifts the cells"
        notices = (Notice("no_proteins", detail, n_model, card.proteins[:EXAMPLES]),) if n_model else ()
        return ProteinColumns("", table, None, (), "proteins", coverage, card.proteins, notices)
    if proteins is not None:
        found = _asked_for(holdings, proteins, protein_names, card, allow_non_integer)
    elif holdings.proteins is not None:
        found = _of_modality(holdings.proteins, protein_layer, allow_non_integer)
    else:
        found = _only(_places(holdings, gene_layer, protein_names, card), holdings, card)
    return _matched(found, card)


def _of_modality(table: Table, layer: str | None, allow_non_integer: bool) -> _Place:
    counts = find_counts(table, layer, argument="protein_layer", allow_non_integer=allow_non_integer)
    names = tuple(map(str, table.var_names(counts.layer)))
    title = f"{counts.layer} of {table.title}"
    return _Place(title, table, counts.matrix, names, "protein_layer")


def _asked_for(
    holdings: Holdings, key: str, names: str | Sequence[str] | None, card: Card, allow_non_integer: bool
) -> _Place:
    tables = [table for table in (holdings.genes, *holdings.obs) if key in table.obsm_keys()]
    if not tables:
        known = sorted({name for table in (holdings.genes, *holdings.obs) for name in table.obsm_keys()})
        raise InputError(f"there is no obsm[{key!r}] with proteins; proteins= may be: {', '.join(known) or 'nothing'}")
    return _of_obsm(tables[0], key, names, card, allow_non_integer)


def _of_obsm(
    table: Table, key: str, names: str | Sequence[str] | None, card: Card, allow_non_integer: bool = False
) -> _Place:
    matrix, own = table.obsm(key)
    found, where = (own, "its columns") if own is not None and names is None else _names_of(table, key, names)
    n_columns = matrix.shape[1]
    if found is None and card.proteins == tuple(map(str, range(n_columns))):
        # The model's own data had no names either.
        found = list(card.proteins)
    if found is None:
        raise InputError(
            f"obsm[{key!r}] of {table.title} has {n_columns} proteins without names, and the model's "
            f"{len(card.proteins)} are told apart by name: make it a DataFrame, or put the names into "
            "uns and give protein_names= (the key, or the names themselves)"
        )
    if len(found) != n_columns:
        raise InputError(f"obsm[{key!r}] of {table.title} has {n_columns} columns, but {where} has {len(found)} names")
    kind = kind_of(matrix)
    # Numbers below zero that are whole, and fractions, are told of with the cell that has them.
    if kind is NumberKind.SCALED or (kind in (NumberKind.LOG, NumberKind.NORMALISED) and not allow_non_integer):
        raise InputError(
            f"obsm[{key!r}] of {table.title} looks {kind.value}, and the model needs raw counts of the proteins (whole "
            f"numbers from 0); name the raw protein counts by proteins= (there is: {', '.join(table.obsm_keys())})"
        )
    return _Place(f"obsm[{key!r}]", table, matrix, tuple(map(str, found)))


def _names_of(table: Table, key: str, names: str | Sequence[str] | None) -> tuple[list[str] | None, str]:
    if names is not None and not isinstance(names, str):
        return list(names), "protein_names"
    for name in [names] if names is not None else [usual.format(key) for usual in USUAL_NAMES]:
        values = table.uns(name)
        if values is not None:
            return [str(value) for value in np.asarray(values).reshape(-1)], f"uns[{name!r}]"
    if names is not None:
        raise InputError(f"{table.title} has no uns[{names!r}] with the names of the proteins")
    return None, ""


def _places(holdings: Holdings, layer: str, names: str | Sequence[str] | None, card: Card) -> list[_Place]:
    table = holdings.genes
    places: list[_Place] = []
    refused: list[InputError] = []
    for owner in {id(owner): owner for owner in (table, *holdings.obs)}.values():
        for key in owner.obsm_keys():
            if key.casefold() in USUAL_KEYS:
                try:
                    places.append(_of_obsm(owner, key, names, card))
                except InputError as error:
                    refused.append(error)
    kinds = feature_types(table, layer)
    if kinds is not None and np.isin(kinds, PROTEIN_TYPES).any():
        positions = np.flatnonzero(np.isin(kinds, PROTEIN_TYPES))
        matrix = Columns(table.matrix(layer), positions)
        named = [table.var_names(layer)[positions]]
        if table.choose_names:
            named += [table.var_column(layer, name)[positions] for name in table.var_columns(layer)]
        known = frozenset(card.proteins)
        best = max(named, key=lambda some: len(known & set(some)))
        title = "the columns of the feature type Antibody Capture"
        places.append(_Place(title, table, matrix, tuple(map(str, best)), "layer"))
    if refused and not places:
        raise refused[0]
    return places


def _only(places: list[_Place], holdings: Holdings, card: Card) -> _Place:
    known = frozenset(card.proteins)
    fits = [len(known & set(place.names)) for place in places]
    best = [place for place, fit in zip(places, fits, strict=True) if fit == max(fits)]
    if len(best) == 1:
        return best[0]
    if best:
        several = " and ".join(place.title for place in best)
        raise InputError(
            f"proteins are in {several}, and it is not known which are meant: give proteins= the key of obsm"
        )
    keys = sorted({key for table in (holdings.genes, *holdings.obs) for key in table.obsm_keys()})
    raise InputError(
        f"the model needs the counts of {len(card.proteins)} proteins ({shown(card.proteins, 3)}), and "
        f"{holdings.genes.title} has none where they usually are: obsm['protein_expression'], a modality 'prot', or "
        f"columns of the feature type Antibody Capture. If they are in obsm, give proteins= its key (there is: "
        f"{', '.join(keys) or 'nothing'}); if none were measured, proteins=False counts each as 0, which shifts the "
        "cells"
    )


def _matched(place: _Place, card: Card) -> ProteinColumns:
    if len(set(place.names)) != len(place.names):
        twice = sorted({name for name in place.names if place.names.count(name) > 1})
        raise InputError(f"proteins are more than once in {place.title}: {shown(twice, EXAMPLES)}; keep one of each")
    known = frozenset(card.proteins)
    n_known = len(known & set(place.names))
    missing = tuple(name for name in card.proteins if name not in set(place.names))
    extra = [name for name in place.names if name not in known]
    if not n_known:
        raise InputError(
            f"none of the model's {len(card.proteins)} proteins is in {place.title}: they are like "
            f"{shown(place.names, 3)}, the model's like {shown(card.proteins, 3)}{_renaming(missing, extra)}"
        )
    coverage = Coverage(len(place.names), n_known, len(missing), len(extra), n_known / len(card.proteins))
    notices = []
    if missing:
        detail = (
            f"{len(missing)} of the model's {len(card.proteins)} proteins are not in the data and count 0 "
            f"(coverage {coverage.coverage:.1%}){_renaming(missing, extra)}"
        )
        notices.append(Notice("missing_proteins", detail, len(missing), missing[:EXAMPLES]))
    if extra:
        detail = f"{len(extra)} proteins of the data are unknown to the model and were left out"
        notices.append(Notice("extra_proteins", detail, len(extra), tuple(extra[:EXAMPLES])))
    argument, matrix = place.argument, place.matrix
    return ProteinColumns(place.title, place.table, matrix, place.names, argument, coverage, missing, tuple(notices))


def _renaming(missing: Sequence[str], extra: Sequence[str]) -> str:
    """Which may be the same under another name, for the caller to decide; never applied."""
    by_stem: dict[str, str] = {_stem(name): name for name in reversed(missing)}
    pairs = [(name, by_stem[_stem(name)]) for name in extra if _stem(name) in by_stem]
    if not pairs:
        return ""
    few = ", ".join(f"{name!r} may be its {model_name!r}" for name, model_name in pairs[:3])
    return f"; {few}: rename them if so"


def _stem(name: str) -> str:
    return _DECORATION.sub("", name.casefold()).replace("-", "").replace("_", "").replace(".", "")
