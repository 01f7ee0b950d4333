"""A queue that is held full: refusals at once, deadlines, callers that leave, and the others' answers unharmed.

The encoder waits ten seconds for company, or until what waits fills a batch: nothing is computed until a test sends the
one cell that does.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from service.protobuf.stubs import open_inference_pb2 as inference_pb
from service.protobuf.stubs.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Ask, Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller, json_body, message, rest_path, stream_messages
from tests.end_to_end.mistake import Says, assert_says
from tests.end_to_end.operators import assert_idle, batches, gauges, metrics, until
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_right

N_GENES = len(synthetic.RECIPE.genes)

N_CALLERS = 24

HELD = ("--max-queue-cells", 8, "--max-request-cells", 8, "--max-delay-ms", 10_000, "--max-batch-entries", N_GENES)


def waiting(n_cells: int) -> Ask:
    """Cells of one entry each: they wait, as they do not fill a batch."""
    ask = synthetic.cells(n_cells, seed=n_cells)
    counts = np.zeros_like(ask.gene_counts)
    counts[np.arange(n_cells), np.arange(n_cells) + 3] = 5
    return ask.but(gene_counts=counts)


FILLING = synthetic.cells(1).but(gene_counts=np.arange(1, N_GENES + 1)[None])
"""One cell that fills a batch, so that all that waits is computed."""


@pytest.fixture(scope="module")
def held(synthetic_models: Path) -> Iterator[RunningServer]:
    with RunningServer(synthetic_models, *HELD) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="module")
def callers(held: RunningServer) -> Iterator[dict[str, Any]]:
    with RestCaller(held.http_port) as rest, GrpcCaller(held.grpc_port) as rpc:
        yield {"rest": rest, "grpc": rpc}


@pytest.fixture(autouse=True)
def _unharmed(held: RunningServer, callers: dict[str, Any]) -> Iterator[None]:
    """After each test nothing is under way, and both transports answer right."""
    yield
    assert_idle(held)
    for caller in callers.values():
        assert_right(caller.encode(FILLING), synthetic.expected(FILLING))
    assert [record for record in held.records if record["level"] not in ("debug", "info")] == []


def wait_for_queue(held: RunningServer, n_cells: int) -> None:
    assert until(lambda: gauges(held)["totalvi_queue_cells"] == n_cells)


def outcomes(held: RunningServer, outcome: str, transport: str) -> float:
    return metrics(held).get(("totalvi_requests_total", synthetic.NAME, "encode", outcome, transport, "1"), 0.0)


def test_a_storm(callers: dict[str, Any]) -> None:
    """Of many calls of 3 cells at once a queue of 8 takes two; the others know at once when to come again."""
    ask, start = waiting(3), threading.Barrier(N_CALLERS)

    def call(encode: Callable[[Ask], Answer]) -> Answer:
        start.wait(PATIENCE_S)
        return encode(ask)

    ways = list(itertools.islice(itertools.cycle(caller.encode for caller in callers.values()), N_CALLERS))
    with concurrent.futures.ThreadPoolExecutor(N_CALLERS) as threads:
        calls = [threads.submit(call, way) for way in ways]
        first_done = concurrent.futures.as_completed(calls, timeout=PATIENCE_S)
        refusals = [done.exception() for done in itertools.islice(first_done, N_CALLERS - 2)]
        accepted = [call for call in calls if not call.done()]
        filled = callers["rest"].encode(FILLING)
        answers = [call.result(PATIENCE_S) for call in accepted]

    assert len(refusals) == N_CALLERS - 2
    for refused in refusals:
        assert isinstance(refused, Refused), refused
        assert_says(refused, Says("overloaded", "the queue is full (6 cells wait)"))
    assert {isinstance(refused.status, int) for refused in refusals} == {True, False}
    assert len(answers) == 2
    for answer in answers:
        assert_right(answer, synthetic.expected(ask))
    assert_right(filled, synthetic.expected(FILLING))


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_request_that_just_fits_and_one_cell_more(
    held: RunningServer, callers: dict[str, Any], transport: str
) -> None:
    caller = callers[transport]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        calls = [(ask, threads.submit(caller.encode, ask)) for ask in (waiting(5), waiting(2))]
        wait_for_queue(held, 7)
        with pytest.raises(Refused) as caught:
            caller.encode(waiting(2))
        caller.encode(FILLING)
        for ask, call in calls:
            assert_right(call.result(PATIENCE_S), synthetic.expected(ask))

    assert_says(caught.value, Says("overloaded", "the queue is full (7 cells wait)"))


def test_a_deadline_in_the_queue(held: RunningServer, callers: dict[str, Any]) -> None:
    """Its cells are given up, and never computed."""
    before = batches(held)

    with pytest.raises(Refused) as caught:
        callers["rest"].encode(waiting(2), {"X-Request-Timeout-Ms": "200.5"})
    assert_says(caught.value, Says("deadline", "the deadline passed before the answer was ready"))
    with pytest.raises(Refused) as caught:
        callers["grpc"].encode(waiting(2), timeout_s=0.2)
    assert_says(caught.value, Says("deadline", "", by="either"))

    assert_idle(held)
    assert batches(held) == before
    assert outcomes(held, "deadline", "rest") == 1


def test_a_rest_caller_that_hangs_up(held: RunningServer, callers: dict[str, Any]) -> None:
    stays, leaves, left_before = waiting(3), waiting(2), outcomes(held, "cancelled", "rest")
    body = json.dumps(json_body(leaves)).encode()
    head = (
        f"POST {rest_path(leaves)} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        call = threads.submit(callers["rest"].encode, stays)
        wait_for_queue(held, 3)
        with socket.create_connection(("127.0.0.1", held.http_port), timeout=PATIENCE_S) as connection:
            connection.sendall(f"{head}\r\n\r\n".encode() + body)
            wait_for_queue(held, 5)
        wait_for_queue(held, 3)
        callers["rest"].encode(FILLING)
        assert_right(call.result(PATIENCE_S), synthetic.expected(stays))

    assert until(lambda: outcomes(held, "cancelled", "rest") == left_before + 1)


def infer_body(ask: Ask, **parameters: int) -> dict[str, Any]:
    """An ask in the Open Inference Protocol's JSON."""
    tensors = {
        "gene_counts": ("INT64", ask.gene_counts),
        "protein_counts": ("INT64", ask.protein_counts),
        "batch": ("BYTES", np.array(ask.batch)),
        **{f"covariate.{key}": ("BYTES", np.array(list(map(str, some)))) for key, some in ask.categorical.items()},
        "covariate.age": ("FP32", ask.continuous["age"]),
    }
    inputs = [
        {"name": name, "datatype": datatype, "shape": list(values.shape), "data": values.ravel().tolist()}
        for name, (datatype, values) in tensors.items()
    ]
    return {"inputs": inputs, "parameters": parameters}


