"""Which matrix is taken for the raw counts, and what is said where none can be."""

from __future__ import annotations

from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.client.fake_client import GENES, FakeClient
from tests.client.made_up import COUNTS, FORMS, LOG, N_CELLS, PROTEIN_COUNTS, Z, adata, quiet
from totalvi_client import InputError
from totalvi_client.counts_in import NumberKind, kind_of
from totalvi_client.embedding import embed
from totalvi_client.matrices import ArrayMatrix

SIZES = np.maximum(COUNTS.sum(axis=1, keepdims=True), 1)
KINDS = {
    "counts": (COUNTS, NumberKind.COUNTS),
    "float counts": (COUNTS.astype(np.float32), NumberKind.COUNTS),
    "unsigned": (COUNTS.astype(np.uint16), NumberKind.COUNTS),
    "truths": (COUNTS > 0, NumberKind.COUNTS),
    "zeros": (COUNTS * 0.0, NumberKind.COUNTS),
    "no cells": (COUNTS[:0], NumberKind.COUNTS),
    "log": (LOG, NumberKind.LOG),
    "normalised": (COUNTS / SIZES * 1e4, NumberKind.NORMALISED),
    "corrected": (np.maximum(COUNTS * 20.3 - 0.7, 0), NumberKind.FRACTIONS),
    "scaled": (LOG - LOG.mean(axis=0), NumberKind.SCALED),
    "negative": (COUNTS - 3, NumberKind.NEGATIVE),
    "missing": (np.where(COUNTS == 2, np.nan, COUNTS), NumberKind.NOT_FINITE),
}


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("name", KINDS)
def test_what_numbers_look_like(name: str, sparse: bool) -> None:
    values, kind = KINDS[name]
    assert kind_of(ArrayMatrix(sp.csr_matrix(values) if sparse else values)) is kind


def test_x_where_it_is_counts_even_beside_others() -> None:
    data = adata(layers={"counts": COUNTS * 2})
    data.raw = adata(FORMS["csr"](COUNTS * 3))

    report = embed(data, FakeClient())

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.counts == "counts from X of the cells (X is counts)"


@pytest.mark.parametrize("name", ["log", "normalised", "scaled", "negative", "corrected"])
def test_normalised_x_beside_a_layer_of_counts_asks_for_the_layer(name: str) -> None:
    data = adata(KINDS[name][0].astype(np.float32), layers={"counts": FORMS["csr"](COUNTS)})

    with pytest.raises(InputError, match=r"X of .* looks .* layers\['counts'\] is counts: give layer='counts'"):
        embed(data, FakeClient())
    report = embed(data, FakeClient(), layer="counts")

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.counts == "counts from counts of the cells (layer='counts' was given)"


def test_two_layers_of_counts_are_both_named() -> None:
    data = adata(LOG, layers={"raw_counts": COUNTS, "counts": COUNTS, "spliced": COUNTS})
    with pytest.raises(InputError, match=r"layers\['raw_counts'\] and layers\['counts'\] are counts"):
        embed(data, FakeClient())


def test_a_layer_that_only_has_the_name_of_counts() -> None:
    data = adata(LOG, layers={"counts": LOG})
    with pytest.raises(InputError, match=r"nowhere in it: looked at X, counts\. Keep them when you normalise: adata"):
        embed(data, FakeClient())


def test_raw_where_x_is_none() -> None:
    everything = adata(FORMS["csr"](np.concatenate([COUNTS[:, ::-1], COUNTS], axis=1)), genes=_more_genes())
    data = adata(LOG[:, :7], genes=GENES[:7])
    data.raw = everything

    report = embed(data, FakeClient())

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.counts == "counts from raw of the cells (X of the AnnData looks log-normalised and raw is counts)"
    assert report.genes.given == 2 * len(GENES)


