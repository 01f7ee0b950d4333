from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from service.core.messages import Limits as ServiceLimits
from service.protobuf.message_codec import decode_request
from totalvi_client.cells import Cells, read_cells
from totalvi_client.errors import InputError, UnexpectedAnswer
from totalvi_client.message import (
    cells_message,
    options_message,
    read_card,
    read_cards,
    read_encoding,
    read_limits,
    read_validation,
)
from totalvi_client.options import read_options
from totalvi_client.results import Limits
from totalvi_client.stubs import totalvi_v1_pb2 as pb

from .talk import answer

COUNTS = np.array([[0, 0, 0, 3, 0, 0, 0, 0], [0] * 8, [0, 0, 0, 0, 0, 0, 300, 0]], np.float32)


def sent(cells: Cells, first_cell: int = 0, **options: object) -> pb.EncodeRequest:
    body = options_message(read_options(**options)) + cells_message(read_cells(cells), first_cell)  # type: ignore[arg-type]
    return pb.EncodeRequest.FromString(body)


def test_a_request_is_what_the_service_reads() -> None:
    cells = Cells(
        sp.csc_matrix(COUNTS),
        np.array([[1, 2], [3, 4], [70_000, 0]]),
        ["b", "a", "b"],
        {"donor": np.array([2, 1, 2]), "lane": True},
        {"age": [0.5, 1, 2], "dose": np.float32(3)},
        ["x", "y", "x"],
    )
    message = sent(
        cells,
        9,
        genes=list("abcdefgh"),
        proteins=["p", "q"],
        model="m",
        version=2,
        outputs=["z", "samples"],
        n_samples=4,
        seed=2**64 - 1,
        min_gene_coverage=0.25,
        allow_non_integer=True,
    )
    request = decode_request(message, ServiceLimits())
    assert (message.model, message.model_version) == ("m", "2")
    csr = request.gene_counts
    np.testing.assert_array_equal(sp.csr_matrix((csr.data, csr.indices, csr.indptr), (3, 8)).toarray(), COUNTS)
    assert (csr.data.dtype, csr.indices.dtype, csr.n_columns) == (np.uint16, np.uint16, 8)
    assert request.protein_counts.values.tolist() == [[1, 2], [3, 4], [70_000, 0]]
    assert (request.genes, request.proteins, request.cells) == (tuple("abcdefgh"), ("p", "q"), ("x", "y", "x"))
    labels = request.categorical_covariates
    assert (request.batch.categories, request.batch.codes.tolist()) == (("b", "a"), [0, 1, 0])
    assert (labels["donor"].categories, labels["donor"].codes.tolist()) == ((1, 2), [1, 0, 1])
    assert (labels["lane"].categories, labels["lane"].codes) == ((True,), None)
    assert request.continuous_covariates["age"].tolist() == [0.5, 1, 2]
    assert request.continuous_covariates["dose"].shape == ()
    assert sorted(output.value for output in request.outputs) == ["samples", "z"]
    assert (request.n_samples, request.seed, request.first_cell) == (4, 2**64 - 1, 9)
    assert (request.min_gene_coverage, request.allow_non_integer) == (0.25, True)


def test_what_is_not_given_is_not_sent() -> None:
    message = sent(Cells(COUNTS))
    assert {field.name for field, _ in message.ListFields()} == {"gene_counts"}
    assert not message.HasField("seed")
    assert not message.HasField("min_gene_coverage")
    # 0 is something, though.
    message = sent(Cells(COUNTS), seed=0, min_gene_coverage=0)
    assert message.HasField("seed")
    assert message.HasField("min_gene_coverage")


