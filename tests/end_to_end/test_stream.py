"""Streams through the real server: what one request would have been answered, however the matrix is cut."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Ask, Refused
from tests.end_to_end.clients import GrpcCaller, message, stream_messages
from tests.end_to_end.mistake import Says, assert_says
from tests.end_to_end.operators import assert_idle, metrics
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_same_bits

N_CELLS = 300

MATRIX = synthetic.cells(N_CELLS, seed=5).but(
    cells=[f"cell{number}" for number in range(N_CELLS)],
    options={"n_samples": 3, "seed": 2**63 + 12345, "first_cell": 1 << 40},
)


def random_ends(seed: int) -> list[int]:
    """Where to cut: anywhere, at empty slices too."""
    rng = np.random.default_rng(seed)
    return sorted(rng.integers(N_CELLS + 1, size=rng.integers(1, 40)).tolist())


def joined(answers: Sequence[Answer]) -> Answer:
    """The answers to the slices as one answer to the matrix."""
    draws = {"latent_z", "latent_l", "untran_latent_z", "untran_latent_l"}
    arrays = {
        name: np.concatenate([answer.arrays[name] for answer in answers], axis=int(name in draws))
        for name in answers[0].arrays
    }
    return Answer(arrays, {}, [], {})


@pytest.fixture(scope="module")
def whole(rpc: GrpcCaller) -> Answer:
    return rpc.encode(MATRIX)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "csr"])
@pytest.mark.parametrize("seed", range(4))
def test_the_answers_are_those_of_one_request(rpc: GrpcCaller, whole: Answer, seed: int, sparse: bool) -> None:
    messages = stream_messages(MATRIX, random_ends(seed), sparse=sparse)

    answers = list(rpc.encode_stream(messages))

    assert len(answers) == len(messages)
    assert_same_bits(joined(answers), whole)
    assert [name for answer in answers for name in answer.facts.get("cells", [])] == whole.facts["cells"]
    assert {answer.facts["seed"] for answer in answers} == {whole.facts["seed"]}


def test_streams_and_requests_side_by_side(rpc: GrpcCaller, whole: Answer) -> None:
    start = threading.Barrier(8)

    def stream(seed: int) -> Answer:
        messages = stream_messages(MATRIX, random_ends(100 + seed))
        start.wait(PATIENCE_S)
        return joined(list(rpc.encode_stream(messages)))

    def ask(_: int) -> Answer:
        start.wait(PATIENCE_S)
        return rpc.encode(MATRIX)

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        calls = [threads.submit(call, number) for number in range(4) for call in (stream, ask)]
        for call in calls:
            assert_same_bits(call.result(PATIENCE_S), whole)


def test_names_first_and_one_label_for_all(rpc: GrpcCaller) -> None:
    labels = {"batch": "b1", "categorical": {"donor": "d2", "lane": 3}, "continuous": {"age": np.float64(0.5)}}
    ask = MATRIX.but(**labels)
    later = ask.but(batch=None, categorical={}, continuous={})
    opening = message(ask.but(gene_counts=None, protein_counts=None, cells=None))
    slices = stream_messages(later, [100, 101, 250])
    for field in ("model", "genes", "proteins", "outputs", "n_samples", "seed", "first_cell"):
        slices[0].ClearField(field)

    assert_same_bits(joined(list(rpc.encode_stream([opening, *slices]))), rpc.encode(ask))


def test_an_error_in_the_middle(rpc: GrpcCaller, server: RunningServer, whole: Answer) -> None:
    """What was answered before it is good, and the rest goes on from there in a new stream."""
    messages = stream_messages(MATRIX, [50, 120, 200])
    messages[2].gene_counts.CopyFrom(negative(MATRIX.part(slice(120, 200)), cell=3))
    answers: list[Answer] = []

    with pytest.raises(Refused) as caught:
        for answer in rpc.encode_stream(messages):
            answers.append(answer)

    detail = "message 2: gene_counts has a negative count"
    assert_says(caught.value, Says("invalid", detail, field="gene_counts", index=3))
    assert len(answers) == 2
    assert_idle(server)
    done = sum(answer.facts["n_cells"] for answer in answers)
    rest = MATRIX.part(slice(done, None)).but(options={**MATRIX.options, "first_cell": (1 << 40) + done})
    answers += rpc.encode_stream(stream_messages(rest, [30]))
    assert_same_bits(joined(answers), whole)


def negative(ask: Ask, cell: int) -> pb.Counts:
    counts = ask.gene_counts.copy()
    counts[cell, 2] = -1
    return message(ask.but(gene_counts=counts)).gene_counts


def test_a_stream_is_recorded_as_one_call(rpc: GrpcCaller, server: RunningServer) -> None:
    assert_idle(server)
    before = metrics(server)

    list(rpc.encode_stream(stream_messages(MATRIX, [1, 17, 40])))

    assert_idle(server)
    after = metrics(server)
    requests = ("totalvi_requests_total", synthetic.NAME, "encode_stream", "ok", "grpc", "2")
    cells = ("totalvi_cells_total", synthetic.NAME, "grpc", "2")
    assert after[requests] == before.get(requests, 0.0) + 1
    assert after[cells] == before.get(cells, 0.0) + N_CELLS
    record = [record for record in server.records if record.get("operation") == "encode_stream"][-1]
    assert (record["n_cells"], record["outcome"]) == (N_CELLS, "ok")
    assert set(record["phases_ms"]) == {"decode", "queue", "compute", "encode"}