def test_raw_on_request() -> None:
    data = adata()
    data.raw = adata(FORMS["csr"](COUNTS[:, ::-1]), genes=GENES[::-1])
    data.X = FORMS["csr"](COUNTS * 7)

    embed(data, FakeClient(), layer="raw")

    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_raw_that_is_normalised_too() -> None:
    data = adata(LOG)
    data.raw = adata(LOG)
    with pytest.raises(InputError, match=r"looks log-normalised.*needs raw counts.*looked at X, raw"):
        embed(data, FakeClient())


def test_no_x_but_counts() -> None:
    with quiet():
        data = anndata.AnnData(
            obs=adata().obs, var=pd.DataFrame(index=pd.Index(GENES)), layers={"counts": FORMS["csr"](COUNTS)}
        )

    report = embed(data, FakeClient(), proteins=False)

    assert report.counts == "counts from counts of the cells (there is no X, and layers['counts'] is counts)"


def test_a_layer_that_is_not_there() -> None:
    with pytest.raises(InputError, match="has no layer 'count'; layer= may be: X, counts"):
        embed(adata(layers={"counts": COUNTS}), FakeClient(), layer="count")


def test_a_layer_that_is_none() -> None:
    with pytest.raises(InputError, match=r"layers\['log'\] of .* looks log-normalised; .*another place by layer="):
        embed(adata(layers={"log": LOG}), FakeClient(), layer="log")


def test_fractions_after_removing_ambient_counts() -> None:
    corrected = KINDS["corrected"][0].astype(np.float32)
    data = adata(corrected)

    with pytest.raises(InputError, match="ambient counts wrote them, allow_non_integer=True takes them as they are"):
        embed(data, FakeClient())
    client = FakeClient()
    report = embed(data, client, allow_non_integer=True)

    assert client.options["allow_non_integer"] is True
    assert [notice.code for notice in report.warnings] == ["slice"]


@pytest.mark.parametrize("name", ["log", "normalised"])
def test_normalised_counts_are_no_corrected_ones(name: str) -> None:
    with pytest.raises(InputError, match=f"looks {KINDS[name][1].value}"):
        embed(adata(KINDS[name][0]), FakeClient(), allow_non_integer=True)
    # Unless the caller says so, naming the place.
    embed(adata(KINDS[name][0]), FakeClient(), allow_non_integer=True, layer="X")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [(np.nan, r"not finite in cell cell1;"), (-1, r"below zero in cell cell1, .* by layer="), (np.inf, "not finite")],
)
@pytest.mark.parametrize("form", ["csr", "dense"])
def test_what_the_sample_does_not_see_is_seen_in_its_slice(wrong: float, says: str, form: str) -> None:
    n_cells = 3000
    counts = np.ones((n_cells, len(GENES)), dtype=np.float32)
    counts[101, 4] = wrong
    index = pd.Index([f"cell{i - 100}" for i in range(n_cells)])
    data: Any = anndata.AnnData(
        FORMS[form](counts), obs=pd.DataFrame({"batch": "b1"}, index=index), var=pd.DataFrame(index=pd.Index(GENES))
    )

    with pytest.raises(InputError, match=says):
        embed(data, FakeClient(), proteins=False, slice_cells=500)
    assert not data.obsm


def test_nothing_at_all() -> None:
    with pytest.raises(InputError, match="the AnnData has no cells; was everything filtered out"):
        embed(adata(n_cells=0), FakeClient())
    with pytest.raises(InputError, match="has no genes"):
        embed(adata(np.empty((N_CELLS, 0), dtype=np.float32), genes=[]), FakeClient())


def test_proteins_that_were_normalised() -> None:
    data = adata()
    data.obsm["protein_expression"] = data.obsm["protein_expression"] - PROTEIN_COUNTS.mean()
    with pytest.raises(InputError, match=r"obsm\['protein_expression'\] of the AnnData looks scaled or centred"):
        embed(data, FakeClient())


def _more_genes() -> list[str]:
    return [*(f"other{i}" for i in range(len(GENES))), *GENES]
