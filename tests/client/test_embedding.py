"""AnnData and MuData in memory: what is found, what is written, and what is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.client.fake_client import GENES, N_LATENT, FakeClient, answer, card
from tests.client.made_up import (
    BATCH,
    CELLS,
    COUNTS,
    FORMS,
    N_CELLS,
    PROTEIN_COUNTS,
    Z,
    adata,
    mdata,
    quiet,
    written,
)  # fmt: skip
from totalvi_client import CategoricalField, InputError
from totalvi_client.embedding import check, embed

QUIET = {"slice_cells": 7}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_x(form: str) -> None:
    data = adata(FORMS[form](COUNTS))

    report = embed(data, FakeClient(), slice_cells=7)

    assert data.obsm["X_totalVI"].dtype == np.float32
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.written == ("obsm['X_totalVI']",)
    assert data.obs_names.tolist() == CELLS


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_backed(form: str, tmp_path: Path) -> None:
    path = written(adata(FORMS[form](COUNTS)), tmp_path / "cells.h5ad")
    with quiet():
        data = anndata.read_h5ad(path, backed="r")

    embed(data, FakeClient(), slice_cells=9)

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    data.file.close()


def test_a_view() -> None:
    whole = adata()
    with quiet():
        view = whole[10:30, ::-1]

    with quiet():
        embed(view, FakeClient())

    assert np.array_equal(view.obsm["X_totalVI"], Z[10:30])
    assert "X_totalVI" not in whole.obsm


def test_genes_in_any_order_with_others_between() -> None:
    rng = np.random.default_rng(0)
    order = rng.permutation(len(GENES))
    names = [name for i in order for name in (GENES[i], f"other{i}")]
    counts = np.stack([column for i in order for column in (COUNTS[:, i], COUNTS[:, 0] + 40)], axis=1)
    client = FakeClient()
    data = adata(sp.csr_matrix(counts.astype(np.float32)), genes=names)

    report = embed(data, client)

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert client.options["genes"] == GENES
    assert report.genes.extra == len(GENES)
    assert [notice.code for notice in report.warnings] == ["extra_genes", "slice"]
    assert all(cells.gene_counts.has_sorted_indices for cells in client.sent)


@pytest.mark.parametrize("genes", [GENES, GENES[::-1]], ids=["in order", "reversed"])
def test_the_callers_numbers_stay_as_they_are(genes: Any) -> None:
    rows = sp.csr_matrix(COUNTS[:, [GENES.index(name) for name in genes]].astype(np.float32))
    # Columns of each row backwards, as some programs write them.
    unsorted = sp.csr_matrix((rows.data.copy(), rows.indices.copy(), rows.indptr.copy()), shape=rows.shape)
    for start, stop in zip(rows.indptr, rows.indptr[1:], strict=False):
        unsorted.data[start:stop] = rows.data[start:stop][::-1]
        unsorted.indices[start:stop] = rows.indices[start:stop][::-1]
    before = unsorted.data.copy(), unsorted.indices.copy()
    data = adata(unsorted, genes=genes)

    embed(data, FakeClient())

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert np.array_equal(unsorted.data, before[0])
    assert np.array_equal(unsorted.indices, before[1])


def test_entries_of_one_place_add_up() -> None:
    indptr = np.arange(N_CELLS + 1) * 2
    twice = sp.csr_matrix((np.full(2 * N_CELLS, 200, np.uint8), np.zeros(2 * N_CELLS, int), indptr), (N_CELLS, 12))
    client = FakeClient()
    embed(adata(twice), client)
    assert all(cells.gene_counts.data.tolist() == [200] * len(cells.gene_counts.data) for cells in client.sent)


def test_missing_genes_count_0_and_are_told() -> None:
    data = adata(FORMS["csr"](COUNTS[:, 2:]), genes=GENES[2:])

    report = embed(data, FakeClient())

    zeroed = COUNTS.copy()
    zeroed[:, :2] = 0
    assert np.array_equal(data.obsm["X_totalVI"], answer(zeroed, PROTEIN_COUNTS, BATCH))
    assert report.missing_genes == ("G0", "G1")
    assert report.genes.coverage == pytest.approx(10 / 12)
    assert data.uns["X_totalVI"]["missing_genes"].tolist() == ["G0", "G1"]


def test_all_that_can_be_kept() -> None:
    data = adata()

    report = embed(data, FakeClient(), distribution=True, library=True, n_samples=4, seed=2**64 - 1, slice_cells=8)

    assert np.array_equal(data.obsm["X_latent_qzm"], Z)
    assert np.all(data.obsm["X_latent_qzv"] == np.float32(0.5))
    assert np.array_equal(data.obs["totalVI_library_size"], COUNTS.sum(axis=1).astype(np.float32))
    assert data.obsm["X_totalVI_samples"].shape == (N_CELLS, 4, N_LATENT)
    expected = Z + np.arange(N_CELLS, dtype=np.float32)[:, None] + 2 + (2**64 - 1) % 1000
    assert np.array_equal(data.obsm["X_totalVI_samples"][:, 2], expected)
    assert report.seed == 2**64 - 1
    assert data.uns["X_totalVI"]["seed"] == str(2**64 - 1)


def test_a_seed_is_drawn_and_told() -> None:
    data, client = adata(), FakeClient()

    report = embed(data, client, n_samples=1)

    assert report.seed == client.options["seed"] is not None


def test_where_it_came_from_survives_a_file(tmp_path: Path) -> None:
    data = adata()
    report = embed(data, FakeClient())
    with quiet():
        again = anndata.read_h5ad(written(data, tmp_path / "out.h5ad"))

    told = again.uns["X_totalVI"]
    assert told["model"] == "small"
    assert told["model_version"] == "2"
    assert told["model_sha256"] == report.sha256
    assert told["input_transform"] == "log1p"
    assert sorted(told["batch_map"]["given"]) == sorted(told["batch_map"]["model"]) == ["b0", "b1"]
    assert told["written"].tolist() == ["obsm['X_totalVI']"]
    assert told["genes"]["coverage"] == 1.0
    assert told["counts"] == "counts from X of the cells (X is counts)"


def test_labels_that_hdf5_would_cut_stay_apart(tmp_path: Path) -> None:
    lanes = ("x/y", "x|y", ".")
    data = adata(batch=[lanes[i % 3] for i in range(N_CELLS)])
    embed(data, FakeClient(), batch_map=dict(zip(lanes, ("b0", "b1", "b0"), strict=True)))
    with quiet():
        told = anndata.read_h5ad(written(data, tmp_path / "out.h5ad")).uns["X_totalVI"]
    pairs = zip(told["batch_map"]["given"], told["batch_map"]["model"], strict=True)
    assert dict(pairs) == {"x/y": "b0", "x|y": "b1", ".": "b0"}


@pytest.mark.parametrize("make", [adata, mdata], ids=["AnnData", "MuData"])
def test_what_an_earlier_run_wrote_goes_with_it(make: Any) -> None:
    data = make()
    with quiet():
        embed(data, FakeClient(), distribution=True, library=True, n_samples=2)
        embed(data, FakeClient())

    for part in [data, *([data.mod["rna"]] if make is mdata else [])]:
        assert set(part.obsm) & {"X_latent_qzm", "X_latent_qzv", "X_totalVI_samples"} == set()
        assert "totalVI_library_size" not in part.obs
        assert part.uns["X_totalVI"]["written"].tolist() == ["obsm['X_totalVI']"]


def test_what_another_run_or_the_caller_wrote_stays() -> None:
    data = adata()
    data.obs["totalVI_library_size"] = 1.0
    embed(data, FakeClient())
    embed(data, FakeClient(), distribution=True)
    embed(data, FakeClient(), distribution=True, key="X_other")
    assert data.uns["X_totalVI"]["written"].tolist() == ["obsm['X_totalVI']"]

    embed(data, FakeClient())

    assert "X_latent_qzv" in data.obsm
    assert "obsm['X_latent_qzv']" in data.uns["X_other"]["written"]
    assert (data.obs["totalVI_library_size"] == 1).all()


def test_another_key_leaves_the_first_alone() -> None:
    data = adata()
    embed(data, FakeClient())
    data.obsm["X_totalVI"][:] = 0

    embed(data, FakeClient(), key="X_other")

    assert not data.obsm["X_totalVI"].any()
    assert np.array_equal(data.obsm["X_other"], Z)


def test_nothing_is_written_when_it_fails() -> None:
    data = adata()

    with pytest.raises(ConnectionAbortedError):
        embed(data, FakeClient(fails_after=2), slice_cells=10, library=True)

    assert list(data.obsm) == ["protein_expression"]
    assert list(data.obs) == ["batch"]
    assert not data.uns


def test_the_index_of_the_first_cell_goes_along() -> None:
    client = FakeClient()
    embed(adata(), client, slice_cells=20)
    assert client.options["first_cell"] == 0
    assert [cells.gene_counts.shape[0] for cells in client.sent] == [20, 20, 10]
    # Their names would be echoed, and are known here.
    assert all(cells.cells is None for cells in client.sent)


def test_what_is_not_data() -> None:
    with pytest.raises(InputError, match="an AnnData or a MuData is needed, not a ndarray"):
        embed(COUNTS, FakeClient())


# MuData


@pytest.mark.parametrize(("rna", "prot"), [("rna", "prot"), ("gex", "protein"), ("RNA", "ADT"), ("one", "two")])
def test_mudata(rna: str, prot: str) -> None:
    data = mdata(rna=rna, prot=prot)

    report = embed(data, FakeClient())

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert np.array_equal(data.mod[rna].obsm["X_totalVI"], Z)
    assert "X_totalVI" not in data.mod[prot].obsm
    assert data.uns["X_totalVI"]["counts"].startswith(f"counts from X of modality '{rna}'")
    assert report.protein_counts == f"X of the modality '{prot}'"


def test_mudata_with_the_batch_in_its_own_columns() -> None:
    data = mdata()
    del data.mod["rna"].obs["batch"]
    data.obs["sample"] = BATCH

    report = embed(data, FakeClient(), batch_key="sample")

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.batch == "obs['sample'] of the MuData"


def test_mudata_whose_modality_is_normalised() -> None:
    data = mdata()
    data.mod["prot"].layers["counts"] = data.mod["prot"].X.copy()
    data.mod["prot"].X = np.log1p(data.mod["prot"].X) - 1

    with pytest.raises(InputError, match=r"modality 'prot' looks scaled.*give protein_layer='counts'"):
        embed(data, FakeClient())
    embed(data, FakeClient(), protein_layer="counts")

    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_mudata_of_different_cells() -> None:
    data = mdata()
    with quiet():
        import mudata

        other = mudata.MuData({"rna": data.mod["rna"][:40].copy(), "prot": data.mod["prot"].copy()})

    with pytest.raises(InputError, match=r"not the same cells .*intersect_obs"):
        embed(other, FakeClient())


def test_mudata_whose_modalities_cannot_be_told() -> None:
    data = mdata(rna="rna", prot="x")
    data.mod["x"].var_names = ["a", "b", "c"]

    with pytest.raises(InputError, match=r"protein_modality=|the model needs the counts of 3 proteins"):
        embed(data, FakeClient())
    with pytest.raises(InputError, match="no modality 'nope'; modality= may be: rna, x"):
        embed(data, FakeClient(), modality="nope")


# Models that need less, or more


def test_a_model_without_batch_asks_for_none() -> None:
    data = adata(batch=None)
    of = card(batch=CategoricalField("batch", ("only",)))

    report = embed(data, FakeClient(of))

    assert report.batch is None
    assert np.array_equal(data.obsm["X_totalVI"][:, :2], Z[:, :2])


def test_a_model_that_does_not_encode_covariates() -> None:
    of = card(manifest={"n_latent": N_LATENT, "encode_covariates": False}, continuous_covariates=("age",))
    client = FakeClient(of)

    embed(adata(batch=None), client)

    assert client.sent[0].batch is None
    assert not client.sent[0].continuous_covariates


def test_covariates_by_the_card() -> None:
    of = card(
        categorical_covariates=(CategoricalField("donor", (1, 2)), CategoricalField("site", ("x",))),
        continuous_covariates=("age", "dose"),
    )
    data, client = adata(), FakeClient(of)
    data.obs["donor"] = np.arange(N_CELLS) % 2 + 1.0
    data.obs["years"] = np.arange(N_CELLS)

    report = embed(data, client, covariate_keys={"age": "years"}, covariates={"dose": 2}, slice_cells=30)

    first, second = client.sent
    assert first.categorical_covariates is not None
    assert list(first.categorical_covariates) == ["donor"]
    donor = second.categorical_covariates["donor"]
    assert [donor.categories[code] for code in donor.codes] == [1 + i % 2 for i in range(30, 50)]
    assert second.continuous_covariates["age"].tolist() == list(range(30, 50))
    assert second.continuous_covariates["dose"].tolist() == 2.0
    assert report.covariates == {"donor": "obs['donor']", "age": "obs['years']", "dose": "2 for all cells"}


def test_a_model_without_proteins() -> None:
    client = FakeClient(card(proteins=()))

    embed(adata(proteins=False), client)

    assert client.sent[0].protein_counts is None
    assert client.options["proteins"] is None


# Looking without encoding


def test_check_encodes_nothing_and_tells_what_the_server_says() -> None:
    data, client = adata(), FakeClient()
    seen: list[tuple[int, int]] = []

    report = check(data, client, slice_cells=20, progress=lambda done, total: seen.append((done, total)))

    assert not client.sent
    assert [notice.code for notice in report.warnings] == ["seen"]
    assert seen == [(20, 50), (40, 50), (50, 50)]
    assert list(data.obsm) == ["protein_expression"]


def test_check_looks_at_every_count() -> None:
    n_cells = 3000
    counts = np.ones((n_cells, len(GENES)), dtype=np.float32)
    # Between the rows by which the kind of numbers is told.
    counts[100, 5] = 1.5
    index = pd.Index([f"cell{i}" for i in range(n_cells)])
    data = anndata.AnnData(
        sp.csr_matrix(counts), obs=pd.DataFrame(index=index), var=pd.DataFrame(index=pd.Index(GENES))
    )

    with pytest.raises(InputError, match=r"X of .* has 1\.5, no whole number, in cell cell100; .*allow_non"):
        check(data, FakeClient(), proteins=False, batch="b0")


def test_a_report_says_it_all() -> None:
    data = adata(FORMS["csr"](COUNTS[:, 1:]), genes=GENES[1:])
    report = check(data, FakeClient())
    text = str(report)
    assert "50 cells, 3 latent dimensions, model small version 2" in text
    assert "11 of the model's 12 (91.7%)" in text
    assert "obs['batch']: b0 (" in text
    assert '"missing_genes": ["G0"]' in report.to_json()
