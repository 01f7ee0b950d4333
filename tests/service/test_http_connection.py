"""The bounds of a connection in simulated time, on a transport of paper; tests/end_to_end has the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.server import ServerState

from service.http_connection import MAX_HEAD_BYTES, BoundedConnection
from service.settings import ConnectionSettings

HEADER_S, BODY_S, STALL_S, KEEP_ALIVE_S = 10.0, 120.0, 30.0, 75
BOUNDS = ConnectionSettings(
    max_connections=2, header_timeout_s=HEADER_S, body_timeout_s=BODY_S, stall_timeout_s=STALL_S
)
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n"
MIB = 1 << 20


class Timer:
    def __init__(self, at_s: float, callback: Callable[[], object]) -> None:
        self.at_s, self._callback, self.over = at_s, callback, False

    def cancel(self) -> None:
        self.over = True

    def fire(self) -> None:
        self.over = True
        self._callback()


class Time:
    """A loop whose timers go off when the test says that time has passed."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._timers: list[Timer] = []
        self.create_task = asyncio.get_running_loop().create_task

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> Timer:
        self._timers.append(Timer(self.now_s + delay_s, lambda: callback(*args)))
        return self._timers[-1]

    @property
    def pending(self) -> list[float]:
        return sorted(timer.at_s for timer in self._timers if not timer.over)

    def until(self, at_s: float) -> None:
        while due := [timer for timer in self._timers if not timer.over and timer.at_s <= at_s]:
            first = min(due, key=lambda timer: timer.at_s)
            self.now_s = first.at_s
            first.fire()
        self.now_s = at_s


