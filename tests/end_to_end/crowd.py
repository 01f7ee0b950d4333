"""Callers of every kind at once, each calling again and again: good ones, and those a service could do without.

One thread with a loop of its own. Every call's outcome is held against what it must be; what differs is a failure.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Self, TypeAlias

import grpc
import httpx
import numpy as np

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Array, Ask
from tests.end_to_end.clients import JSON, PROTOBUF, json_body, message, rest_path
from tests.end_to_end.server import PATIENCE_S

Call: TypeAlias = Callable[[], Awaitable[None]]
"""One call; returns if its outcome is what it must be, and raises otherwise."""

CELLS = synthetic.cells(4, seed=12)
MOST_CELLS = 16
"""The servers' --max-request-cells."""
PAUSE_S = 0.005
"""Between a caller's calls: a steady load that leaves a processor to those who start and stop meanwhile."""
TOO_MANY = synthetic.cells(MOST_CELLS + 1, seed=13)

GOOD = ("rest json", "rest protobuf", "grpc")
BAD = ("rest malformed", "grpc malformed", "rest greedy", "grpc greedy", "rest leaving", "grpc leaving", "rest slow")

_ENCODE = "/totalvi.v1.EncoderService/Encode"


class Unexpected(Exception):
    """An outcome that must not be."""


@dataclasses.dataclass
class Tally:
    """What the calls came to.

    Attributes:
        right: calls with the right outcome, by kind of caller.
        failures: what was told of each other call, its kind first, and how long it lasted.
        repeated: gRPC calls that were cut before the service saw them, and made again.
    """

    right: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)
    repeated: int = 0


class Crowd:
    """Callers that call until told to stop, as a context manager.

    Args:
        rest_port: where REST is called.
        grpc_port: where gRPC is called.
        kinds: one caller each.
        asks: what they ask, by chance (always the same).
        too_many: more cells than the server takes.
        patience_s: what a call may take.
    """

    def __init__(
        self,
        rest_port: int,
        grpc_port: int,
        kinds: Sequence[str],
        asks: Sequence[Ask] = (CELLS,),
        too_many: Ask = TOO_MANY,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._ports, self._kinds, self._patience_s = (rest_port, grpc_port), kinds, patience_s
        self._json = _Bodies(lambda ask: json.dumps(json_body(ask)).encode(), asks, too_many)
        self._messages = _Bodies(lambda ask: message(ask).SerializeToString(), asks, too_many)
        self._tally, self._news, self._over = Tally(), threading.Condition(), False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._call()), name="crowd", daemon=True)

    def __enter__(self) -> Self:
        """Begin to call."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, if that has not been done."""
        self.stop()

    def stop(self) -> Tally:
        """Begin no more calls, wait for those under way, and tell."""
        self._over = True
        self._thread.join(2 * self._patience_s)
        assert not self._thread.is_alive(), "a call hangs"
        return self._tally

    def wait_for(self, n_calls: int, timeout_s: float = 2 * PATIENCE_S) -> None:
        """Until each caller has had so many more right outcomes, or calls no more."""
        with self._news:
            goals = {kind: self._tally.right[kind] + n_calls * self._kinds.count(kind) for kind in self._kinds}
            self._news.wait_for(lambda: all(self._tally.right[kind] >= goals[kind] for kind in goals), timeout_s)

    @property
    def n_answered(self) -> int:
        """Calls of the good callers that were answered right so far."""
        return sum(self._tally.right[kind] for kind in GOOD)

    async def _call(self) -> None:
        async with contextlib.AsyncExitStack() as stack:
            callers = []
            for kind in self._kinds:
                if kind.startswith("rest"):
                    calls = await stack.enter_async_context(
                        _rest_calls(self._ports[0], self._json, self._messages, self._patience_s)
                    )
                else:
                    calls = await stack.enter_async_context(
                        _grpc_calls(self._ports[1], self._messages, self._tally, self._patience_s)
                    )
                callers.append((kind, calls[kind]))
            await asyncio.gather(*(self._keep_calling(kind, call) for kind, call in callers))

    async def _keep_calling(self, kind: str, call: Call) -> None:
        while not self._over:
            began = time.monotonic()
            try:
                await call()
            except Exception as error:  # AssertionError among them
                lasted, at = time.monotonic() - began, time.strftime("%H:%M:%S")
                self._tally.failures.append(f"{kind}: {error!r} at {at} after {lasted:.1f} s")
            else:
                with self._news:
                    self._tally.right[kind] += 1
                    self._news.notify_all()
            await asyncio.sleep(PAUSE_S)


