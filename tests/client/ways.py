"""Both clients over both transports behind one blocking face, so that one table of tests is for all of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from totalvi_client import AsyncClient, Client, Encoding
from totalvi_client.session import Ask, Pause

WAYS = ("rest", "grpc", "rest-async", "grpc-async")

OnPause = Callable[[float], object]
"""Is called where a client would pause, which then goes on at once."""


class Way:
    """A client, whichever, with the methods of `Client`.

    Args:
        client: asks.
        loop: of an `AsyncClient`.
    """

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.client, self._loop = client, loop

    def encode_stream(self, slices: Any, **options: Any) -> Iterator[Encoding]:
        """As `Client.encode_stream`."""
        if self._loop is None:
            yield from self.client.encode_stream(slices, **options)
            return
        encodings = self.client.encode_stream(slices, **options)
        try:
            while True:
                yield self._loop.run_until_complete(encodings.__anext__())
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(encodings.aclose())

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)
        if self._loop is None:
            return method  # type: ignore[no-any-return]
        loop = self._loop
        return lambda *given, **options: loop.run_until_complete(method(*given, **options))


class _Hurried(Client):
    """Tells of its pauses instead of making them."""

    on_pause: OnPause

    def _perform(self, step: Ask | Pause, over: Any) -> Any:
        if isinstance(step, Pause):
            return self.on_pause(step.seconds)
        return super()._perform(step, over)


class _HurriedAsync(AsyncClient):
    on_pause: OnPause

    async def _perform(self, step: Ask | Pause) -> Any:
        if isinstance(step, Pause):
            return await asyncio.to_thread(self.on_pause, step.seconds)
        return await super()._perform(step)


@contextlib.contextmanager
def open_way(
    way: str, http_port: int, grpc_port: int, *, secure: bool = False, on_pause: OnPause | None = None, **options: Any
) -> Iterator[Way]:
    """A client by one of `WAYS` of a server on this machine."""
    port, scheme = (http_port, "http") if way.startswith("rest") else (grpc_port, "grpc")
    target = f"{scheme}{'s' * secure}://127.0.0.1:{port}"
    if not way.endswith("-async"):
        client = _Hurried(target, **options) if on_pause else Client(target, **options)
        if isinstance(client, _Hurried) and on_pause:
            client.on_pause = on_pause
        with client:
            yield Way(client)
        return
    loop = asyncio.new_event_loop()
    other = _HurriedAsync(target, **options) if on_pause else AsyncClient(target, **options)
    if isinstance(other, _HurriedAsync) and on_pause:
        other.on_pause = on_pause
    try:
        yield Way(other, loop)
    finally:
        loop.run_until_complete(other.close())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
