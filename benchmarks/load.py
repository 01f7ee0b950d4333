"""Callers in a process of their own, so that what they cost is nobody's else: bodies and answers are bytes to them.

Each answer is compared with the one that is expected, to the byte; reading what it says is the parent's part.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import multiprocessing
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Any, Self, TypeAlias, cast

import grpc
import uvloop

from benchmarks.server_process import cpu_s, rss_bytes

Ask: TypeAlias = Callable[[int], Awaitable[bytes]]
"""Send the body of this index and give its answer."""

PATIENCE_S = 120.0
"""Beyond the seconds a load is to last; nothing here waits longer."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_CHANNEL = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class Refused(Exception):
    """A server answered anything but success. The first argument is the status: an HTTP one, or the name of gRPC's."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What is called.

    Attributes:
        pid: of the server.
        port: on 127.0.0.1.
        where: an HTTP path, or the full name of a gRPC method.
        media_type: of an HTTP body and its answer; None: the target is a gRPC method.
        bodies: sent one after another, over and over.
    """

    pid: int
    port: int
    where: str
    media_type: str | None
    bodies: tuple[bytes, ...]


@dataclasses.dataclass(frozen=True)
class Load:
    """How a target is called.

    Attributes:
        target: what is called.
        expected: what each body must be answered.
        in_flight: calls at a time.
        seconds: until no call is begun any more.
        pause_s: between an answer and the next call.
    """

    target: Target
    expected: tuple[bytes, ...]
    in_flight: int
    seconds: float
    pause_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a load came to.

    Attributes:
        cpu_s: processor time of the server.
        wall_s: from the first call to the last answer.
        latencies_s: of each call.
        caller_cpu_s: processor time of the callers.
    """

    cpu_s: float
    wall_s: float
    latencies_s: list[float]
    caller_cpu_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Stream:
    """One stream of messages.

    Attributes:
        target: a bidirectional gRPC method; its first body opens the stream and is sent once.
        n_messages: in all.
    """

    target: Target
    n_messages: int


@dataclasses.dataclass(frozen=True)
class Streamed:
    """What a stream came to.

    Attributes:
        answers: to the first message and to each of the other bodies once.
        cpu_s: of the server, after each answer.
        rss_bytes: of the server, after each answer.
        wall_s: after each answer.
    """

    answers: list[bytes]
    cpu_s: list[float]
    rss_bytes: list[int]
    wall_s: list[float]


class Callers:
    """The process of the callers, as a context manager. One job at a time."""

    def __enter__(self) -> Self:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.join()

    def answers(self, target: Target) -> tuple[bytes, ...]:
        """The answer to each body, asked one after another."""
        self._pipe.send(target)
        return tuple(self.finish())

    def run(self, load: Load) -> Measured:
        """Call under a load."""
        self.begin(load)
        measured: Measured = self.finish()
        return measured

    def stream(self, stream: Stream) -> Streamed:
        """Send a stream."""
        self._pipe.send(stream)
        streamed: Streamed = self.finish()
        return streamed

    def begin(self, load: Load) -> None:
        """Begin to call under a load."""
        self._pipe.send(load)

    def finish(self) -> Any:
        """Wait for what was begun.

        Raises:
            Refused: the server answered with an error.
        """
        result = self._pipe.recv()
        if isinstance(result, Exception):
            raise result
        return result


def _work(pipe: Connection) -> None:
    """The process: a job in, its result or what it raised out."""
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        while True:
            job = pipe.recv()
            work: Any = {Target: _answers, Load: _run, Stream: _stream}[type(job)]
            seconds = job.seconds if isinstance(job, Load) else 0.0
            try:
                pipe.send(uvloop.run(asyncio.wait_for(work(job), seconds + PATIENCE_S)))
            except Exception as error:
                pipe.send(error)


async def _answers(target: Target) -> list[bytes]:
    async with _lines(target, 1) as (ask,):
        return [await ask(index) for index in range(len(target.bodies))]


async def _run(load: Load) -> Measured:
    turns = itertools.cycle(range(len(load.target.bodies)))
    latencies: list[float] = []

    async def call(ask: Ask) -> None:
        index = next(turns)
        began = time.perf_counter()
        answer = await ask(index)
        latencies.append(time.perf_counter() - began)
        if answer != load.expected[index]:
            raise AssertionError(f"{load.target.where} answered the same body differently")

    async def keep_calling(ask: Ask, end: float) -> None:
        while time.perf_counter() < end:
            await call(ask)
            if load.pause_s:
                await asyncio.sleep(load.pause_s)

    async with _lines(load.target, load.in_flight) as lines:
        await asyncio.gather(*map(call, lines))  # connects
        latencies.clear()
        start, server, own = time.perf_counter(), cpu_s(load.target.pid), time.process_time()
        await asyncio.gather(*(keep_calling(line, start + load.seconds) for line in lines))
        wall = time.perf_counter() - start
        return Measured(cpu_s(load.target.pid) - server, wall, latencies, time.process_time() - own)


async def _stream(stream: Stream) -> Streamed:
    target = stream.target
    others = range(1, len(target.bodies))
    order = [0, *itertools.islice(itertools.cycle(others), stream.n_messages - 1)]

    async def messages() -> AsyncIterator[bytes]:
        for index in order:
            yield target.bodies[index]

    streamed, start, server = Streamed([], [], [], []), time.perf_counter(), cpu_s(target.pid)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", options=_CHANNEL) as channel:
        turns, method = iter(order), cast(Any, channel.stream_stream(target.where))
        try:
            async for answer in method(messages()):
                index = next(turns)
                if len(streamed.answers) < len(target.bodies):
                    streamed.answers.append(answer)
                elif answer != streamed.answers[index]:
                    raise AssertionError("the stream answered the same cells differently")
                streamed.cpu_s.append(cpu_s(target.pid) - server)
                streamed.rss_bytes.append(rss_bytes(target.pid))
                streamed.wall_s.append(time.perf_counter() - start)
        except grpc.aio.AioRpcError as error:
            raise Refused(error.code().name, error.details()) from None
    if len(streamed.cpu_s) != stream.n_messages:
        raise AssertionError(f"{len(streamed.cpu_s)} answers to {stream.n_messages} messages")
    return streamed


def _lines(target: Target, n_lines: int) -> contextlib.AbstractAsyncContextManager[list[Ask]]:
    """So many ways to call the target at once."""
    return _grpc_lines(target, n_lines) if target.media_type is None else _http_lines(target, n_lines)


@contextlib.asynccontextmanager
async def _grpc_lines(target: Target, n_lines: int) -> AsyncIterator[list[Ask]]:
    """Calls share one connection, as those of a gRPC client do."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{target.port}", options=_CHANNEL) as channel:
        method: Any = channel.unary_unary(target.where)

        async def ask(index: int) -> bytes:
            try:
                answer: bytes = await method(target.bodies[index])
                return answer
            except grpc.aio.AioRpcError as error:
                raise Refused(error.code().name, error.details()) from None

        yield [ask] * n_lines