def test_a_part_takes_what_belongs_to_its_cells() -> None:
    cells = read_cells(Cells(COUNTS, COUNTS, ["b", "a", "b"], {"d": 1}, {"age": [1, 2, 3], "k": 5}, list("xyz")))
    part = decode_request(pb.EncodeRequest.FromString(cells_message(cells.rows(1, 3), 1)), ServiceLimits())
    assert (part.n_cells, part.protein_counts.n_cells, part.cells, part.first_cell) == (2, 2, ("y", "z"), 1)
    assert [part.batch.categories[code] for code in part.batch.codes] == ["a", "b"]
    assert (part.categorical_covariates["d"].codes, part.continuous_covariates["age"].tolist()) == (None, [2, 3])
    assert part.continuous_covariates["k"].tolist() == 5


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (Cells(COUNTS, protein_counts=COUNTS[:2]), "protein_counts has 2 cells, gene_counts 3"),
        (Cells(COUNTS, cells=["a"]), "cells has 1 names for 3 cells"),
        (Cells(COUNTS, categorical_covariates={"donor": ["a"]}), "categorical_covariates.donor has 1 labels"),
        (Cells(COUNTS, continuous_covariates={"age": [1, 2]}), "continuous_covariates.age has 2 numbers"),
        (COUNTS, r"must be Cells\(gene_counts"),
    ],
)
def test_cells_that_do_not_fit_each_other(cells: Cells, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_cells(cells)


@pytest.mark.parametrize(
    "options",
    [
        {"outputs": "qz"},
        {"outputs": ["qzz"]},
        {"n_samples": -1},
        {"n_samples": 1.5},
        {"n_samples": 1 << 32},
        {"seed": -1},
        {"seed": 1 << 64},
        {"first_cell": -1},
    ],
    ids=str,
)
def test_options_that_cannot_be_sent(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        read_options(**options)  # type: ignore[arg-type]


def test_a_seed_is_drawn_where_samples_are() -> None:
    assert read_options().seed is None
    drawn = [read_options(n_samples=2).seed, read_options(outputs=["samples"]).seed]
    assert drawn[0] != drawn[1]
    assert None not in drawn
    assert read_options(n_samples=1, seed=np.int64(5)).seed == 5


def f32(values: np.ndarray) -> pb.Tensor:
    return pb.Tensor(dtype=pb.Tensor.F32, shape=values.shape, data=values.astype("<f4").tobytes())


def encoded(n_cells: int = 2) -> pb.EncodeResponse:
    rows = np.arange(n_cells * 3).reshape(n_cells, 3)
    return pb.EncodeResponse(model="m", model_version="1", n_cells=n_cells, cells=["a"] * n_cells, z=f32(rows))


def test_an_answer_is_read_into_arrays_of_the_callers_own() -> None:
    response = encoded()
    response.warnings.add(code="missing_genes", detail="x", count=3, examples=["g"])
    found = read_encoding(answer(response.SerializeToString()), 2)
    assert found.z is not None
    assert (found.z.tolist(), found.z.dtype) == ([[0, 1, 2], [3, 4, 5]], np.float32)
    found.z[:] = 0  # it can be written to
    assert (found.qz, found.ql, found.library, found.samples) == (None,) * 4
    assert (found.cells, found.request_id, found.timing) == (("a", "a"), "id-of-server", {"compute": 1.0})
    assert [(one.code, one.count, one.examples) for one in found.warnings] == [("missing_genes", 3, ("g",))]


def damaged(change: str) -> bytes:
    response = encoded()
    match change:
        case "no message":
            return b"\xff\xff"
        case "another number of cells":
            response.n_cells = 3
        case "too few names":
            del response.cells[0]
        case "another type":
            response.z.dtype = pb.Tensor.F64
        case "too few bytes":
            response.z.data = response.z.data[:-4]
        case "too few rows":
            response.z.CopyFrom(f32(np.zeros((1, 3))))
        case "no axes":
            response.z.CopyFrom(f32(np.array(1.0)))
        case "too few draws":
            for tensor in (response.samples.latent.z, response.samples.untran_latent.z):
                tensor.CopyFrom(f32(np.zeros((2, 1, 3))))
    return response.SerializeToString()


@pytest.mark.parametrize(
    "change",
    [
        "no message",
        "another number of cells",
        "too few names",
        "another type",
        "too few bytes",
        "too few rows",
        "no axes",
        "too few draws",
    ],
)
def test_no_other_answer_is_taken_for_one(change: str) -> None:
    with pytest.raises(UnexpectedAnswer) as refused:
        read_encoding(answer(damaged(change)), 2)
    assert refused.value.request_id == "id-of-server"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"models": 5}', b'{"models": [5]}', b'{"name": "m"}'])
def test_no_other_json_is_taken_for_cards(body: bytes) -> None:
    for read in (read_card, read_cards):
        with pytest.raises(UnexpectedAnswer):
            read(answer(body, is_json=True))


def test_limits_that_a_server_does_not_tell_are_the_usual_ones() -> None:
    assert read_limits(answer(b'{"max_samples": 5, "max_new": 1}', is_json=True)) == Limits(max_samples=5)


def test_a_check_is_held_against_the_cells() -> None:
    body = pb.ValidateResponse(n_cells=3).SerializeToString()
    assert read_validation(answer(body), 3).n_cells == 3
    with pytest.raises(UnexpectedAnswer):
        read_validation(answer(body), 4)
