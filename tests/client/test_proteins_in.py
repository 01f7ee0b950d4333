"""Where the proteins are found, and what is said where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.client.fake_client import PROTEINS, FakeClient, answer, card
from tests.client.made_up import BATCH, CELLS, COUNTS, N_CELLS, PROTEIN_COUNTS, Z, adata
from totalvi_client import InputError
from totalvi_client.embedding import embed
from totalvi_client.matrices import ArrayMatrix, as_dense


def with_proteins(key: str, values: Any) -> Any:
    data = adata(proteins=False)
    data.obsm[key] = values
    return data


def frame(names: Any = PROTEINS) -> Any:
    return pd.DataFrame(PROTEIN_COUNTS, columns=list(names), index=pd.Index(CELLS))


@pytest.mark.parametrize("key", ["protein_expression", "ADT", "Protein", "prot", "antibody_capture"])
def test_usual_keys_of_obsm(key: str) -> None:
    data = with_proteins(key, frame())
    report = embed(data, FakeClient())
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.protein_counts == f"obsm[{key!r}]"


def test_another_key_is_named_by_the_caller() -> None:
    data = with_proteins("surface", frame())

    with pytest.raises(InputError) as refusal:
        embed(data, FakeClient())
    embed(data, FakeClient(), proteins="surface")

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert "the model needs the counts of 3 proteins ('CD3_TotalSeqB', 'CD19_TotalSeqB', 'CD4_TotalSeqB')" in str(
        refusal.value
    )
    assert "give proteins= its key (there is: surface)" in str(refusal.value)
    assert "proteins=False counts each as 0" in str(refusal.value)


def test_a_key_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r"no obsm\['x'\] with proteins; proteins= may be: protein_expression"):
        embed(adata(), FakeClient(), proteins="x")


def test_none_on_request_is_told() -> None:
    data, client = adata(), FakeClient()

    report = embed(data, client, proteins=False)

    assert client.sent[0].protein_counts is None
    assert report.warnings[0].code == "no_proteins"
    assert report.proteins.missing == 3


@pytest.mark.parametrize("key", ["protein_names", "protein_expression_names", "_protein_names"])
def test_an_array_with_its_names_in_uns(key: str) -> None:
    data = with_proteins("protein_expression", PROTEIN_COUNTS)
    data.uns[key] = np.array(PROTEINS)
    embed(data, FakeClient())
    assert np.array_equal(data.obsm["X_totalVI"], Z)


@pytest.mark.parametrize("values", [PROTEIN_COUNTS, sp.csr_matrix(PROTEIN_COUNTS)], ids=["array", "sparse"])
def test_an_array_with_its_names_given(values: Any) -> None:
    data = with_proteins("protein_expression", values)
    data.uns["antibodies"] = list(PROTEINS)

    with pytest.raises(InputError, match=r"has 3 proteins without names.*give protein_names="):
        embed(data, FakeClient())
    for names in ("antibodies", list(PROTEINS)):
        data.obsm.pop("X_totalVI", None)
        embed(data, FakeClient(), protein_names=names)
        assert np.array_equal(data.obsm["X_totalVI"], Z)
    with pytest.raises(InputError, match=r"has 3 columns, but protein_names has 2 names"):
        embed(data, FakeClient(), protein_names=["a", "b"])
    with pytest.raises(InputError, match=r"no uns\['nope'\]"):
        embed(data, FakeClient(), protein_names="nope")


def test_a_model_whose_proteins_had_no_names() -> None:
    data = with_proteins("protein_expression", PROTEIN_COUNTS)
    embed(data, FakeClient(card(proteins=("0", "1", "2"))))
    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_in_any_order_with_others_between() -> None:
    names = ["isotype", PROTEINS[2], "HTO", PROTEINS[0], PROTEINS[1]]
    values = np.stack([PROTEIN_COUNTS[:, i] for i in (0, 2, 1, 0, 1)], axis=1)
    data = with_proteins("protein_expression", pd.DataFrame(values, columns=names, index=pd.Index(CELLS)))

    report = embed(data, FakeClient())

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.warnings[0].code == "extra_proteins"
    assert report.warnings[0].examples == ("isotype", "HTO")


def test_some_are_missing() -> None:
    data = with_proteins("protein_expression", frame().iloc[:, :2].rename(columns={PROTEINS[1]: "CD19"}))

    report = embed(data, FakeClient())

    alone = PROTEIN_COUNTS * [1, 0, 0]
    assert np.array_equal(data.obsm["X_totalVI"], answer(COUNTS, alone, BATCH))
    assert report.missing_proteins == PROTEINS[1:]
    assert "'CD19' may be its 'CD19_TotalSeqB': rename them if so" in report.warnings[0].detail


def test_all_are_called_otherwise() -> None:
    data = with_proteins("protein_expression", frame(["CD3", "CD19-1", "anti-CD4"]))
    with pytest.raises(InputError) as refusal:
        embed(data, FakeClient())
    assert "none of the model's 3 proteins is in obsm['protein_expression']" in str(refusal.value)
    assert "'CD3' may be its 'CD3_TotalSeqB', 'CD19-1' may be its 'CD19_TotalSeqB'" in str(refusal.value)


def test_the_place_that_fits_is_taken_and_two_that_fit_are_not() -> None:
    data = with_proteins("protein", frame(["x", "y", "z"]))
    data.obsm["adt"] = frame()
    assert embed(data, FakeClient()).protein_counts == "obsm['adt']"

    data.obsm["protein"] = frame()
    with pytest.raises(InputError, match=r"obsm\['adt'\] and obsm\['protein'\]|obsm\['protein'\] and obsm\['adt'\]"):
        embed(data, FakeClient())
    assert embed(data, FakeClient(), proteins="protein").protein_counts == "obsm['protein']"


def test_a_place_without_names_does_not_hide_another() -> None:
    data = with_proteins("adt", PROTEIN_COUNTS)
    data.obsm["protein_expression"] = frame()
    assert embed(data, FakeClient()).protein_counts == "obsm['protein_expression']"


def test_twice_the_same() -> None:
    data = with_proteins("protein_expression", frame([PROTEINS[0], PROTEINS[0], PROTEINS[1]]))
    with pytest.raises(InputError, match=r"more than once in obsm\['protein_expression'\]: 'CD3_TotalSeqB'"):
        embed(data, FakeClient())


def test_not_measured_in_a_batch_is_no_count() -> None:
    values = frame().astype(float)
    values.iloc[5:, 1] = np.nan
    with pytest.raises(InputError, match=r"not finite in cell cell5; where something was not measured put 0"):
        embed(with_proteins("protein_expression", values), FakeClient())


NO_COUNTS = {
    "log-normalised": np.log1p,
    "scaled or centred": lambda counts: counts - counts.mean(axis=0),
}


@pytest.mark.parametrize("looks", NO_COUNTS)
@pytest.mark.parametrize("proteins", [None, "protein_expression"])
def test_other_numbers_than_counts_are_told_for_what_they_are(looks: str, proteins: Any) -> None:
    values = NO_COUNTS[looks](frame())
    with pytest.raises(InputError, match=rf"looks {looks}.*name the raw protein counts by proteins=") as refusal:
        embed(with_proteins("protein_expression", values), FakeClient(), proteins=proteins)
    assert "allow_non_integer" not in str(refusal.value)


def test_they_are_taken_from_where_they_are_counts() -> None:
    data = with_proteins("protein_expression", np.log1p(frame()))
    data.obsm["adt"] = frame()
    assert embed(data, FakeClient()).protein_counts == "obsm['adt']"


def test_log_normalised_proteins_that_are_asked_for() -> None:
    data = with_proteins("protein_expression", np.log1p(frame()))
    with pytest.raises(InputError, match="looks log-normalised"):
        embed(data, FakeClient(), allow_non_integer=True)
    embed(data, FakeClient(), proteins="protein_expression", allow_non_integer=True)


def test_entries_of_one_place_add_up_beyond_their_type() -> None:
    counts = PROTEIN_COUNTS.astype(np.uint8)
    columns = np.tile([0, 1, 2, 0, 1, 2], N_CELLS)
    entries = np.concatenate([counts, np.full_like(counts, 251)], axis=1).reshape(-1)
    rows = sp.csr_matrix((entries, columns, np.arange(N_CELLS + 1) * 6), shape=counts.shape)
    client = FakeClient()

    embed(with_proteins("adt", rows), client, protein_names=PROTEINS)

    expected = PROTEIN_COUNTS + 251
    assert np.array_equal(client.sent[0].protein_counts, expected)
    # Which scipy adds up when it turns them around.
    listed = sp.coo_matrix((entries, (np.repeat(np.arange(N_CELLS), 6), columns)), shape=counts.shape)
    assert np.array_equal(as_dense(ArrayMatrix(listed).rows(0, N_CELLS)), expected)


@pytest.mark.parametrize("kind", ["Int64", "Float64", object, "uint8"])
def test_columns_of_any_type_of_number(kind: Any) -> None:
    data = with_proteins("adt", frame().astype(kind))
    embed(data, FakeClient())
    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_columns_with_blanks_or_text() -> None:
    values = frame().astype("Int64")
    values.iloc[5, 1] = pd.NA
    with pytest.raises(InputError, match=r"not finite in cell cell5;"):
        embed(with_proteins("adt", values), FakeClient())
    values = frame().astype(object)
    values.iloc[5, 1] = "many"
    with pytest.raises(InputError, match=r"obsm\['adt'\] of the AnnData is not all numbers .*'many'"):
        embed(with_proteins("adt", values), FakeClient())
