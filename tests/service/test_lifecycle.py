from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import uvicorn

from service import doors
from service.core.health import Health, ServingState
from service.lifecycle import ECHO_S, StopRequests, serve
from service.rest.draining import CloseWhileDraining
from service.settings import DrainSettings, ListenSettings

DELAY_S, TIMEOUT_S = 5.0, 30.0
PATIENCE_S = 10.0
"""Only ever waited in full by a test that fails."""


class FakeService:
    """The real servers around nothing: a call is held where its path or method says so."""

    def __init__(self) -> None:
        self.health = Health()
        self.certificates = None
        self.did: list[str] = []
        self.n_calls = 0
        self.may_load, self.may_finish = threading.Event(), threading.Event()
        self.finishing = asyncio.Event()
        self.arrived = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()
        self.load_error: BaseException | None = None
        self.finishes = True
        self.loop = asyncio.get_running_loop()
        self.http_app = CloseWhileDraining(self._http_call, self.health)
        self.grpc_server = grpc.aio.server()
        methods = {
            "Call": grpc.unary_unary_rpc_method_handler(self._rpc),
            "Held": grpc.unary_unary_rpc_method_handler(self._held_rpc),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
        }
        self.grpc_server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("fake", methods),))

    def load(self) -> None:
        self.may_load.wait()
        if self.load_error is not None:
            raise self.load_error
        self.did.append("load")

    def finish(self, timeout_s: float) -> bool:
        self.did.append("finish")
        self.loop.call_soon_threadsafe(self.finishing.set)
        self.may_finish.wait()
        return self.finishes

    def abandon(self) -> None:
        self.did.append("abandon")

    def close_traces(self, timeout_s: float) -> None:
        self.closed_traces_after = list(self.did)

    async def _http_call(self, scope, receive, send) -> None:
        await self._hold(scope["path"] == "/held")
        await self._answer(send, 200)

    async def operator_app(self, scope, receive, send) -> None:
        health = self.health
        truth = {"/livez": health.live, "/readyz": health.ready, "/startupz": health.started}
        await self._answer(send, 200 if truth[scope["path"]] else 503)

    async def _answer(self, send, status: int) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    async def _rpc(self, request: bytes, context: object) -> bytes:
        await self._hold(False)
        return request

    async def _held_rpc(self, request: bytes, context: object) -> bytes:
        await self._hold(True)
        return request

    async def _watch(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        yield request
        await asyncio.Event().wait()

    async def _hold(self, held: bool) -> None:
        self.n_calls += 1
        self.arrived.release()
        try:
            if held:
                await self.may_answer.wait()
        finally:
            self.n_calls -= 1


class Pauses:
    """A sleep that lasts until it is told to end; each length is its own."""

    def __init__(self) -> None:
        self.began = {seconds: asyncio.Event() for seconds in (DELAY_S, TIMEOUT_S)}
        self.over = {seconds: asyncio.Event() for seconds in (DELAY_S, TIMEOUT_S)}

    async def __call__(self, seconds: float) -> None:
        self.began[seconds].set()
        await self.over[seconds].wait()


class Lines(logging.Handler):
    """The log, with a wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.more = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.loop.call_soon_threadsafe(self.more.set)

    async def first(self, start: str) -> logging.LogRecord:
        while True:
            for record in self.records:
                if record.getMessage().startswith(start):
                    return record
            self.more.clear()
            await self.more.wait()

    def errors(self) -> list[str]:
        return [record.getMessage() for record in self.records if record.levelno >= logging.ERROR]


class Process:
    """A `serve` under way, and its callers."""

    def __init__(self, service: FakeService, lines: Lines) -> None:
        self.service = service
        self.lines = lines
        self.now = 0.0
        self.stop = StopRequests(clock=lambda: self.now)
        self.pauses = Pauses()
        self.task: asyncio.Task[int] | None = None
        self.http = httpx.AsyncClient()

    def start(self, **ports: int) -> Process:
        listen = ListenSettings(**{"http_port": 0, "grpc_port": 0, "admin_port": 0, **ports})
        drain = DrainSettings(drain_delay_s=DELAY_S, drain_timeout_s=TIMEOUT_S)
        self.task = asyncio.create_task(serve(self.service, listen, drain, stop=self.stop, sleep=self.pauses))
        return self

    async def listening(self) -> Process:
        line = await self.lines.first("listening")
        self.http_port, self.grpc_port, self.admin_port = map(int, re.findall(r":(\d+)", line.getMessage()))
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{self.grpc_port}")
        return self

    async def ready(self) -> Process:
        self.service.may_load.set()
        await self.lines.first("ready: http")
        return self

    async def get(self, path: str) -> httpx.Response:
        return await self.http.get(f"http://127.0.0.1:{self.http_port}{path}", timeout=PATIENCE_S)

    async def probe(self, name: str) -> int:
        return (await self.http.get(f"http://127.0.0.1:{self.admin_port}/{name}")).status_code

    async def rpc(self, method: str) -> bytes:
        return await self.channel.unary_unary(f"/fake/{method}")(b"hello")

    async def held_calls(self) -> list[asyncio.Task]:
        calls = [asyncio.create_task(self.get("/held")), asyncio.create_task(self.rpc("Held"))]
        for _ in calls:
            await self.service.arrived.acquire()
        return calls

    async def ended(self) -> int:
        assert self.task is not None
        return await asyncio.wait_for(self.task, PATIENCE_S)

    async def close(self) -> None:
        for gate in (self.service.may_load, self.service.may_finish, self.service.may_answer):
            gate.set()
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})
        await self.http.aclose()
        if hasattr(self, "channel"):
            await self.channel.close()
        await self.service.grpc_server.stop(None)


@pytest.fixture
async def process() -> AsyncIterator[Process]:
    lines, root = Lines(), logging.getLogger("service")
    root.addHandler(lines)
    root.setLevel(logging.INFO)
    process = Process(FakeService(), lines)
    try:
        yield process
    finally:
        await process.close()
        root.removeHandler(lines)
        root.setLevel(logging.NOTSET)


async def test_probes_answer_while_models_load(process):
    await process.start().listening()
    assert [await process.probe(name) for name in ("startupz", "readyz", "livez")] == [503, 503, 200]
    await process.ready()
    assert [await process.probe(name) for name in ("startupz", "readyz", "livez")] == [200, 200, 200]
    line = await process.lines.first("ready: http")
    assert line.getMessage() == (
        f"ready: http://127.0.0.1:{process.http_port}, grpc://127.0.0.1:{process.grpc_port}, "
        f"operators http://127.0.0.1:{process.admin_port}"
    )
    assert (line.http_port, line.grpc_port, line.admin_port) == (
        process.http_port,
        process.grpc_port,
        process.admin_port,
    )
    assert (await process.get("/")).status_code == 200
    assert await process.rpc("Call") == b"hello"


async def test_the_order_of_a_drain(process):
    await (await process.start().listening()).ready()
    calls = await process.held_calls()

    process.stop.receive(signal.SIGTERM)
    async with asyncio.timeout(0.1):
        await process.pauses.began[DELAY_S].wait()
        assert process.service.health.state is ServingState.DRAINING
    # Served on, on connections that are not kept.
    assert [await process.probe(name) for name in ("readyz", "livez")] == [503, 200]
    answer = await process.get("/")
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert await process.rpc("Call") == b"hello"

    # Nothing new, but what was taken in is still under way.
    process.pauses.over[DELAY_S].set()
    await process.pauses.began[TIMEOUT_S].wait()
    with pytest.raises(httpx.TransportError):
        while True:
            await process.get("/")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        while True:
            await process.rpc("Call")
    # gRPC cancels a call that crosses its GOAWAY, and does not take one that comes later.
    assert refused.value.code() in {grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE}
    assert not any(call.done() for call in calls)
    assert process.service.did == ["load"]

    # The worker ends after the last answer, and the operators' port closes after the worker.
    process.service.may_answer.set()
    response, reply = await asyncio.gather(*calls)
    assert (response.status_code, reply) == (200, b"hello")
    await process.service.finishing.wait()
    assert await process.probe("livez") == 200
    assert not process.task.done()
    process.service.may_finish.set()
    assert await process.ended() == 0
    assert process.service.did == process.service.closed_traces_after == ["load", "finish"]
    with pytest.raises(httpx.ConnectError):
        await process.probe("livez")


async def test_a_connection_is_kept_while_serving(process):
    await (await process.start().listening()).ready()
    assert "connection" not in (await process.get("/")).headers


async def test_a_stream_that_never_ends_does_not_hold_up_the_exit(process, monkeypatch):
    monkeypatch.setattr(doors, "LINGER_S", 0.05)
    await (await process.start().listening()).ready()
    watch = process.channel.unary_stream("/fake/Watch")(b"hello")
    assert await watch.read() == b"hello"
    process.pauses.over[DELAY_S].set()
    process.service.may_finish.set()
    process.stop.receive(signal.SIGTERM)
    assert await process.ended() == 0


async def test_a_drain_that_takes_too_long_ends_anyway(process, monkeypatch):
    monkeypatch.setattr("service.lifecycle.LAST_WORDS_S", 0.05)
    await (await process.start().listening()).ready()
    held, _ = await process.held_calls()
    process.pauses.over[DELAY_S].set()
    process.pauses.over[TIMEOUT_S].set()
    process.stop.receive(signal.SIGTERM)
    assert await process.ended() == 1
    assert process.service.did == process.service.closed_traces_after == ["load", "abandon"]
    assert "--drain-timeout-s" in process.lines.errors()[0]
    with pytest.raises(httpx.TransportError):
        await held


async def test_calls_that_are_abandoned_may_still_be_answered(process):
    await (await process.start().listening()).ready()
    calls = await process.held_calls()
    process.service.abandon = process.service.may_answer.set
    process.service.may_finish.set()
    process.pauses.over[DELAY_S].set()
    process.pauses.over[TIMEOUT_S].set()
    process.stop.receive(signal.SIGTERM)
    response, reply = await asyncio.gather(*calls)
    assert (response.status_code, reply) == (200, b"hello")
    assert await process.ended() == 1


async def test_a_drain_does_not_wait_for_work_that_nobody_waits_for(process):
    """A caller that left may leave a thread of the loop's own at work; the queue is finished beside it."""
    await (await process.start().listening()).ready()
    busy = threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(pool)
    orphan = pool.submit(busy.wait, PATIENCE_S)
    process.service.may_finish.set()
    process.stop.receive(signal.SIGTERM)
    process.pauses.over[DELAY_S].set()
    try:
        assert await process.ended() == 0
        assert not orphan.done()
    finally:
        busy.set()


async def test_a_worker_that_does_not_end_is_a_fault(process):
    await (await process.start().listening()).ready()
    process.service.finishes = False
    process.service.may_finish.set()
    process.pauses.over[DELAY_S].set()
    process.stop.receive(signal.SIGTERM)
    assert await process.ended() == 1


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once(process, second, code):
    await (await process.start().listening()).ready()
    await process.held_calls()
    process.stop.receive(signal.SIGTERM)
    await process.pauses.began[DELAY_S].wait()
    process.now += 2 * ECHO_S
    process.stop.receive(second)
    assert await process.ended() == code
    assert process.service.did == ["load"]


async def test_a_signal_that_comes_twice_is_one(process):
    await (await process.start().listening()).ready()
    process.pauses.over[DELAY_S].set()
    process.service.may_finish.set()
    process.stop.receive(signal.SIGTERM)
    process.now += ECHO_S / 2
    process.stop.receive(signal.SIGTERM)
    assert await process.ended() == 0


async def test_a_signal_while_loading_ends_it_without_delay(process):
    await process.start().listening()
    process.stop.receive(signal.SIGTERM)
    assert await process.ended() == 0
    assert not process.pauses.began[DELAY_S].is_set()
    assert process.service.did == []
    # The load that ends now changes nothing.
    process.service.may_load.set()
    assert process.service.health.state is ServingState.DRAINING


async def test_models_that_cannot_be_loaded_end_it_with_one_line(process):
    process.service.load_error = FileNotFoundError("no model in /models: export one first")
    process.service.may_load.set()
    assert await process.start().ended() == 1
    assert process.lines.errors() == ["failed: the models could not be loaded: no model in /models: export one first"]


async def test_a_dead_part_ends_it(process):
    await (await process.start().listening()).ready()
    calls = await process.held_calls()
    threading.Thread(target=process.service.health.mark_failed, args=("the worker died",)).start()
    await process.pauses.began[TIMEOUT_S].wait()
    assert await process.probe("livez") == 503
    process.service.may_answer.set()
    await asyncio.gather(*calls)
    assert await process.ended() == 1
    assert not process.pauses.began[DELAY_S].is_set()
    assert process.service.did == ["load"]


async def test_a_part_that_dies_in_the_delay_cuts_it_short(process):
    await (await process.start().listening()).ready()
    process.stop.receive(signal.SIGTERM)
    await process.pauses.began[DELAY_S].wait()
    process.service.health.mark_failed("the worker died")
    assert await process.ended() == 1


async def test_a_worker_that_is_found_stuck_while_it_should_end_is_not_waited_for(process):
    """RELIABILITY 4, SIGTERM when stuck: the watchdog's word ends the drain, long before its timeout."""
    await (await process.start().listening()).ready()
    process.stop.receive(signal.SIGTERM)
    process.pauses.over[DELAY_S].set()
    await process.service.finishing.wait()
    assert await process.probe("livez") == 200
    process.service.health.mark_failed("a computation has not ended within 60 s")
    assert await process.ended() == 1
    assert process.lines.errors() == ["failed: a computation has not ended within 60 s"]


async def test_a_part_that_dies_while_the_last_calls_are_answered(process):
    await (await process.start().listening()).ready()
    calls = await process.held_calls()
    process.stop.receive(signal.SIGTERM)
    process.pauses.over[DELAY_S].set()
    await process.pauses.began[TIMEOUT_S].wait()
    process.service.health.mark_failed("the worker died")
    # As its death answers them.
    process.service.may_answer.set()
    await asyncio.gather(*calls)
    assert await process.ended() == 1
    assert process.service.did == ["load"]


async def test_a_server_that_ends_by_itself_is_a_fault(process, monkeypatch):
    async def is_over(self: object, counter: int) -> bool:
        await process.lines.first("ready: http")
        return True

    monkeypatch.setattr(uvicorn.Server, "on_tick", is_over)
    await (await process.start().listening()).ready()
    assert await process.ended() == 1
    assert process.lines.errors() == ["failed: a server ended by itself"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken.getsockname()[1]


@pytest.mark.parametrize("name", ["http_port", "grpc_port", "admin_port"])
async def test_a_port_in_use_is_one_line(process, taken_port, name):
    process.start(**{name: taken_port})
    assert await process.ended() == 1
    flag = f"--{name.replace('_', '-')}"
    assert process.lines.errors() == [
        f"cannot listen on 127.0.0.1:{taken_port} (address already in use): choose another {flag} or --host"
    ]
    assert process.service.did == []


async def test_grpc_is_refused_until_the_service_is_ready(process):
    await process.start().listening()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", process.grpc_port)
    assert (await process.get("/")).status_code == 200
    await process.ready()
    assert await process.rpc("Call") == b"hello"


async def test_a_port_that_is_taken_while_the_models_are_loaded_is_one_line(process):
    await process.start().listening()
    with socket.create_server(("127.0.0.1", process.grpc_port)):
        process.service.may_load.set()
        assert await process.ended() == 1
    assert process.lines.errors() == [
        f"failed: cannot listen on 127.0.0.1:{process.grpc_port} (taken while the models were loaded): "
        "choose another --grpc-port"
    ]


async def test_a_host_that_is_nobodys_is_one_line(process):
    drain = DrainSettings()
    code = await serve(process.service, ListenSettings(host="nowhere.invalid"), drain, stop=process.stop)
    assert code == 1
    (line,) = process.lines.errors()
    assert line.startswith("cannot listen on nowhere.invalid:8000 (")


async def test_a_host_that_is_no_name_is_one_line(process):
    code = await serve(process.service, ListenSettings(host="a..b"), DrainSettings(), stop=process.stop)
    assert code == 1
    assert process.lines.errors() == ["cannot listen on 'a..b': --host is no host name"]


SERVER = textwrap.dedent(
    """
    import sys, types
    from pathlib import Path

    from tests.service.test_lifecycle import FakeService
    from service import lifecycle, log_setup
    from service.settings import DrainSettings, ListenSettings, Settings

    def build_service(settings, *, post):
        service = FakeService()
        service.may_finish.set()
        if "loading" not in sys.argv:
            service.may_load.set()
        return service

    sys.modules["service.assembly"] = types.SimpleNamespace(build_service=build_service)
    log_setup.configure("info", "json")
    settings = Settings(
        models=Path("m"),
        listen=ListenSettings(http_port=0, grpc_port=0, admin_port=0),
        drain=DrainSettings(drain_delay_s=float(sys.argv[1]), drain_timeout_s=30),
    )
    lifecycle.run(settings)
    """
)


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[str], dict]]]:
    command = [sys.executable, "-c", SERVER, *arguments]
    # As the command line has it: of what the drain does to its listener, grpc's core has something to say.
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "GRPC_VERBOSITY": "NONE"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as server:

        def until(start: str) -> dict:
            for text in server.stderr:
                line = json.loads(text)
                if line["message"].startswith(start):
                    return line
            raise AssertionError(f"no line {start!r}")

        try:
            yield server, until
        finally:
            server.kill()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_told_to_stop_exits_0(signum):
    with started("0") as (server, until):
        line = until("ready: http")
        url = f"http://127.0.0.1:{line['admin_port']}/readyz"
        assert httpx.get(url).status_code == 200
        server.send_signal(signum)
        until("draining")
        assert server.wait(PATIENCE_S) == 0
        assert server.stderr.read() == ""


def test_a_process_that_is_told_twice_leaves_at_once():
    with started("60") as (server, until):
        until("ready: http")
        server.send_signal(signal.SIGTERM)
        until("draining")
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(2 * ECHO_S)
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 143


def test_a_process_that_still_loads_stops_promptly():
    with started("60", "loading") as (server, until):
        until("listening")
        # Sooner than the delay of 60 s, which is for servers that were in use.
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0
