"""Callers of every kind at once, each calling again and again: good ones, and those a service could do without.

One thread with a loop of its own. Every call's outcome is held against what it must be; what differs is a failure.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Self, TypeAlias

import grpc
import httpx

from tests.end_to_end import synthetic
from tests.end_to_end.clients import JSON, PROTOBUF, json_body, message, rest_path
from tests.end_to_end.server import PATIENCE_S

Call: TypeAlias = Callable[[], Awaitable[None]]
"""One call; returns if its outcome is what it must be, and raises otherwise."""

CELLS = synthetic.cells(4, seed=12)
MOST_CELLS = 16
"""The servers' --max-request-cells."""
TOO_MANY = synthetic.cells(MOST_CELLS + 1, seed=13)

GOOD = ("rest json", "rest protobuf", "grpc")
BAD = ("rest malformed", "grpc malformed", "rest greedy", "grpc greedy", "rest leaving", "grpc leaving", "rest slow")

_ENCODE = "/totalvi.v1.EncoderService/Encode"
_JSON_BODY = json.dumps(json_body(CELLS)).encode()
_MESSAGE = message(CELLS).SerializeToString()


class Unexpected(Exception):
    """An outcome that must not be."""


@dataclasses.dataclass
class Tally:
    """What the calls came to.

    Attributes:
        right: calls with the right outcome, by kind of caller.
        failures: what was told of each other call, its kind first.
    """

    right: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: list[str] = dataclasses.field(default_factory=list)


class Crowd:
    """Callers that call until told to stop, as a context manager.

    Args:
        rest_port: where REST is called.
        grpc_port: where gRPC is called.
        kinds: one caller each.
        most_calls: of each caller.
    """

    def __init__(self, rest_port: int, grpc_port: int, kinds: Sequence[str], most_calls: int = 1_000_000) -> None:
        self._ports, self._kinds, self._most_calls = (rest_port, grpc_port), kinds, most_calls
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
        self._thread.join(2 * PATIENCE_S)
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
                calls = _rest_calls if kind.startswith("rest") else _grpc_calls
                port = self._ports[not kind.startswith("rest")]
                callers.append((kind, (await stack.enter_async_context(calls(port)))[kind]))
            await asyncio.gather(*(self._keep_calling(kind, call) for kind, call in callers))

    async def _keep_calling(self, kind: str, call: Call) -> None:
        for _ in range(self._most_calls):
            if self._over:
                return
            try:
                await call()
            except Exception as error:
                self._tally.failures.append(f"{kind}: {error!r}")
            else:
                with self._news:
                    self._tally.right[kind] += 1
                    self._news.notify_all()


@contextlib.asynccontextmanager
async def _rest_calls(port: int) -> AsyncIterator[dict[str, Call]]:
    """The calls of one REST caller on its own connections, by kind."""
    path, first_answers = rest_path(CELLS), dict[str, bytes]()
    too_many = json.dumps(json_body(TOO_MANY)).encode()

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False) as client:

        async def post(body: Any, media_type: str, status: int) -> None:
            response = await client.post(path, content=body, headers={"Content-Type": media_type})
            if response.status_code != status:
                raise Unexpected(response.status_code, response.text[:300])
            if status == 200 and first_answers.setdefault(media_type, response.content) != response.content:
                raise Unexpected("the same cells were answered differently")

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(_JSON_BODY), 97):
                yield _JSON_BODY[start : start + 97]
                await asyncio.sleep(0)

        async def leave() -> None:
            sent = asyncio.Event()

            async def body() -> AsyncIterator[bytes]:
                yield _JSON_BODY
                sent.set()

            call, told = asyncio.create_task(post(body(), JSON, 200)), asyncio.create_task(sent.wait())
            await asyncio.wait({call, told}, return_when=asyncio.FIRST_COMPLETED)
            call.cancel()
            await asyncio.gather(call, told, return_exceptions=True)
            await post(_JSON_BODY, JSON, 200)

        yield {
            "rest json": lambda: post(_JSON_BODY, JSON, 200),
            "rest protobuf": lambda: post(_MESSAGE, PROTOBUF, 200),
            "rest malformed": lambda: post(_JSON_BODY[:-1], JSON, 400),
            "rest greedy": lambda: post(too_many, JSON, 413),
            "rest slow": lambda: post(pieces(), JSON, 200),
            "rest leaving": leave,
        }


@contextlib.asynccontextmanager
async def _grpc_calls(port: int) -> AsyncIterator[dict[str, Call]]:
    """The calls of one gRPC caller on its own connection, by kind. No retries but those that every channel makes."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    first_answers: list[bytes] = []
    too_many = message(TOO_MANY).SerializeToString()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        method: Any = channel.unary_unary(_ENCODE)

        async def call(body: bytes, code: grpc.StatusCode) -> None:
            try:
                answer = await method(body, timeout=PATIENCE_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is not code:
                    raise Unexpected(error.code().name, error.details()) from None
                return
            if code is not grpc.StatusCode.OK:
                raise Unexpected("answered", code.name)
            if not first_answers:
                first_answers.append(answer)
            if answer != first_answers[0]:
                raise Unexpected("the same cells were answered differently")

        async def leave() -> None:
            under_way = method(_MESSAGE, timeout=PATIENCE_S)
            await under_way.wait_for_connection()
            under_way.cancel()
            with contextlib.suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await under_way
            await call(_MESSAGE, grpc.StatusCode.OK)

        yield {
            "grpc": lambda: call(_MESSAGE, grpc.StatusCode.OK),
            "grpc malformed": lambda: call(b"\xff" + _MESSAGE, grpc.StatusCode.INVALID_ARGUMENT),
            "grpc greedy": lambda: call(too_many, grpc.StatusCode.RESOURCE_EXHAUSTED),
            "grpc leaving": leave,
        }
