"""The query cells beside the real saves, and what scvi-tools answered for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.end_to_end.asking import Ask

REFERENCE = {
    "qz_m": "qz_mean",
    "qz_v": "qz_variance",
    "ql_m": "ql_mean",
    "ql_v": "ql_variance",
    "library_mean": "library_latent",
}


@dataclasses.dataclass(frozen=True)
class Query:
    """Cells to encode and scvi-tools' answer.

    Attributes:
        ask: the cells, dense, with every column named and every label that the file has.
        reference: by the names of `Answer.arrays`.
    """

    ask: Ask
    reference: dict[str, np.ndarray]


def read_query(folder: Path, model: str) -> Query:
    """Read `query.h5ad` and `reference.npz`."""
    with h5py.File(folder / "query.h5ad") as file:
        proteins, protein_counts = _proteins(file)
        observations = file["obs"]
        covariates = [key for key in ("donor", "site", "age") if key in observations]
        categorical = [key for key in covariates if isinstance(observations[key], h5py.Group)]
        ask = Ask(
            model=model,
            gene_counts=_matrix(file["X"]),
            protein_counts=protein_counts,
            genes=_texts(file["var"][file["var"].attrs["_index"]]),
            proteins=proteins,
            cells=_texts(observations[observations.attrs["_index"]]),
            batch=_categories(observations["batch"]),
            categorical={key: _categories(observations[key]) for key in categorical},
            continuous={key: observations[key][:] for key in covariates if key not in categorical},
        )
    with np.load(folder / "reference.npz") as arrays:
        # What there is one of for each cell comes as a column.
        reference = {
            name: arrays[theirs] if theirs.startswith("qz") else arrays[theirs][:, 0]
            for theirs, name in REFERENCE.items()
        }
    return Query(ask, reference)


def _matrix(stored: Any) -> np.ndarray:
    if isinstance(stored, h5py.Dataset):
        return stored[:]
    assert stored.attrs["encoding-type"] == "csr_matrix"
    dense = np.zeros(stored.attrs["shape"], dtype=stored["data"].dtype)
    rows = np.repeat(np.arange(len(dense)), np.diff(stored["indptr"][:]))
    dense[rows, stored["indices"][:]] = stored["data"][:]
    return dense


def _proteins(file: h5py.File) -> tuple[list[str], np.ndarray]:
    stored = file["obsm/protein_expression"]
    if isinstance(stored, h5py.Dataset):
        return _texts(file["uns/protein_names"]), stored[:]
    # A group lists its members by the alphabet; what the columns are called goes along.
    names = [str(name) for name in stored.attrs["column-order"]]
    return names, np.stack([stored[name][:] for name in names], axis=1)


def _categories(stored: h5py.Group) -> list[str]:
    categories = _texts(stored["categories"])
    return [categories[code] for code in stored["codes"][:]]


def _texts(stored: h5py.Dataset) -> list[str]:
    return [str(text) for text in stored.asstr()[:]]