class _Bodies:
    """What is sent, and what each was answered first, which must be right; any later answer must be the same."""

    def __init__(self, write: Callable[[Ask], bytes], asks: Sequence[Ask], too_many: Ask) -> None:
        self.too_many = write(too_many)
        self._asks = {write(ask): ask for ask in asks}
        self._bodies = list(self._asks)
        self._random = random.Random(0)
        self._answers: dict[bytes, bytes] = {}

    def next(self) -> bytes:
        return self._random.choice(self._bodies)

    def check(self, body: bytes, answer: bytes) -> None:
        if body not in self._answers:
            self._answers[body] = answer
            expected = synthetic.expected(self._asks[body])["qz_mean"]
            np.testing.assert_allclose(_qz_mean(answer), expected, rtol=1e-5, atol=1e-5)
        if self._answers[body] != answer:
            raise Unexpected("the same cells were answered differently")


def _qz_mean(answer: bytes) -> Array:
    if answer.startswith(b"{"):
        return np.array(json.loads(answer)["qz"]["mean"], np.float32)
    mean = pb.EncodeResponse.FromString(answer).qz.mean
    return np.frombuffer(mean.data, "<f4").reshape(mean.shape)


@contextlib.asynccontextmanager
async def _rest_calls(
    port: int, jsons: _Bodies, messages: _Bodies, patience_s: float
) -> AsyncIterator[dict[str, Call]]:
    """The calls of one REST caller on its own connections, by kind."""
    path = rest_path(CELLS)

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=patience_s, trust_env=False) as client:

        async def send(body: Any, media_type: str, status: int) -> bytes:
            response = await client.post(path, content=body, headers={"Content-Type": media_type})
            if response.status_code != status:
                raise Unexpected(response.status_code, response.text[:300])
            return response.content

        async def ask(bodies: _Bodies, media_type: str) -> None:
            body = bodies.next()
            bodies.check(body, await send(body, media_type, 200))

        async def ask_slowly() -> None:
            body = jsons.next()

            async def pieces() -> AsyncIterator[bytes]:
                step = max(97, len(body) // 50)
                for start in range(0, len(body), step):
                    yield body[start : start + step]
                    await asyncio.sleep(0)

            jsons.check(body, await send(pieces(), JSON, 200))

        async def leave() -> None:
            sent = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield jsons.next()
                sent.set()

            call, told = asyncio.create_task(send(body(), JSON, 200)), asyncio.create_task(sent.wait())
            await asyncio.wait({call, told}, return_when=asyncio.FIRST_COMPLETED)
            call.cancel()
            await asyncio.gather(call, told, return_exceptions=True)
            await ask(jsons, JSON)

        async def refused(body: bytes, status: int) -> None:
            await send(body, JSON, status)

        yield {
            "rest json": lambda: ask(jsons, JSON),
            "rest protobuf": lambda: ask(messages, PROTOBUF),
            "rest malformed": lambda: refused(jsons.next()[:-1], 400),
            "rest greedy": lambda: refused(jsons.too_many, 413),
            "rest slow": ask_slowly,
            "rest leaving": leave,
        }


@contextlib.asynccontextmanager
async def _grpc_calls(port: int, messages: _Bodies, tally: Tally, patience_s: float) -> AsyncIterator[dict[str, Call]]:
    """The calls of one gRPC caller on its own connection, by kind.

    A stopping gRPC server ends the calls that its library has taken and not handed over as CANCELLED
    (https://github.com/grpc/grpc/issues/41785). Our trailers are missing there: the service never saw the call, and it
    is made again, as a client has to. No other call is.
    """
    options = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", -1),
    ]

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        method: Any = channel.unary_unary(_ENCODE)

        async def call(body: bytes) -> bytes:
            while True:
                try:
                    answer: bytes = await method(body, timeout=patience_s)
                    return answer
                except grpc.aio.AioRpcError as error:
                    seen = any(key == "x-request-id" for key, _ in error.trailing_metadata() or ())
                    if seen or error.code() is not grpc.StatusCode.CANCELLED:
                        raise
                    tally.repeated += 1

        async def ask() -> None:
            body = messages.next()
            try:
                answer = await call(body)
            except grpc.aio.AioRpcError as error:
                raise Unexpected(error.code().name, error.details()) from None
            messages.check(body, answer)

        async def refused(body: bytes, code: grpc.StatusCode) -> None:
            try:
                await call(body)
            except grpc.aio.AioRpcError as error:
                if error.code() is not code:
                    raise Unexpected(error.code().name, error.details()) from None
            else:
                raise Unexpected("answered", code.name)

        async def leave() -> None:
            under_way = method(messages.next(), timeout=patience_s)
            await under_way.wait_for_connection()
            under_way.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await under_way
            await ask()

        yield {
            "grpc": ask,
            "grpc malformed": lambda: refused(b"\xff" + messages.next(), grpc.StatusCode.INVALID_ARGUMENT),
            "grpc greedy": lambda: refused(messages.too_many, grpc.StatusCode.RESOURCE_EXHAUSTED),
            "grpc leaving": leave,
        }