def infer_message(ask: Ask, **parameters: int) -> inference_pb.ModelInferRequest:
    """The same for gRPC."""
    body = infer_body(ask, **parameters)
    contents = {"INT64": "int64_contents", "FP32": "fp32_contents", "BYTES": "bytes_contents"}
    request = inference_pb.ModelInferRequest(model_name=synthetic.NAME)
    for tensor in body["inputs"]:
        found = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        data = [text.encode() for text in tensor["data"]] if tensor["datatype"] == "BYTES" else tensor["data"]
        getattr(found.contents, contents[tensor["datatype"]]).extend(data)
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request


INFER_PATH = f"/v2/models/{synthetic.NAME}/infer"


def ended(held: RunningServer, outcome: str, transport: str) -> float:
    return metrics(held).get(("totalvi_requests_total", synthetic.NAME, "infer", outcome, transport, "1"), 0.0)


def test_an_inference_timeout_in_the_queue(held: RunningServer, callers: dict[str, Any]) -> None:
    """The Open Inference Protocol's own parameter, in microseconds: the cells are given up, and never computed."""
    before = batches(held)
    asked = infer_body(waiting(2), timeout=200_000)
    answer = httpx.post(f"http://127.0.0.1:{held.http_port}{INFER_PATH}", json=asked, timeout=PATIENCE_S)
    assert (answer.status_code, answer.json()) == (504, {"error": "the deadline passed before the answer was ready"})
    stub = GRPCInferenceServiceStub(callers["grpc"].channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(infer_message(waiting(2), timeout=200_000), timeout=PATIENCE_S)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    assert_idle(held)
    assert batches(held) == before
    assert [ended(held, "deadline", transport) for transport in ("rest", "grpc")] == [1, 1]


def test_inference_callers_that_leave(held: RunningServer, callers: dict[str, Any]) -> None:
    stays, leaves = waiting(3), waiting(2)
    body = json.dumps(infer_body(leaves)).encode()
    head = f"POST {INFER_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        call = threads.submit(callers["rest"].encode, stays)
        wait_for_queue(held, 3)
        with socket.create_connection(("127.0.0.1", held.http_port), timeout=PATIENCE_S) as connection:
            connection.sendall(head.encode() + body)
            wait_for_queue(held, 5)
        wait_for_queue(held, 3)
        stub = GRPCInferenceServiceStub(callers["grpc"].channel)
        leaving = stub.ModelInfer.future(infer_message(leaves), timeout=PATIENCE_S)
        wait_for_queue(held, 5)
        leaving.cancel()
        wait_for_queue(held, 3)
        callers["rest"].encode(FILLING)
        assert_right(call.result(PATIENCE_S), synthetic.expected(stays))

    for transport in ("rest", "grpc"):
        assert until(lambda transport=transport: ended(held, "cancelled", transport) == 1)  # type: ignore[misc]


def test_bulk_does_not_shut_interactive_calls_out(held: RunningServer, callers: dict[str, Any]) -> None:
    """Each priority has a queue of 8 cells for itself, and the interactive one is computed first."""
    bulk, urgent = waiting(7), waiting(6)
    in_bulk = {"X-Request-Priority": "bulk"}
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        bulk_call = threads.submit(callers["rest"].encode, bulk, in_bulk)
        wait_for_queue(held, 7)
        urgent_call = threads.submit(callers["grpc"].encode, urgent)
        wait_for_queue(held, 13)
        for encode, full in (
            (lambda: callers["rest"].encode(waiting(2), in_bulk), 7),
            (lambda: callers["grpc"].encode(waiting(3)), 6),
        ):
            with pytest.raises(Refused) as caught:
                encode()
            assert_says(caught.value, Says("overloaded", f"the queue is full ({full} cells wait)"))
        callers["rest"].encode(FILLING)
        assert_right(urgent_call.result(PATIENCE_S), synthetic.expected(urgent))
        wait_for_queue(held, 7)
        callers["rest"].encode(FILLING, in_bulk)
        assert_right(bulk_call.result(PATIENCE_S), synthetic.expected(bulk))


def test_a_stream_waits_where_a_request_is_refused(held: RunningServer, callers: dict[str, Any]) -> None:
    """Its slices go in as the queue lets them, and each is answered."""
    stays, matrix, in_bulk = waiting(7), waiting(6), {"X-Request-Priority": "bulk"}
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        call = threads.submit(callers["rest"].encode, stays, in_bulk)
        wait_for_queue(held, 7)
        stream = threads.submit(lambda: list(callers["grpc"].encode_stream(stream_messages(matrix, [2, 4]))))
        assert until(lambda: gauges(held)["totalvi_requests_in_flight"] == 2)
        with pytest.raises(Refused) as caught:
            callers["rest"].encode(waiting(2), in_bulk)
        callers["rest"].encode(FILLING, in_bulk)
        assert_right(call.result(PATIENCE_S), synthetic.expected(stays))
        wait_for_queue(held, 6)
        callers["rest"].encode(FILLING, in_bulk)
        answers = stream.result(PATIENCE_S)

    assert_says(caught.value, Says("overloaded", "the queue is full (7 cells wait)"))
    assert [answer.facts["n_cells"] for answer in answers] == [2, 2, 2]
    for number, answer in enumerate(answers):
        assert_right(answer, synthetic.expected(matrix.part(slice(2 * number, 2 * number + 2))))


def test_a_stream_whose_caller_cancels(held: RunningServer, callers: dict[str, Any]) -> None:
    left_before = streams_left(held)
    stream = callers["grpc"].stub.EncodeStream(iter(stream_messages(waiting(6), [2, 4])), timeout=PATIENCE_S)
    wait_for_queue(held, 6)

    stream.cancel()

    wait_for_queue(held, 0)
    assert until(lambda: streams_left(held) == left_before + 1)


def streams_left(held: RunningServer) -> float:
    return metrics(held).get(("totalvi_requests_total", synthetic.NAME, "encode_stream", "cancelled", "grpc", "1"), 0.0)


def test_a_grpc_caller_that_cancels(held: RunningServer, callers: dict[str, Any]) -> None:
    stays, leaves, left_before = waiting(3), waiting(2), outcomes(held, "cancelled", "grpc")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        call = threads.submit(callers["grpc"].encode, stays)
        wait_for_queue(held, 3)
        leaving = callers["grpc"].stub.Encode.future(message(leaves), timeout=PATIENCE_S)
        wait_for_queue(held, 5)
        leaving.cancel()
        wait_for_queue(held, 3)
        callers["grpc"].encode(FILLING)
        assert_right(call.result(PATIENCE_S), synthetic.expected(stays))

    assert until(lambda: outcomes(held, "cancelled", "grpc") == left_before + 1)
