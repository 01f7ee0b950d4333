"""RELIABILITY 3: a real process whose device fails. It goes on where it can; else it says so and ends."""

from __future__ import annotations

import concurrent.futures
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.end_to_end import faulty_server, synthetic
from tests.end_to_end.asking import Ask, Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller
from tests.end_to_end.mistake import Says, assert_says
from tests.end_to_end.operators import assert_idle, gauges, until
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_right, assert_same_bits

PROGRAM = (sys.executable, "-m", "tests.end_to_end.faulty_server")
CELLS = synthetic.cells(6, seed=8)
DEAD = Says("unavailable", "the encoder has stopped working; this server will not recover")


def with_fault(fault: int, ask: Ask = CELLS) -> Ask:
    """The cells, of which one brings a fault."""
    counts = np.array(ask.protein_counts)
    counts[len(counts) // 2, 0] = fault
    return ask.but(protein_counts=counts)


@pytest.fixture(scope="module")
def server(synthetic_models: Path) -> Iterator[RunningServer]:
    """One whose device is short of memory now and then."""
    with RunningServer(synthetic_models, program=PROGRAM) as running:
        yield running.wait_until_ready()


@pytest.mark.parametrize("caller_of", [RestCaller, GrpcCaller])
def test_memory_for_half_of_a_batch(server: RunningServer, caller_of: type[RestCaller | GrpcCaller]) -> None:
    """Nobody notices, and each cell has the bits that it has alone."""
    ask = with_fault(faulty_server.LITTLE_MEMORY)
    with caller_of(server.http_port if caller_of is RestCaller else server.grpc_port) as caller:
        answer = caller.encode(ask)
        assert_right(answer, synthetic.expected(ask))
        for cell in range(6):
            alone = caller.encode(ask.part(slice(cell, cell + 1)))
            of_all = {name: values[cell : cell + 1] for name, values in answer.arrays.items()}
            assert_same_bits(alone, type(alone)(of_all, {}, [], {}))
    assert_idle(server)


@pytest.mark.parametrize("caller_of", [RestCaller, GrpcCaller])
def test_memory_for_none_of_it(server: RunningServer, caller_of: type[RestCaller | GrpcCaller]) -> None:
    """Its callers may try again; the next call is answered right."""
    with caller_of(server.http_port if caller_of is RestCaller else server.grpc_port) as caller:
        with pytest.raises(Refused) as caught:
            caller.encode(with_fault(faulty_server.NO_MEMORY))
        assert_says(caught.value, Says("unavailable", "too little memory for these cells at the moment"))
        assert_right(caller.encode(CELLS), synthetic.expected(CELLS))
    assert_idle(server)


@pytest.mark.parametrize("fault", ["lost", "stuck"])
def test_a_device_that_is_gone(synthetic_models: Path, fault: str) -> None:
    """All callers are answered, running and waiting ones, and the process ends with 1 without being asked."""
    flags = ("--stuck-after-s", "1.5", "--max-batch-cells", "6", "--drain-delay-s", "600", "--drain-timeout-s", "600")
    ask = with_fault({"lost": faulty_server.LOST, "stuck": faulty_server.STUCK}[fault])
    with (
        RunningServer(synthetic_models, *flags, program=PROGRAM) as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
        GrpcCaller(server.grpc_port) as rpc,
        concurrent.futures.ThreadPoolExecutor(4) as threads,
    ):
        assert_right(rest.encode(CELLS), synthetic.expected(CELLS))
        first = threads.submit(rest.encode, ask)
        calls = [first]
        if fault == "stuck":
            assert until(lambda: gauges(server)["totalvi_requests_in_flight"] == 1)
            calls += [threads.submit(caller.encode, CELLS) for caller in (rest, rpc)]
        for call in calls:
            refused = call.exception(PATIENCE_S)
            assert isinstance(refused, Refused)
            assert_says(refused, DEAD)
        assert server.wait() == 1

    told = {"lost": "the encoder's worker died (DeviceLost)", "stuck": "a computation has not ended within 1.5 s"}
    assert f"failed: {told[fault]}" in [record["message"] for record in server.records if record["level"] == "error"]
    outcomes = [record["outcome"] for record in server.records if record.get("operation") == "encode"]
    assert outcomes == ["ok"] + ["unavailable"] * len(calls)


def test_sigterm_when_stuck(synthetic_models: Path) -> None:
    """RELIABILITY 4: no watchdog has barked yet; the drain has its time, and then the process ends."""
    flags = ("--drain-delay-s", "0", "--drain-timeout-s", "1")
    with (
        RunningServer(synthetic_models, *flags, program=PROGRAM) as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
        concurrent.futures.ThreadPoolExecutor(1) as threads,
    ):
        call = threads.submit(rest.encode, with_fault(faulty_server.STUCK))
        assert until(lambda: gauges(server)["totalvi_requests_in_flight"] == 1)
        start = time.monotonic()
        assert server.stop() == 1
        assert time.monotonic() - start < 10
        refused = call.exception(PATIENCE_S)
    assert isinstance(refused, Refused)
    assert_says(refused, Says("unavailable", "the server is stopping"))


def test_sigterm_while_warming(synthetic_models: Path) -> None:
    """RELIABILITY 4: what is loaded and not warm yet is not waited for."""
    with RunningServer(
        synthetic_models, "--drain-delay-s", "600", program=PROGRAM, environ={"FAULTY_WARMING": "1"}
    ) as server:
        server.wait_until_listening()
        assert until(lambda: "warming for ever" in server.lines)
        assert server.stop(signal.SIGTERM) == 0
    assert [record for record in server.records if record["level"] not in ("debug", "info")] == []
