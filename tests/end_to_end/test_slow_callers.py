"""Callers that connect and do no more, send or read by drops, or come too many: none of them holds a thing for long.

RELIABILITY 6: slow headers and bodies. RELIABILITY 7: connections.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.clients import GrpcCaller, RestCaller, json_body
from tests.end_to_end.operators import assert_idle, metrics, until
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_right

MOST = 8
FLAGS = ("--header-timeout-s", 1, "--body-timeout-s", 1, "--stall-timeout-s", 1, "--max-connections", MOST)
CELLS = synthetic.cells(4, seed=3)
GET = b"GET /v1/limits HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def server(synthetic_models: Path) -> Iterator[RunningServer]:
    with RunningServer(synthetic_models, *FLAGS, "--drain-delay-s", "0") as running:
        yield running.wait_until_ready()


@pytest.fixture(autouse=True)
def serves_on(server: RunningServer) -> Iterator[None]:
    """Whatever a test did, the next good call is right, and nothing is left behind."""
    yield
    with RestCaller(server.http_port) as rest, GrpcCaller(server.grpc_port) as rpc:
        for caller in (rest, rpc):
            assert_right(caller.encode(CELLS), synthetic.expected(CELLS))
    assert_idle(server)


@contextlib.contextmanager
def connected(port: int, sends: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as connection:
        connection.sendall(sends)
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    """All that still comes, until the server hangs up; it does so within `PATIENCE_S`, or this raises."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            received += piece
    return received


HEAD = f"POST /v1/models/{CELLS.model}/encode HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n".encode()
SLOW = {
    "silent": (b"", [408]),
    "half a request line": (b"GET /v1/li", [408]),
    "headers without end": (HEAD + b"X-A: b\r\n", [408]),
    "a body that does not come": (HEAD + b"Content-Length: 1000\r\n\r\n", [408]),
    "half a body": (HEAD + b"Content-Length: 1000\r\n\r\n" + b'{"gene_counts": [[', [408]),
    "chunks without end": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n{\r\n", [408]),
    "a body nobody asked for": (b"GET /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", [404]),
    "half a second request": (GET + GET[:-2], [200, 408]),
}
"""What is sent, and then no more; the statuses of what is answered before the server hangs up."""


@pytest.mark.parametrize(("sends", "statuses"), SLOW.values(), ids=SLOW)
def test_a_request_that_does_not_end(server: RunningServer, sends: bytes, statuses: list[int]) -> None:
    with connected(server.http_port, sends) as connection:
        received = rest_of(connection)
    assert [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]] == statuses


def test_the_operators_port_does_not_wait_either(server: RunningServer) -> None:
    with connected(server.admin_port, b"GET /livez HTTP/1.1\r\n") as connection:
        assert rest_of(connection).startswith(b"HTTP/1.1 408 ")


def test_a_grpc_connection_that_says_nothing(server: RunningServer) -> None:
    with connected(server.grpc_port) as connection:
        rest_of(connection)


def test_a_caller_that_does_not_read_its_answer(server: RunningServer) -> None:
    many = dataclasses.replace(synthetic.cells(400, seed=4), options={"n_samples": 400})
    body = json.dumps(json_body(many)).encode()
    before = metrics(server)["process_open_fds",]
    with connected(server.http_port) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        head = connection.recv(1 << 12)
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        assert length > 16 << 20, "more than the kernel takes off the server's hands"
        # The server has hung up; what the kernel had is all that comes.
        assert until(lambda: metrics(server)["process_open_fds",] <= before)
        assert len(head + rest_of(connection)) < length


def test_http_connections_over_the_most(server: RunningServer) -> None:
    with contextlib.ExitStack() as open_ones:
        for _ in range(MOST):
            # Idle, but between requests: that is allowed for longer.
            connection = open_ones.enter_context(connected(server.http_port, GET))
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        with connected(server.http_port) as connection:
            assert rest_of(connection).startswith(b"HTTP/1.1 503 ")
    with connected(server.http_port, GET) as connection:
        assert connection.recv(1 << 16)[:13] in (b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")


def test_grpc_connections_over_the_most(server: RunningServer) -> None:
    with contextlib.ExitStack() as open_ones:
        for _ in range(MOST):
            connection = open_ones.enter_context(connected(server.grpc_port))
            assert connection.recv(1), "the server begins HTTP/2"
        with connected(server.grpc_port) as connection:
            assert rest_of(connection) == b""
