"""What the slices of a stream have in common, and what is their own."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from model.contract import CategoricalField
from service.core.alignment import ColumnIndex
from service.core.catalog import LoadedModel
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import NO_CELLS, DenseCounts, EncodeRequest, Labels, Limits, Output
from service.core.stream import EncodeStream
from tests.fakes import FakeEncoder, make_spec

SPEC = make_spec(
    categorical_covariates=[CategoricalField("donor", ("d1", "d2")), CategoricalField("lane", (1, 2))],
    continuous_covariates=["age", "dose"],
)
MODEL = LoadedModel("m", "1", FakeEncoder(SPEC), ColumnIndex("gene", SPEC.genes), ColumnIndex("protein", SPEC.proteins))
LIMITS = Limits()

OPTIONS: dict[str, Any] = {
    "outputs": frozenset({Output.Z}),
    "n_samples": 2,
    "seed": 7,
    "min_gene_coverage": 0.1,
    "allow_non_integer": True,
}


def cells(n_cells: int = 1, **changes: Any) -> EncodeRequest:
    return EncodeRequest(**({"gene_counts": DenseCounts(np.ones((n_cells, 5), dtype=np.uint8))} | changes))


def test_names_and_options_hold_for_every_slice() -> None:
    first = cells(2, genes=SPEC.genes[::-1], cells=("a", "b"), first_cell=10, **OPTIONS)
    stream = EncodeStream(first, MODEL, LIMITS)
    pieces = [stream.next(first, n_bytes=5), stream.next(cells(3), n_bytes=6), stream.next(cells(0), n_bytes=7)]
    pieces.append(stream.next(cells(cells=("c",)), n_bytes=8))
    for piece in pieces:
        assert {name: getattr(piece.request, name) for name in OPTIONS} == OPTIONS
        assert (piece.request.genes, piece.request.proteins) == (None, None), "the columns stand for the names"
        assert piece.columns is pieces[0].columns
        assert piece.stream.model is MODEL
    assert pieces[0].columns.genes.targets.tolist() == [4, 3, 2, 1, 0]
    assert [piece.request.first_cell for piece in pieces] == [10, 12, 15, 15]
    assert [piece.request.cells for piece in pieces] == [("a", "b"), None, None, ("c",)]
    assert [piece.n_bytes for piece in pieces] == [5, 6, 7, 8]
    assert [piece.continues for piece in pieces] == [False, True, True, True]


def test_a_seed_is_drawn_once_for_each_stream() -> None:
    streams = [EncodeStream(cells(), MODEL, LIMITS) for _ in range(2)]
    seeds = [[stream.next(cells(), n_bytes=0).request.seed for _ in range(2)] for stream in streams]
    assert seeds[0] == [seeds[0][0]] * 2
    assert seeds[0] != seeds[1]


def test_what_is_given_for_all_cells_holds_and_what_is_given_per_cell_does_not() -> None:
    first = cells(
        2,
        batch=Labels.one("a"),
        categorical_covariates={"donor": Labels.one("d1"), "lane": Labels.per_cell([1, 2])},
        continuous_covariates={"age": np.array(0.5), "dose": np.array([1.0, 2.0])},
    )
    stream = EncodeStream(first, MODEL, LIMITS)
    own = stream.next(first, n_bytes=0).request
    assert (own.batch, own.categorical_covariates, own.continuous_covariates) == (
        first.batch,
        first.categorical_covariates,
        first.continuous_covariates,
    )
    later = stream.next(cells(), n_bytes=0).request
    assert later.batch is first.batch
    assert later.categorical_covariates == {"donor": first.categorical_covariates["donor"]}
    assert later.continuous_covariates == {"age": first.continuous_covariates["age"]}
    changed = cells(
        batch=Labels.one("b"),
        categorical_covariates={"donor": Labels.one("d2"), "lane": Labels.one(2)},
        continuous_covariates={"dose": np.array(3.0)},
    )
    last = stream.next(changed, n_bytes=0).request
    assert last.batch is changed.batch
    assert last.categorical_covariates == changed.categorical_covariates
    assert last.continuous_covariates == first.continuous_covariates | changed.continuous_covariates | {
        "age": first.continuous_covariates["age"]
    }
    again = stream.next(cells(), n_bytes=0).request
    assert again.batch is first.batch, "a slice changes nothing for those after it"


def refusal(first: EncodeRequest, *later: EncodeRequest, limits: Limits = LIMITS) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        stream = EncodeStream(first, MODEL, limits)
        for some in later:
            stream.next(some, n_bytes=0)
    return caught.value


NAMES_ALONE = EncodeRequest(gene_counts=NO_CELLS)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"batch": Labels.per_cell(["a"])}, "batch"),
        ({"categorical_covariates": {"x\n": Labels.per_cell(["a"])}}, r"categorical_covariates.'x\n'"),
        ({"continuous_covariates": {"age": np.array([1.0])}}, "continuous_covariates.age"),
    ],
)
def test_labels_of_no_cells(changes: dict[str, Any], field: str) -> None:
    error = refusal(dataclasses.replace(NAMES_ALONE, **changes))
    assert (error.kind, error.field) == (ErrorKind.INVALID, field)
    assert error.detail == f"{field} is given per cell, but no cells are with it"


@pytest.mark.parametrize("gene_counts", [NO_CELLS, cells().gene_counts], ids=["names alone", "with cells"])
@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"genes": ("x",)}, ErrorKind.INVALID),
        ({"seed": -1}, ErrorKind.INVALID),
        ({"n_samples": 1001}, ErrorKind.TOO_LARGE),
        ({"genes": ("gene0",) * 6}, ErrorKind.TOO_LARGE),
    ],
)
def test_names_and_options_are_checked_when_the_stream_opens(
    gene_counts: DenseCounts, changes: dict[str, Any], kind: ErrorKind
) -> None:
    first = EncodeRequest(**({"gene_counts": gene_counts} | changes))
    assert refusal(first, limits=Limits(max_columns=5)).kind is kind


@pytest.mark.parametrize("counted_first", [True, False])
@pytest.mark.parametrize("names_alone", [True, False])
def test_proteins_are_counted_in_all_slices_or_in_none(counted_first: bool, names_alone: bool) -> None:
    counted = cells(protein_counts=DenseCounts(np.ones((1, 2))))
    slices = [counted, cells()] if counted_first else [cells(), counted]
    error = refusal(NAMES_ALONE if names_alone else slices[0], *slices)
    assert (error.kind, error.field) == (ErrorKind.INVALID, "protein_counts")
    assert error.detail.endswith("has some" if counted_first else "has none")


def test_the_first_cells_tell_whether_proteins_are_counted() -> None:
    counted = cells(protein_counts=DenseCounts(np.ones((1, 2))))
    for first, n_missing in ((counted, 0), (cells(), 2)):
        piece = EncodeStream(NAMES_ALONE, MODEL, LIMITS).next(first, n_bytes=0)
        assert piece.columns.proteins.coverage.missing == n_missing
        assert not piece.continues


def test_named_proteins_must_be_counted() -> None:
    named = dataclasses.replace(NAMES_ALONE, proteins=SPEC.proteins)
    assert refusal(named, cells()).detail == "proteins are named, but there are no protein_counts"
