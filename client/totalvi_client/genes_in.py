"""Which of the columns are the model's genes, and under which names they are known."""

from __future__ import annotations

import collections
import dataclasses
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError
from totalvi_client.obs_columns import shown
from totalvi_client.results import Card, Coverage, Notice
from totalvi_client.tables import Names, Table, column_of

LEAST_COVERAGE = 0.5
"""The server's own."""
FAR_BETTER = 0.1
EXAMPLES = 5
_ENSEMBL = re.compile(r"ENS[A-Z]*G\d{11}(\.\d+)?")
_VERSION_SUFFIX = re.compile(r"\.\d+$")
_GENE_TYPES = ("gene expression", "gene_expression", "rna", "gene", "gex")
TYPE_COLUMNS = ("feature_types", "feature_type")


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class GeneColumns:
    """The columns that are the model's genes.

    Attributes:
        column: of `var`, whose names fit; `var_names` for the names themselves.
        positions: [known] where each is among all columns of the layer, in the model's order.
        names: [known] their names, each once; None: they are exactly the model's, whose own names repeat.
        coverage: how the genes meet the model's.
        missing: the model's genes that are not there.
        extra: names that are there and unknown to the model.
        notices: what to know of them.
    """

    column: str
    positions: npt.NDArray[np.intp]
    names: tuple[str, ...] | None
    coverage: Coverage
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    notices: tuple[Notice, ...]


def feature_types(table: Table, layer: str) -> Names | None:
    """What each column measures, in lower case, where a column of `var` tells."""
    for name in TYPE_COLUMNS:
        if name in table.var_columns(layer):
            return np.asarray([str(kind).casefold() for kind in table.var_column(layer, name)], dtype=object)
    return None


def match_genes(table: Table, layer: str, card: Card, *, gene_column: str | None, least: float | None) -> GeneColumns:
    """The model's genes among the columns of a layer.

    Args:
        table: with the gene counts.
        layer: in which they are.
        card: of the model.
        gene_column: whose names to take; None: `var_names`, and in a 10x file the one that fits.
        least: share of the model's genes that must be there; None: the server's own rule.

    Raises:
        InputError: too few of them are known by those names, or one is there twice.
    """
    least = LEAST_COVERAGE if least is None else least
    n_columns = table.matrix(layer).shape[1]
    kinds = feature_types(table, layer)
    is_gene = np.ones(n_columns, dtype=bool)
    if kinds is not None and np.isin(kinds, _GENE_TYPES).any():
        is_gene = np.isin(kinds, _GENE_TYPES)
    if not is_gene.any():
        raise InputError(f"{table.title} has no genes: {_named(layer)} has no columns")
    known = frozenset(card.genes)
    column = gene_column
    if column is None and table.choose_names:
        fits = _fits(table, layer, known, is_gene)
        column = max(fits, key=lambda name: fits[name])
    names = column_of(table, layer, column)[is_gene]
    repeated: tuple[Notice, ...] = ()
    if table.choose_names:
        repeated = _repeated(names, known)
        names = made_unique(names)
    shown_column = column or "var_names"
    if len(known) < len(card.genes):
        return _exactly(table, card, names, np.flatnonzero(is_gene), shown_column)
    n_known = len(known & set(names))
    if n_known == 0 or n_known < least * len(card.genes):
        raise InputError(_too_few(table, layer, card, names, shown_column, n_known, is_gene, least))
    found = _matched(table, layer, card, names, np.flatnonzero(is_gene), shown_column, is_gene)
    return dataclasses.replace(found, notices=(*found.notices, *repeated))


def _repeated(names: Names, known: frozenset[str]) -> tuple[Notice, ...]:
    """That a 10x file has genes of the model more than once: told, and no error, as everybody's files have some."""
    times = collections.Counter(name for name in names if name in known)
    twice = [name for name, number in times.items() if number > 1]
    if not twice:
        return ()
    detail = (
        f"{len(twice)} genes of the model are more than once in the file, under different ids; the first of each was "
        "taken, as var_names_make_unique does"
    )
    return (Notice("repeated_genes", detail, len(twice), tuple(twice)[:EXAMPLES]),)


def _matched(
    table: Table, layer: str, card: Card, names: Names, sources: npt.NDArray[np.intp], column: str, is_gene: Names
) -> GeneColumns:
    places: dict[str, int] = {}
    known, twice, extra = frozenset(card.genes), [], []
    for source, name in zip(sources.tolist(), names.tolist(), strict=True):
        if name not in known:
            extra.append(name)
        elif name in places:
            twice.append(name)
        else:
            places[name] = source
    if twice:
        raise InputError(
            f"{len(twice)} genes of the model are more than once in {table.title} ({shown(twice, EXAMPLES)} in "
            f"{column}), so it is not known which counts are theirs: adata.var_names_make_unique() keeps the name for "
            f"the first of each, or choose another column by gene_column= ({_columns(table, layer)})"
        )
    found = tuple(name for name in card.genes if name in places)
    missing = tuple(name for name in card.genes if name not in places)
    coverage = Coverage(len(names), len(found), len(missing), len(extra), len(found) / max(len(card.genes), 1))
    notices = []
    if missing:
        detail = (
            f"{len(missing)} of the model's {len(card.genes)} genes are not in the data and count 0 "
            f"(coverage {coverage.coverage:.1%}); absent is not the same as not expressed"
        )
        notices.append(Notice("missing_genes", detail, len(missing), missing[:EXAMPLES]))
        notices += _better(table, layer, known, is_gene, column, coverage.coverage)
    if extra:
        detail = f"{len(extra)} genes of the data are unknown to the model and were left out"
        notices.append(Notice("extra_genes", detail, len(extra), tuple(extra[:EXAMPLES])))
    positions = np.asarray([places[name] for name in found], dtype=np.intp)
    return GeneColumns(column, positions, found, coverage, missing, tuple(extra), tuple(notices))


