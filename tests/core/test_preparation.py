"""From a decoded request to cells in the model's columns."""

from typing import Any

import numpy as np
import pytest

from model.contract import CategoricalField
from service.core.alignment import ColumnIndex
from service.core.catalog import LoadedModel
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import CsrCounts, DenseCounts, EncodeRequest, Labels, Limits, Output
from service.core.preparation import PreparedRequest, prepare
from tests.fakes import FakeEncoder, make_spec

LIMITS = Limits()


def loaded(**facts: Any) -> LoadedModel:
    spec = make_spec(**facts)
    genes, proteins = ColumnIndex("gene", spec.genes), ColumnIndex("protein", spec.proteins)
    return LoadedModel("m", "1", FakeEncoder(spec), genes, proteins)


MODEL = loaded()


def request(n_cells: int = 2, **changes: Any) -> EncodeRequest:
    facts: dict[str, Any] = {
        "gene_counts": DenseCounts(np.arange(n_cells * 5).reshape(n_cells, 5)),
        "protein_counts": DenseCounts(np.arange(1, 1 + n_cells * 2).reshape(n_cells, 2)),
        "batch": Labels.one("a"),
    }
    return EncodeRequest(**(facts | changes))


def refusal(asked: EncodeRequest, model: LoadedModel = MODEL, limits: Limits = LIMITS) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        prepare(asked, model, limits)
    return caught.value


def test_an_ordinary_request() -> None:
    prepared = prepare(
        request(batch=Labels.per_cell(["b", "a"]), cells=("x", "x"), seed=3, first_cell=9), MODEL, LIMITS
    )
    assert prepared.n_cells == 2
    assert prepared.batch.indptr.tolist() == [0, 4, 9]
    assert prepared.batch.codes.tolist() == [[1], [0]]
    assert prepared.library.tolist() == [10.0, 35.0]
    assert prepared.names == ("x", "x")
    assert (prepared.seed, prepared.first_cell, prepared.n_samples) == (3, 9, 0)
    assert prepared.notices == ()
    assert [prepared.entries(0, 1), prepared.entries(0, 2)] == [4, 9]
    assert prepared.nbytes == prepared.batch.nbytes > 0
    assert prepare(request(), MODEL, LIMITS, held_bytes=1000).nbytes == prepare(request(), MODEL, LIMITS).nbytes + 1000


def test_names_align_genes_and_proteins_to_identical_cells() -> None:
    """DOMAIN 9.2."""
    plain = prepare(request(), MODEL, LIMITS)
    shuffled = request(
        gene_counts=DenseCounts(np.array([[4, 7, 3, 2, 1, 0], [9, 7, 8, 7, 6, 5]])),
        genes=("gene4", "other", "gene3", "gene2", "gene1", "gene0"),
        protein_counts=DenseCounts(np.array([[2, 1], [4, 3]])),
        proteins=("protein1", "protein0"),
    )
    prepared = prepare(shuffled, MODEL, LIMITS)
    assert np.array_equal(prepared.batch.indices, plain.batch.indices)
    assert np.array_equal(prepared.batch.counts, plain.batch.counts)
    assert np.array_equal(prepared.batch.proteins, plain.batch.proteins)
    assert np.array_equal(prepared.library, plain.library)
    assert [notice.code for notice in prepared.notices] == ["extra_genes"]


def test_the_library_counts_the_models_genes_alone() -> None:
    asked = request(1, gene_counts=DenseCounts(np.array([[3, 100]])), genes=("gene0", "other"), min_gene_coverage=0.0)
    assert prepare(asked, MODEL, LIMITS).library.tolist() == [3.0]


def test_cells_without_counts_have_no_library() -> None:
    counts = DenseCounts(np.array([[0] * 5, [1] * 5, [0] * 5, [0, 2, 0, 0, 0], [0] * 5]))
    prepared = prepare(request(5, gene_counts=counts), MODEL, LIMITS)
    assert prepared.library.tolist() == [0, 5, 0, 2, 0]


def test_missing_proteins_are_zero_and_told() -> None:
    for names in (None, ()):
        prepared = prepare(request(protein_counts=None, proteins=names), MODEL, LIMITS)
        assert not prepared.batch.proteins.any()
        assert [(notice.code, notice.count) for notice in prepared.notices] == [("missing_proteins", 2)]
    one = request(protein_counts=DenseCounts(np.ones((2, 1))), proteins=("protein1",))
    assert prepare(one, MODEL, LIMITS).batch.proteins.tolist() == [[0, 1], [0, 1]]


def test_named_proteins_without_counts_are_a_mistake() -> None:
    assert refusal(request(protein_counts=None, proteins=("protein0",))).field == "protein_counts"


def test_low_coverage_is_refused_and_may_be_allowed() -> None:
    asked = {"gene_counts": DenseCounts(np.ones((2, 2))), "genes": ("gene0", "gene1")}
    error = refusal(request(**asked))
    assert error.kind is ErrorKind.INVALID and error.field == "genes"
    assert error.counts == {"known": 2, "needed": 5}
    assert "40.0%" in error.detail
    prepared = prepare(request(**asked, min_gene_coverage=0.4), MODEL, LIMITS)
    assert prepared.notices[0].count == 3


COVARIATES = loaded(
    categorical_covariates=(
        CategoricalField("donor", ("d1", "d2", "d3")),
        CategoricalField("one", ("x",)),
        CategoricalField("site", (1, 2)),
    ),
    continuous_covariates=("age", "dose"),
)
FULL: dict[str, Any] = {
    "categorical_covariates": {"site": Labels.one(2), "donor": Labels.per_cell(["d3", "d1"])},
    "continuous_covariates": {"dose": np.array([1.0, 2.0]), "age": np.array(0.5)},
}