class Paper(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unread = 0
        self.closing = self.aborted = self.paused = False

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class App:
    """Reads the body, then answers once it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.ended = asyncio.Semaphore(0)
        self.reads = True
        self.saw: list[bytes | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", self.reads
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if message["type"] == "http.disconnect":
                self.saw.append(None)
                self.ended.release()
                return
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
        self.saw.append(body)
        self.ended.release()


class Server:
    def __init__(self) -> None:
        self.time = Time()
        self.app = App()
        self.config = uvicorn.Config(
            self.app,
            http="httptools",
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self.config.load()
        self.state = ServerState()

    def connect(self) -> tuple[BoundedConnection, Paper]:
        transport = Paper()
        connection = BoundedConnection(
            BOUNDS, config=self.config, server_state=self.state, app_state={}, _loop=self.time
        )
        connection.connection_made(transport)
        return connection, transport

    async def answered(self, times: int = 1) -> None:
        for _ in range(times):
            await asyncio.wait_for(self.app.ended.acquire(), 10)


@pytest.fixture
async def server() -> Server:
    return Server()


def status(transport: Paper) -> list[int]:
    """The status of each answer that was written."""
    return [int(part[:3]) for part in transport.written.split(b"HTTP/1.1 ")[1:]]


async def test_a_request_in_one_piece_sets_no_timer_of_its_own(server):
    connection, transport = server.connect()
    assert server.time.pending == [HEADER_S]
    connection.data_received(GET)
    assert server.time.pending == []
    await server.answered()
    assert server.time.pending == [KEEP_ALIVE_S]
    server.time.until(5)
    connection.data_received(POST + b"0123456789")
    assert server.time.pending == []
    await server.answered()
    assert status(transport) == [200, 200]
    assert server.app.saw == [b"", b"0123456789"]
    server.time.until(5 + KEEP_ALIVE_S)
    assert (transport.closing, transport.aborted, status(transport)) == (True, False, [200, 200])


async def test_a_connection_that_says_nothing_is_closed(server):
    connection, transport = server.connect()
    server.time.until(HEADER_S - 0.1)
    assert not transport.closing
    server.time.until(HEADER_S)
    assert (transport.closing, transport.aborted, status(transport)) == (True, False, [408])
    assert transport.written.endswith(b"\r\n\r\nthe headers did not come in time")
    connection.connection_lost(None)
    assert server.time.pending == []


async def test_headers_byte_by_byte_get_no_more_time(server):
    connection, transport = server.connect()
    for number, byte in enumerate(GET[:-1]):
        server.time.until(number * HEADER_S / len(GET))
        connection.data_received(bytes([byte]))
    server.time.until(HEADER_S)
    assert status(transport) == [408]
    assert server.app.saw == []


async def test_later_requests_have_the_same_time_from_their_first_byte(server):
    connection, transport = server.connect()
    connection.data_received(GET)
    await server.answered()
    server.time.until(50)
    connection.data_received(b"\r\n")
    server.time.until(55)
    connection.data_received(b"G")
    server.time.until(59.9)
    assert not transport.closing
    server.time.until(60)
    assert status(transport) == [200, 408]


async def test_endless_headers_are_refused_by_their_size(server):
    connection, transport = server.connect()
    connection.data_received(b"GET / HTTP/1.1\r\n")
    n = 0
    while not transport.closing:
        connection.data_received(b"x-%d: %s\r\n" % (n, b"y" * 1000))
        n += 1
    assert status(transport) == [431]
    assert MAX_HEAD_BYTES / 1100 < n < MAX_HEAD_BYTES / 900


async def test_a_request_line_without_end_is_refused(server):
    connection, transport = server.connect()
    connection.data_received(b"GET /")
    while not transport.closing:
        connection.data_received(b"y" * 1000)
    assert status(transport) == [431]
    assert len(connection.url) < MAX_HEAD_BYTES + 1000


async def test_a_body_has_its_time_from_its_headers_on(server):
    connection, transport = server.connect()
    server.time.until(9)
    connection.data_received(POST)
    for second in range(10, 129):
        server.time.until(second)
        if second < 19:
            connection.data_received(b"x")
    assert not transport.closing
    server.time.until(9 + BODY_S)
    assert status(transport) == [408]
    assert transport.written.endswith(b"\r\n\r\nthe body did not come in time")
    connection.connection_lost(None)
    await server.answered()
    assert server.app.saw == [None]
    assert server.time.pending == []


async def test_a_body_in_pieces_that_comes_in_time(server):
    connection, transport = server.connect()
    connection.data_received(POST)
    assert server.time.pending == [BODY_S]
    server.time.until(BODY_S - 1)
    connection.data_received(b"0123456789")
    assert server.time.pending == []
    await server.answered()
    assert (status(transport), server.app.saw) == ([200], [b"0123456789"])


async def test_a_body_that_is_not_wanted_any_more_has_its_time_too(server):
    server.app.reads = False
    connection, transport = server.connect()
    connection.data_received(POST)
    await server.answered()
    connection.data_received(b"x")
    server.time.until(BODY_S)
    assert (transport.closing, status(transport)) == (True, [200])


async def test_a_body_that_ends_after_its_answer_does_not_keep_the_connection(server):
    server.app.reads = False
    connection, transport = server.connect()
    connection.data_received(POST)
    await server.answered()
    server.time.until(20)
    connection.data_received(b"0123456789")
    assert server.time.pending == [20 + HEADER_S]
    connection.data_received(GET)
    await server.answered()
    assert status(transport) == [200, 200]
    assert server.time.pending == [20 + KEEP_ALIVE_S]


async def test_a_request_to_upgrade_is_one_like_others(server):
    connection, transport = server.connect()
    connection.data_received(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    await server.answered()
    assert status(transport) == [200]
    assert server.time.pending == [KEEP_ALIVE_S]


async def test_a_slow_next_request_does_not_cut_the_answer_before_it(server):
    server.app.may_answer.clear()
    connection, transport = server.connect()
    connection.data_received(GET + GET[:5])
    server.time.until(5 * HEADER_S)
    assert not transport.closing
    server.app.may_answer.set()
    await server.answered()
    server.time.until(6 * HEADER_S)
    assert status(transport) == [200, 408]


async def test_a_body_that_we_do_not_read_is_not_late(server):
    server.app.may_answer.clear()
    connection, transport = server.connect()
    connection.data_received(GET + POST)
    assert transport.paused
    server.time.until(3 * BODY_S)
    assert not transport.closing
    server.app.may_answer.set()
    await server.answered()
    connection.data_received(b"0123456789")
    await server.answered()
    assert status(transport) == [200, 200]


async def test_connections_over_the_most_are_told(server):
    kept = [server.connect() for _ in range(2)]
    connection, transport = server.connect()
    assert (transport.closing, status(transport)) == (True, [503])
    connection.connection_lost(None)
    assert not any(transport.closing for _, transport in kept)
    kept[0][0].connection_lost(None)
    assert not server.connect()[1].closing


async def test_a_caller_that_does_not_read_is_cut_off(server):
    connection, transport = server.connect()
    connection.data_received(GET)
    await server.answered()
    transport.unread = 10 * MIB
    connection.pause_writing()
    server.time.until(STALL_S - 1)
    transport.unread = 9 * MIB
    server.time.until(2 * STALL_S - 1)
    assert not transport.closing
    transport.unread -= 100
    server.time.until(2 * STALL_S)
    assert transport.aborted


async def test_a_caller_that_reads_all_is_watched_no_more(server):
    connection, transport = server.connect()
    transport.unread = 3
    connection.data_received(GET)
    await server.answered()
    connection.pause_writing()
    assert server.time.pending == [STALL_S, KEEP_ALIVE_S]
    transport.unread = 0
    server.time.until(STALL_S)
    assert server.time.pending == [KEEP_ALIVE_S]
    assert not transport.closing


async def test_a_slow_reader_of_an_answer_in_pieces_is_not_cut_off(server):
    server.app.may_answer.clear()  # or it would be idle, too
    connection, transport = server.connect()
    connection.data_received(GET)
    for piece in range(5):
        transport.unread = HIGH_WATER_LIMIT + 1
        connection.pause_writing()
        server.time.until((piece + 1) * (STALL_S - 1))
        transport.unread = 100
        connection.resume_writing()
    assert not transport.closing
    server.time.until(server.time.now_s + STALL_S)
    assert transport.aborted, "it has not taken the rest"
    connection.connection_lost(None)
    server.app.may_answer.set()
    await server.answered()


async def test_an_idle_caller_with_an_unread_answer_is_cut_off(server):
    connection, transport = server.connect()
    connection.data_received(GET)
    await server.answered()
    transport.unread = 1
    server.time.until(KEEP_ALIVE_S)
    assert transport.aborted


async def test_a_refused_caller_that_does_not_read_is_cut_off(server):
    _, transport = server.connect()
    server.time.until(HEADER_S)
    assert not transport.aborted
    server.time.until(2 * HEADER_S)
    assert transport.aborted


async def test_nonsense_is_answered_once(server):
    connection, transport = server.connect()
    connection.data_received(b"\x16\x03\x01 hello\r\n\r\n")
    server.time.until(2 * HEADER_S)
    assert (status(transport), transport.aborted) == ([400], True)
