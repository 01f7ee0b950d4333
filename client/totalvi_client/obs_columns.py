"""Columns of cells: labels, of which few are different, and numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from totalvi_client.results import Label


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LabelColumn:
    """One label for each cell.

    Attributes:
        categories: the different labels, of their own types; those of no cell may be among them.
        codes: int32 [cells], position in `categories`; -1 where a cell has none.
    """

    categories: tuple[Label, ...]
    codes: npt.NDArray[np.int32]

    def counts(self) -> dict[Label, int]:
        """How many cells have each label that any has."""
        numbers = np.bincount(self.codes[self.codes >= 0], minlength=len(self.categories))
        found: dict[Label, int] = {}
        for label, number in zip(self.categories, numbers, strict=True):
            if number:
                found[label] = found.get(label, 0) + int(number)
        return found

    def present(self) -> list[Label]:
        """The labels that any cell has; 1 and True are two."""
        numbers = np.bincount(self.codes[self.codes >= 0], minlength=len(self.categories))
        return [label for label, number in zip(self.categories, numbers, strict=True) if number]

    def without_label(self) -> npt.NDArray[np.intp]:
        """The cells that have none."""
        return np.flatnonzero(self.codes < 0)

    def renamed(self, names: dict[Any, Any]) -> LabelColumn:
        """The same cells under other labels; a label that is not named stays."""
        return LabelColumn(
            tuple(names.get(label, names.get(str(label), label)) for label in self.categories), self.codes
        )

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.codes)

    def rows(self, start: int, stop: int) -> LabelColumn:
        """Those of some cells."""
        return LabelColumn(self.categories, self.codes[start:stop])

    def numbers(self) -> npt.NDArray[np.float64]:
        """The labels as numbers, not a number where a cell has none.

        Raises:
            ValueError: for a label that is no number.
        """
        known = np.array([float(label) for label in self.categories] + [np.nan], dtype=np.float64)
        return known[self.codes]


def label_column(values: Any) -> LabelColumn:
    """A column of any kind: a pandas Series, Categorical or array, or a numpy array."""
    import pandas as pd  # noqa: PLC0415

    if not isinstance(values, pd.Series | pd.Categorical | pd.Index):
        values = pd.Series(np.asarray(values).reshape(-1))
    if isinstance(values.dtype, pd.CategoricalDtype):
        categorical = values.cat if isinstance(values, pd.Series) else values
        codes, categories = np.asarray(categorical.codes), categorical.categories
    else:
        codes, categories = _factorized(values)
    return LabelColumn(tuple(plain(label) for label in categories), np.asarray(codes, dtype=np.int32))


def _factorized(values: Any) -> tuple[Any, Any]:
    import pandas as pd  # noqa: PLC0415

    if values.dtype == object:
        values = np.asarray(values, dtype=object)
        is_truth = np.fromiter((isinstance(value, bool | np.bool_) for value in values), bool, len(values))
        if is_truth.any():
            # Apart from the others, as pandas takes 1 and True for one.
            codes, categories = pd.factorize(np.where(is_truth, None, values), use_na_sentinel=True)
            of_truth, truths = pd.factorize(values[is_truth])
            codes[is_truth] = len(categories) + of_truth
            return codes, [*categories, *truths]
    codes, categories = pd.factorize(values, use_na_sentinel=True)
    return codes, categories


def plain(label: Any) -> Label:
    """A label as Python's own type: a number stays a number and a text a text."""
    label = label.item() if isinstance(label, np.generic) else label
    if isinstance(label, bytes):
        return label.decode("utf-8", "replace")
    return label if isinstance(label, str | bool | int | float) else str(label)


def shown(labels: Any, most: int = 8) -> str:
    """A few labels or names, for a message."""
    all_of_them = list(labels)
    few = ", ".join(repr(label)[:60] for label in all_of_them[:most])
    rest = len(all_of_them) - most
    return (few or "none") + (f" and {rest} more" if rest > 0 else "")