def test_covariates_stand_in_the_models_order() -> None:
    prepared = prepare(request(**FULL), COVARIATES, LIMITS)
    assert prepared.batch.codes.tolist() == [[0, 2, 1], [0, 0, 1]]
    assert prepared.batch.continuous.tolist() == [[0.5, 1.0], [0.5, 2.0]]


def test_a_missing_covariate_is_named() -> None:
    error = refusal(request(**FULL | {"categorical_covariates": {"site": Labels.one(1)}}), COVARIATES)
    assert error.field == "categorical_covariates.donor"
    error = refusal(request(**FULL | {"continuous_covariates": {"age": np.array(1.0)}}), COVARIATES)
    assert error.field == "continuous_covariates.dose"


def test_a_covariate_the_model_does_not_have_is_told() -> None:
    prepared = prepare(request(categorical_covariates={"donro": Labels.one("d1")}), MODEL, LIMITS)
    assert [(notice.code, notice.examples) for notice in prepared.notices] == [("unknown_covariates", ("donro",))]


@pytest.mark.parametrize("facts", [{"batch": None}, {"batch": ["only"]}, {"encode_covariates": False}])
def test_what_the_encoder_does_not_use_is_not_needed(facts: dict[str, Any]) -> None:
    """DOMAIN 9.3: one batch gives no column."""
    assert prepare(request(batch=None), loaded(**facts), LIMITS).batch.codes.shape == (2, 0)
    prepared = prepare(request(batch=Labels.one("anything")), loaded(**facts), LIMITS)
    expected = [] if facts == {"batch": None} else [("unused_labels", ("anything",))]
    assert [(notice.code, notice.examples) for notice in prepared.notices] == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {Output.QZ, Output.Z, Output.LIBRARY, Output.QL}),
        ({"n_samples": 2}, {Output.QZ, Output.Z, Output.LIBRARY, Output.QL, Output.SAMPLES}),
        ({"outputs": frozenset({Output.Z})}, {Output.Z}),
        ({"outputs": frozenset({Output.Z}), "n_samples": 1}, {Output.Z, Output.SAMPLES}),
        ({"outputs": frozenset()}, set()),
    ],
)
def test_outputs(changes: dict[str, Any], expected: set[Output]) -> None:
    assert prepare(request(**changes), MODEL, LIMITS).outputs == expected


def test_ql_is_no_default_where_its_encoder_was_not_trained() -> None:
    model = loaded(library_encoder_trained=False)
    assert Output.QL not in prepare(request(), model, LIMITS).outputs
    assert Output.QL in prepare(request(outputs=frozenset({Output.QL})), model, LIMITS).outputs


def test_samples_without_a_number_are_one() -> None:
    assert prepare(request(outputs=frozenset({Output.SAMPLES})), MODEL, LIMITS).n_samples == 1


def test_a_seed_is_drawn_where_none_is_given_and_one_is_needed() -> None:
    seeds = {prepare(request(n_samples=1), MODEL, LIMITS).seed for _ in range(5)}
    assert len(seeds) == 5 and all(0 <= seed < 1 << 63 for seed in seeds)
    assert {prepare(request(), MODEL, LIMITS).seed for _ in range(5)} == {0}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"n_samples": -1}, "n_samples"),
        ({"seed": -1}, "seed"),
        ({"seed": 1 << 64}, "seed"),
        ({"first_cell": -1}, "first_cell"),
        ({"min_gene_coverage": 1.5}, "min_gene_coverage"),
        ({"min_gene_coverage": float("nan")}, "min_gene_coverage"),
        ({"cells": ("one",)}, "cells"),
        ({"protein_counts": DenseCounts(np.ones((3, 2)))}, "protein_counts"),
        ({"batch": None}, "batch"),
    ],
)
def test_options_that_do_not_fit_are_refused(changes: dict[str, Any], field: str) -> None:
    error = refusal(request(**changes))
    assert (error.kind, error.field) == (ErrorKind.INVALID, field)


@pytest.mark.parametrize(
    ("limits", "changes", "name"),
    [
        (Limits(max_request_cells=1), {}, "max_request_cells = 1"),
        (Limits(max_samples=3), {"n_samples": 4}, "max_samples = 3"),
        (Limits(max_samples=0), {"outputs": frozenset({Output.SAMPLES})}, "max_samples = 0"),
        (Limits(max_sample_values=15), {"n_samples": 2}, "max_sample_values = 15"),
        (Limits(max_columns=3), {"genes": ("a", "b", "c", "d")}, "max_columns = 3"),
        (Limits(max_columns=1), {"proteins": ("a", "b")}, "max_columns = 1"),
    ],
)
def test_limits_are_named_where_they_refuse(limits: Limits, changes: dict[str, Any], name: str) -> None:
    error = refusal(request(**changes), limits=limits)
    assert error.kind is ErrorKind.TOO_LARGE and name in error.detail


def test_zero_cells_are_a_request() -> None:
    """DOMAIN 9.16."""
    nothing = DenseCounts(np.zeros((0, 5)))
    prepared: PreparedRequest = prepare(request(0, gene_counts=nothing), MODEL, LIMITS)
    assert prepared.n_cells == 0 and prepared.library.shape == (0,)
    empty = CsrCounts(np.array([0]), np.zeros(0, np.int64), np.zeros(0))
    assert prepare(request(0, gene_counts=empty), MODEL, LIMITS).n_cells == 0


def test_ql_of_an_untrained_library_encoder_is_flagged() -> None:
    asked = request(outputs=frozenset({Output.QL}))
    codes = [notice.code for notice in prepare(asked, loaded(library_encoder_trained=False), LIMITS).notices]
    assert codes == ["untrained_library_encoder"]
    assert prepare(asked, loaded(library_encoder_trained=True), LIMITS).notices == ()
