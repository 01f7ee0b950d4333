"""Batch and covariates of the cells, where the model's encoder takes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.errors import InputError
from totalvi_client.obs_columns import LabelColumn, plain, shown
from totalvi_client.results import Card, CategoricalField, Label, Notice
from totalvi_client.tables import Table, cell_names

MOST_CATEGORIES = 200
"""A column of more different labels is no batch; it is not searched for the model's."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """A categorical input of the encoder.

    Attributes:
        place: where the labels are, for the report.
        constant: one label for all cells; None where there is a column.
        column: one for each cell.
        found: how many cells have each label.
        mapping: the data's labels as text, and what the model calls each.
    """

    place: str
    constant: Label | None
    column: LabelColumn | None
    found: dict[Label, int]
    mapping: dict[str, Label]

    def labels(self, start: int, stop: int) -> Any:
        """Of those cells: one, or a column."""
        return self.constant if self.column is None else self.column.rows(start, stop)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Obs:
    """What the encoder needs to know of the cells beside their counts.

    Attributes:
        batch: None where it takes none.
        categorical: by the model's name.
        continuous: by the model's name; float64 [cells], or [] for all.
        places: where the continuous ones are.
        notices: what to know.
    """

    batch: Labelled | None
    categorical: Mapping[str, Labelled]
    continuous: Mapping[str, npt.NDArray[np.float64]]
    places: Mapping[str, str]
    notices: tuple[Notice, ...] = ()


def match_obs(
    tables: Sequence[Table],
    card: Card,
    *,
    batch_key: str | None,
    batch: Label | None,
    batch_map: Mapping[Any, Label] | None,
    covariate_keys: Mapping[str, str] | None,
    covariates: Mapping[str, Label] | None,
) -> Obs:
    """What the encoder takes of the cells, from their columns or from one value for all.

    Args:
        tables: who may tell, the first first.
        card: of the model.
        batch_key: column with the batch, where it is not named as in training.
        batch: one for all, instead.
        batch_map: labels of the data and what the model calls them.
        covariate_keys: columns by the model's names.
        covariates: values for all by the model's names, instead.

    Raises:
        InputError: something the encoder needs is missing or unknown to it.
    """
    keys, values = dict(covariate_keys or {}), dict(covariates or {})
    names = [field.key for field in card.categorical_covariates] + list(card.continuous_covariates)
    for name in (*keys, *values):
        if name not in names:
            raise InputError(f"the model has no covariate {name!r}; it has: {', '.join(names) or 'none'}")
    taken = bool(card.manifest.get("encode_covariates", True))
    found_batch, notices = None, []
    if card.batch is not None and _is_taken(card.batch, taken):
        found_batch = _labelled("batch", card.batch, tables, batch_key, batch, batch_map)
    elif batch is not None or batch_key is not None or batch_map is not None:
        notices.append(
            Notice("unused_batch", "the model's encoder takes no batch, so the one given was not looked at", 1)
        )
    categorical = {
        field.key: _labelled("covariate", field, tables, keys.get(field.key), values.get(field.key), None)
        for field in card.categorical_covariates
        if _is_taken(field, taken)
    }
    continuous, places = {}, {}
    for name in card.continuous_covariates if taken else ():
        continuous[name], places[name] = _numbers(name, tables, keys.get(name), values.get(name))
    return Obs(found_batch, categorical, continuous, places, tuple(notices))


def _is_taken(field: CategoricalField, encode_covariates: bool) -> bool:
    return encode_covariates and len(field.categories) > 1


def _labelled(
    what: str,
    field: CategoricalField,
    tables: Sequence[Table],
    key: str | None,
    constant: Label | None,
    names: Mapping[Any, Label] | None,
) -> Labelled:
    title = "batch" if what == "batch" else f"covariate {field.key!r}"
    allowed = {_same(category): category for category in field.categories}
    argument = "batch" if what == "batch" else f"covariates={{{field.key!r}: …}}"
    if constant is not None:
        constant = plain(constant)
        _check_named(names, [constant], title, "what is given for all cells")
        constant = dict(names or {}).get(constant, constant)
        if _same(constant) not in allowed:
            raise InputError(_unknown(title, {constant: 0}, [constant], field, argument))
        return Labelled(f"{constant!r} for all cells", constant, None, {}, {"all cells": constant})
    column_argument = "batch_key=" if what == "batch" else f"covariate_keys={{{field.key!r}: …}}"
    wanted = key or field.key
    place, column, table = _column(tables, wanted) or _no_column(
        title, field, tables, wanted, column_argument, "batch=" if what == "batch" else argument
    )
    missing = column.without_label()
    if len(missing):
        raise InputError(
            f"{len(missing)} cells have no {title} in {place}: {cell_names(table, missing)}; fill it in or leave the "
            "cells out"
        )
    before = column
    _check_named(names, column.categories, title, place)
    column = column.renamed(dict(names or {}))
    found = column.counts()
    unknown = [label for label in column.present() if _same(label) not in allowed]
    if unknown:
        raise InputError(_unknown(f"{title} in {place}", found, unknown, field, argument))
    # As the model spells them: 1.0 is its 1.
    spelled = tuple(allowed.get(_same(label), label) for label in column.categories)
    there = before.counts()
    mapping = {str(old): new for old, new in zip(before.categories, spelled, strict=True) if old in there}
    return Labelled(place, None, LabelColumn(spelled, column.codes), found, mapping)


def _check_named(names: Mapping[Any, Label] | None, labels: Sequence[Label], title: str, place: str) -> None:
    """Refuse a name for a label that is nowhere: misspelt, it would be passed over without a word."""
    known = {*labels, *map(str, labels)}
    nowhere = [name for name in names or () if name not in known]
    if nowhere:
        raise InputError(
            f"{title}: batch_map= renames {shown(nowhere)}, and {place} has no such label; there is {shown(labels, 20)}"
        )


def _column(tables: Sequence[Table], key: str) -> tuple[str, LabelColumn, Table] | None:
    for table in tables:
        columns = table.obs_columns()
        # A MuData's own columns bear the modality before their name.
        for name in (key, *(column for column in columns if column.endswith(f":{key}"))):
            if name in columns:
                place = f"obs[{name!r}]" if len(tables) == 1 else f"obs[{name!r}] of {table.title}"
                return place, table.obs_column(name), table
    return None


def _no_column(
    title: str, field: CategoricalField, tables: Sequence[Table], wanted: str, argument: str, constant: str
) -> Any:
    allowed = {_same(category) for category in field.categories}
    fitting, known = [], []
    for table in tables:
        for name in table.obs_columns():
            if name not in known:
                known.append(name)
                labels = table.obs_column(name).counts()
                if labels and len(labels) <= MOST_CATEGORIES and {_same(label) for label in labels} <= allowed:
                    fitting.append(name)
    hint = f"; obs[{fitting[0]!r}] has such labels: give {argument.replace('…', repr(fitting[0]))}" if fitting else ""
    if fitting and argument.endswith("="):
        hint += repr(fitting[0])
    raise InputError(
        f"the model needs the {title} of each cell, one of {shown(field.categories)}, and there is no column "
        f"{wanted!r} in obs (there is: {', '.join(known[:20]) or 'nothing'}){hint}; or give {constant} one "
        "label for all cells"
    )


def _unknown(
    title: str, found: Mapping[Label, int], unknown: Sequence[Label], field: CategoricalField, argument: str
) -> str:
    text = (
        f"{title}: {shown(unknown)} unknown to the model, which was trained with {shown(field.categories, 20)}; "
        f"in the data there is {shown(found, 20)}"
    )
    by_text = {str(category): category for category in field.categories}
    typed = {label: by_text[str(label)] for label in unknown if str(label) in by_text}
    if typed:
        label, category = next(iter(typed.items()))
        return (
            f"{text}. The model's are of the type {type(category).__name__} and the data's {type(label).__name__}: "
            f"convert the column, e.g. adata.obs[…].astype({type(category).__name__})"
        )
    if argument == "batch":
        return (
            f"{text}. If one is the model's under another name, say so: batch_map={{{unknown[0]!r}: "
            f"{field.categories[0]!r}}}, or batch={field.categories[0]!r} for all cells; cells of a batch that the "
            "model was not trained with need a model that was (scvi-tools: load_query_data)"
        )
    return f"{text}. Rename them in obs as the model knows them"


def _numbers(
    name: str, tables: Sequence[Table], key: str | None, constant: Label | None
) -> tuple[npt.NDArray[np.float64], str]:
    if constant is not None:
        if isinstance(constant, str | bool) or not np.isfinite(constant):
            raise InputError(f"covariate {name!r} is a number, not {constant!r}")
        return np.asarray(float(constant)), f"{constant!r} for all cells"
    found = _column(tables, key or name)
    if found is None:
        known = sorted({column for table in tables for column in table.obs_columns()})
        raise InputError(
            f"the model needs the number {name!r} of each cell, and there is no column {key or name!r} in obs "
            f"(there is: {', '.join(known[:20]) or 'nothing'}); give covariate_keys={{{name!r}: …}} the name of the "
            f"column, or covariates={{{name!r}: …}} one number for all cells, in the units of the training"
        )
    place, column, table = found
    try:
        numbers = column.numbers()
    except ValueError as error:
        raise InputError(f"covariate {name!r} must be numbers, and {place} has {error}") from error
    broken = np.flatnonzero(~np.isfinite(numbers))
    if len(broken):
        raise InputError(
            f"{len(broken)} cells have no number in {place}: {cell_names(table, broken)}; fill it in or leave them out"
        )
    return numbers, place


def _same(label: Label) -> tuple[str, Any]:
    """Equal for the labels that the server takes for one: 1 and 1.0, but neither "1" nor True."""
    kind = "text" if isinstance(label, str) else "truth" if isinstance(label, bool) else "number"
    return kind, label