@contextlib.asynccontextmanager
async def _http_lines(target: Target, n_lines: int) -> AsyncIterator[list[Ask]]:
    """Each line is a connection that is kept open."""
    head = f"POST {target.where} HTTP/1.1\r\nHost: 127.0.0.1:{target.port}\r\n"
    head += f"Content-Type: {target.media_type}\r\nAccept: {target.media_type}\r\nContent-Length: "
    requests = [head.encode() + b"%d\r\n\r\n%s" % (len(body), body) for body in target.bodies]
    loop = asyncio.get_running_loop()

    def asking(line: _HttpLine) -> Ask:
        return lambda index: line.ask(requests[index])

    opened = [await loop.create_connection(_HttpLine, "127.0.0.1", target.port) for _ in range(n_lines)]
    try:
        yield [asking(line) for _, line in opened]
    finally:
        for transport, _ in opened:
            transport.close()


class _HttpLine(asyncio.Protocol):
    """A connection that has one call at a time; answers must bear their length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)
        self._answer: asyncio.Future[bytes] | None = None

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        """Send a request; its answer's body."""
        self._answer = asyncio.get_running_loop().create_future()
        self._got, self._body_at, self._end = bytearray(), 0, -1
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Take what has come of the answer."""
        assert self._answer is not None
        self._got += data
        if self._end < 0:
            head_end = self._got.find(b"\r\n\r\n")
            if head_end < 0:
                return
            length = _LENGTH.search(self._got, 0, head_end)
            if length is None:
                self._answer.set_exception(AssertionError("an answer without its length"))
                return
            self._body_at = head_end + 4
            self._end = self._body_at + int(length[1])
        if len(self._got) >= self._end:
            status, body = int(self._got[9:12]), bytes(self._got[self._body_at :])
            if status == 200:
                self._answer.set_result(body)
            else:
                self._answer.set_exception(Refused(status, body[:500].decode(errors="replace")))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))


def percentiles(latencies_s: list[float]) -> tuple[float, float]:
    """The 50th and the 99th, in milliseconds."""
    ordered = sorted(latencies_s)
    return ordered[len(ordered) // 2] * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3
