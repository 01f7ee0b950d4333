"""Batch and covariates: labels keep their types, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.client.fake_client import FakeClient, answer, card
from tests.client.made_up import BATCH, CELLS, COUNTS, N_CELLS, PROTEIN_COUNTS, Z, adata
from totalvi_client import CategoricalField, InputError
from totalvi_client.embedding import embed
from totalvi_client.obs_columns import label_column


def of_batches(*labels: Any) -> FakeClient:
    return FakeClient(card(batch=CategoricalField("batch", labels)))


@pytest.mark.parametrize(
    "column",
    [
        BATCH,
        pd.Categorical(BATCH, categories=["unused", "b1", "b0"]),
        np.array(BATCH, dtype="U"),
        pd.array(BATCH, dtype="string"),
    ],
    ids=["objects", "categorical", "text", "string"],
)
def test_a_column_of_any_kind(column: Any) -> None:
    data = adata(batch=column)
    report = embed(data, FakeClient())
    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.batch_cells == {label: BATCH.count(label) for label in ("b0", "b1")}


@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (np.arange(N_CELLS) % 2, (0, 1)),
        (np.arange(N_CELLS) % 2 * 1.0, (0, 1)),
        (pd.Categorical(np.arange(N_CELLS) % 2), (1, 0)),
        (np.arange(N_CELLS) % 2 == 0, (True, False)),
        (pd.array(np.arange(N_CELLS) % 2, dtype="Int64"), (0, 1)),
        (np.arange(N_CELLS) % 2 + 0.5, (0.5, 1.5)),
    ],
    ids=["int", "float for int", "categorical", "bool", "nullable", "float"],
)
def test_labels_that_are_no_text(column: Any, labels: Any) -> None:
    data, client = adata(batch=column), of_batches(*labels)

    embed(data, client)

    sent = client.sent[0].batch
    # As the model spells them, of its own type.
    found = [sent.categories[code] for code in sent.codes]
    assert {type(label) for label in found} == {type(labels[0])}
    assert found == list(column)


def test_text_is_no_number() -> None:
    data = adata(batch=[str(i % 2) for i in range(N_CELLS)])

    with pytest.raises(InputError, match=r"'0', '1' unknown to the model.*of the type int and the data's str: convert"):
        embed(data, of_batches(0, 1))
    report = embed(data, of_batches(0, 1), batch_map={"0": 0, "1": 1})

    assert report.batch_map == {"0": 0, "1": 1}


def test_truth_is_no_number() -> None:
    with pytest.raises(InputError, match="unknown to the model"):
        embed(adata(batch=np.arange(N_CELLS) % 2 == 0), of_batches(0, 1))


def test_an_unknown_batch_lists_both_sides() -> None:
    batch = ["b0"] * 30 + ["mine"] * 20

    with pytest.raises(InputError) as refusal:
        embed(adata(batch=batch), FakeClient())

    assert str(refusal.value).startswith(
        "batch in obs['batch']: 'mine' unknown to the model, which was trained with 'b0', 'b1'; "
        "in the data there is 'b0', 'mine'"
    )
    assert "batch_map={'mine': 'b0'}" in str(refusal.value)


def test_a_batch_under_another_label() -> None:
    data = adata(batch=["other" if label == "b1" else label for label in BATCH])

    report = embed(data, FakeClient(), batch_map={"other": "b1"})

    assert np.array_equal(data.obsm["X_totalVI"], Z)
    assert report.batch_map == {"b0": "b0", "other": "b1"}


def test_two_labels_for_one_batch() -> None:
    batch = [f"lane{i % 3}" for i in range(N_CELLS)]
    data = adata(batch=batch)

    report = embed(data, FakeClient(), batch_map={"lane0": "b0", "lane1": "b1", "lane2": "b1"})

    expected = answer(COUNTS, PROTEIN_COUNTS, ["b0" if label == "lane0" else "b1" for label in batch])
    assert np.array_equal(data.obsm["X_totalVI"], expected)
    assert report.batch_map == {"lane0": "b0", "lane1": "b1", "lane2": "b1"}
    assert sum(report.batch_cells.values()) == N_CELLS


def test_no_column_names_the_one_that_fits() -> None:
    data = adata(batch=None)
    data.obs["lane"] = "L1"
    data.obs["sample"] = pd.Categorical(BATCH)

    with pytest.raises(InputError) as refusal:
        embed(data, FakeClient())
    embed(data, FakeClient(), batch_key="sample")

    assert "the model needs the batch of each cell, one of 'b0', 'b1', and there is no column 'batch' in obs" in str(
        refusal.value
    )
    assert "(there is: lane, sample)" in str(refusal.value)
    assert "obs['sample'] has such labels: give batch_key='sample'" in str(refusal.value)
    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_no_column_at_all() -> None:
    with pytest.raises(InputError, match=r"\(there is: nothing\); or give batch= one label for all cells"):
        embed(adata(batch=None), FakeClient())


def test_one_batch_for_all() -> None:
    data, client = adata(batch=None), FakeClient()

    report = embed(data, client, batch="b1")

    assert np.array_equal(data.obsm["X_totalVI"], answer(COUNTS, PROTEIN_COUNTS, ["b1"] * N_CELLS))
    assert report.batch == "'b1' for all cells"
    assert client.sent[0].batch == "b1"
    with pytest.raises(InputError, match="batch: 'b7' unknown to the model"):
        embed(data, client, batch="b7")
    with pytest.raises(InputError, match="not both"):
        embed(data, client, batch="b1", batch_key="batch")


def test_falsy_labels() -> None:
    data = adata(batch=None)
    data.obs["batch"] = ["" if i % 2 else "x" for i in range(N_CELLS)]
    embed(data, of_batches("", "x"))
    embed(data, of_batches(0, 1), batch=0)
    with pytest.raises(InputError, match="unknown"):
        embed(data, of_batches("x", "y"))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_cells_without_a_batch(missing: Any) -> None:
    batch: list[Any] = list(BATCH)
    batch[4] = batch[7] = missing
    with pytest.raises(InputError, match=r"2 cells have no batch in obs\['batch'\]: cell4, cell7; fill it in or leave"):
        embed(adata(batch=batch), FakeClient())


def test_covariates_that_are_missing_or_wrong() -> None:
    of = card(categorical_covariates=(CategoricalField("donor", ("d1", "d2")),), continuous_covariates=("age",))
    data = adata()
    with pytest.raises(InputError, match=r"needs the covariate 'donor'.*or give covariates=\{'donor': …\}"):
        embed(data, FakeClient(of))
    data.obs["person"] = ["d1"] * N_CELLS
    with pytest.raises(InputError, match=r"has such labels: give covariate_keys=\{'donor': 'person'\}"):
        embed(data, FakeClient(of))
    keys = {"donor": "person"}
    with pytest.raises(InputError, match="needs the number 'age' of each cell"):
        embed(data, FakeClient(of), covariate_keys=keys)
    data.obs["age"] = ["old"] * N_CELLS
    with pytest.raises(InputError, match="covariate 'age' must be numbers"):
        embed(data, FakeClient(of), covariate_keys=keys)
    data.obs["age"] = [np.nan] * 3 + [1.0] * (N_CELLS - 3)
    with pytest.raises(InputError, match=r"3 cells have no number in obs\['age'\]: cell0, cell1, cell2;"):
        embed(data, FakeClient(of), covariate_keys=keys)
    with pytest.raises(InputError, match=r"the model has no covariate 'sex'; it has: donor, age"):
        embed(data, FakeClient(of), covariates={"sex": "f"})
    with pytest.raises(InputError, match=r"covariate 'age' is a number, not 'x'"):
        embed(data, FakeClient(of), covariate_keys=keys, covariates={"age": "x"})
    with pytest.raises(InputError, match="covariate 'donor': 'd9' unknown"):
        embed(data, FakeClient(of), covariates={"donor": "d9", "age": 3})
    embed(data, FakeClient(of), covariates={"donor": "d2", "age": 3})


def test_a_batch_given_to_a_model_that_takes_none_is_told() -> None:
    report = embed(adata(), of_batches("only"), batch="something")
    assert [notice.code for notice in report.warnings] == ["unused_batch", "slice"]


def test_the_names_in_messages_are_the_cells() -> None:
    assert CELLS[4] == "cell4"


def test_a_name_for_a_label_that_is_nowhere() -> None:
    with pytest.raises(InputError, match=r"batch_map= renames 'B0', and obs\['batch'\] has no such label; there is"):
        embed(adata(), FakeClient(), batch_map={"B0": "b1"})
    with pytest.raises(InputError, match=r"renames 'B0', and what is given for all cells has no such label"):
        embed(adata(), FakeClient(), batch="b0", batch_map={"B0": "b1"})
    embed(adata(), FakeClient(), batch="mine", batch_map={"mine": "b1"})


def test_truth_among_numbers_is_no_number() -> None:
    column = label_column(np.array([1, True, None, 0, False, "x"], dtype=object))
    labels = [column.categories[code] if code >= 0 else None for code in column.codes]
    assert [(type(label), label) for label in labels] == [
        (int, 1), (bool, True), (type(None), None), (int, 0), (bool, False), (str, "x")
    ]  # fmt: skip
    mixed = pd.Series([True if i % 2 else 1 for i in range(N_CELLS)], dtype=object).to_list()
    with pytest.raises(InputError, match="True unknown to the model"):
        embed(adata(batch=np.array(mixed, dtype=object)), of_batches(1, 2))
