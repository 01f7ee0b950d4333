"""Bodies that arrive at once: what is in memory is bounded, and who finds no room is told at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller
from tests.end_to_end.mistake import Says, assert_says
from tests.end_to_end.operators import assert_idle, metrics, until
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_right

MIB = 1 << 20
ALL, EACH = 24 * MIB, 8 * MIB
SENT = 6 * MIB - 10_000
"""Of one body that never ends: four of them leave room for a small call."""

CELLS = synthetic.cells(6, seed=8)
FULL = Says("overloaded", "the bodies of other requests fill the memory")


@pytest.fixture(scope="module")
def server(synthetic_models: Path) -> Iterator[RunningServer]:
    with RunningServer(
        synthetic_models, "--max-inflight-bytes", ALL, "--max-request-bytes", EACH, "--drain-delay-s", "0"
    ) as running:
        yield running.wait_until_ready()


class Sender:
    """A connection over which a body comes that never ends."""

    def __init__(self, port: int, *, declared: bool) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        length = f"Content-Length: {SENT + 1}" if declared else "Transfer-Encoding: chunked"
        self._declared = declared
        head = f"POST /v1/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        self._socket.sendall(head.encode())

    def send(self) -> None:
        """Send all but the last byte, unless the server answers first."""
        piece = b"x" * 60_000 if self._declared else b"EA60\r\n" + b"x" * 60_000 + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(SENT // 60_000):
                self._socket.sendall(piece)

    def status(self) -> int:
        """Of the answer."""
        with contextlib.suppress(ConnectionError):
            return int(self._socket.recv(100).split()[1])
        return 0

    def close(self) -> None:
        self._socket.close()


def held(server: RunningServer) -> float:
    return metrics(server)["totalvi_body_bytes",]


def test_bodies_that_come_at_once(server: RunningServer) -> None:
    before = metrics(server)["process_resident_memory_bytes",]
    with RestCaller(server.http_port) as rest, GrpcCaller(server.grpc_port) as rpc:
        senders = [Sender(server.http_port, declared=declared) for declared in (True, True, False, False)]
        for sender in senders:
            sender.send()
        in_memory = 4 * (SENT // 60_000) * 60_000
        assert until(lambda: held(server) == in_memory)

        late = [Sender(server.http_port, declared=True) for _ in range(20)]
        assert [sender.status() for sender in late] == [429] * 20, "told by what they announce"
        # gRPC tells no length: no message is read while the largest might not fit.
        with pytest.raises(Refused) as caught:
            rpc.encode(CELLS)
        assert_says(caught.value, FULL)
        # A small body has room.
        assert_right(rest.encode(CELLS), synthetic.expected(CELLS))
        assert held(server) == in_memory
        assert metrics(server)["process_resident_memory_bytes",] - before < 2 * ALL

        for sender in (*senders, *late):
            sender.close()
        assert until(lambda: held(server) == 0)
        assert_right(rpc.encode(CELLS), synthetic.expected(CELLS))
    assert_idle(server)


def test_bodies_of_unknown_length_that_grow_at_once(server: RunningServer) -> None:
    """As they grow together, some must go so that the others can; never is more in memory than may be."""
    before = metrics(server)["process_resident_memory_bytes",]
    senders = [Sender(server.http_port, declared=False) for _ in range(32)]
    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        sending = [threads.submit(sender.send) for sender in senders]
        while not all(task.done() for task in sending):
            found = metrics(server)
            assert found["totalvi_body_bytes",] <= ALL
            assert found["process_resident_memory_bytes",] - before < 3 * ALL
        for task in sending:
            task.result()
    assert 0 < held(server) <= ALL
    for sender in senders:
        sender.close()
    assert until(lambda: held(server) == 0)
    assert_idle(server)


def test_messages_that_come_at_once(server: RunningServer) -> None:
    """Each of them is allowed, all of them are not; whoever is refused may come again."""
    stream = synthetic.cells(1).but(genes=[f"no-gene-{number:060d}" for number in range(100_000)])
    calls = 12
    with GrpcCaller(server.grpc_port) as rpc, concurrent.futures.ThreadPoolExecutor(calls) as threads:
        ended = [threads.submit(rpc.encode, stream).exception for _ in range(calls)]
        errors = [error(PATIENCE_S) for error in ended]
        assert_right(rpc.encode(CELLS), synthetic.expected(CELLS))
    for error in errors:
        assert isinstance(error, Refused)
        assert error.status in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
        assert error.code in ("overloaded", "invalid")
    assert_idle(server)