def _exactly(table: Table, card: Card, names: Names, sources: npt.NDArray[np.intp], column: str) -> GeneColumns:
    if tuple(names) != card.genes:
        raise InputError(
            f"the model's own gene names repeat, so {table.title} must have exactly its {len(card.genes)} genes in its "
            "order"
        )
    everything = Coverage(len(names), len(names), 0, 0, 1.0)
    return GeneColumns(column, sources, None, everything, (), (), ())


def _fits(table: Table, layer: str, known: frozenset[str], is_gene: Names) -> dict[str, int]:
    """How many of the model's genes each kind of names knows; the names themselves are first."""
    fits = {"var_names": len(known & set(table.var_names(layer)[is_gene]))}
    for name in table.var_columns(layer):
        fits[name] = len(known & set(table.var_column(layer, name)[is_gene]))
    return fits


def _better(
    table: Table, layer: str, known: frozenset[str], is_gene: Names, column: str, coverage: float
) -> list[Notice]:
    fits = _fits(table, layer, known, is_gene)
    best = max(fits, key=lambda name: fits[name])
    if fits[best] / len(known) < coverage + FAR_BETTER:
        return []
    detail = (
        f"{column} has {coverage:.0%} of the model's genes and var[{best!r}] has {fits[best] / len(known):.0%}: "
        f"consider gene_column={best!r}"
    )
    return [Notice("better_gene_column", detail, fits[best])]


def _too_few(
    table: Table, layer: str, card: Card, names: Names, column: str, n_known: int, is_gene: Names, least: float
) -> str:
    known = frozenset(card.genes)
    text = (
        f"{n_known or 'none'} of the model's {len(card.genes)} genes {'is' if n_known < 2 else 'are'} among the names "
        f"in {column} of {table.title}: they are like {shown(names, 3)}, the model's like {shown(card.genes, 3)}"
    )
    fits = _fits(table, layer, known, is_gene)
    best = max(fits, key=lambda name: fits[name])
    if fits[best] > n_known and fits[best] >= LEAST_COVERAGE * len(known):
        where = "var_names" if best == "var_names" else f"var[{best!r}]"
        return f"{text}; {where} has {fits[best]} of them: give gene_column={best!r}"
    theirs, ours = _mostly_ensembl(names), _mostly_ensembl(card.genes)
    if theirs != ours:
        kinds = ("Ensembl ids", "symbols") if theirs else ("symbols", "Ensembl ids")
        return (
            f"{text}; the data have {kinds[0]} and the model {kinds[1]}: put the {kinds[1]} of your genes into a "
            f"column of var and name it by gene_column= (there is: {_columns(table, layer)})"
        )
    for without, what in (
        (lambda name: _VERSION_SUFFIX.sub("", name), "a version suffix (.1): strip it"),
        (str.casefold, "letter case; is it another species?"),
    ):
        if len({without(name) for name in known} & {without(str(name)) for name in names}) > max(
            n_known, len(known) // 2
        ):
            return f"{text}; more would be known without regard to {what}"
    if n_known:
        return (
            f"{text}; at least {least:.0%} are asked for, since each missing gene counts 0: give the data with all its "
            "genes (before selecting variable ones), or lower min_gene_coverage="
        )
    return f"{text}; is it the right model for these data? Other names may be in var: {_columns(table, layer)}"


def made_unique(names: Names) -> Names:
    """Names as `var_names_make_unique` makes them: the first of several keeps its own."""
    if len(set(names)) == len(names):
        return names
    import warnings  # noqa: PLC0415

    import pandas as pd  # noqa: PLC0415
    from anndata.utils import make_index_unique  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(make_index_unique(pd.Index(names.astype(str))), dtype=object)


def _mostly_ensembl(names: Sequence[str] | Names) -> bool:
    some = [str(name) for name in names[:200]]
    return 2 * sum(_ENSEMBL.fullmatch(name) is not None for name in some) > len(some)


def _columns(table: Table, layer: str) -> str:
    return ", ".join(table.var_columns(layer)) or "no further column in var"


def _named(layer: str) -> str:
    return layer if layer in ("X", "raw") else f"layers[{layer!r}]"
