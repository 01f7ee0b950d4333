"""The client with `await`."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from totalvi_client.caller import IN_FLIGHT, Caller, Priority, check_in_flight, version_text
from totalvi_client.cells import Cells, read_cells
from totalvi_client.client import Client
from totalvi_client.errors import TotalviError
from totalvi_client.in_order import each, in_order_async
from totalvi_client.joining import joined
from totalvi_client.options import read_options
from totalvi_client.rest import AsyncRestTransport
from totalvi_client.results import Card, Encoding, Limits, Validation
from totalvi_client.rpc import AsyncGrpcTransport
from totalvi_client.session import Ask, Pause, Steps
from totalvi_client.stream import Slice

P = ParamSpec("P")
T = TypeVar("T")


def _like(
    method: Callable[Concatenate[Client, P], T],
) -> Callable[[Callable[..., Coroutine[Any, Any, T]]], Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]]:
    """Gives a method of `AsyncClient` the arguments of one of `Client`: for type checkers, and for `help`."""

    def decorate(
        twin: Callable[..., Coroutine[Any, Any, T]],
    ) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
        twin.__signature__ = inspect.signature(method)  # type: ignore[attr-defined]
        return twin

    return decorate


class AsyncClient(Caller):
    """The same with `await`, on the event loop on which it was made.

    It takes the arguments of `Client`, and its methods those of `Client`'s methods of the same names.
    """

    _transport: AsyncRestTransport | AsyncGrpcTransport

    def _connect(self) -> None:
        self._transport = AsyncRestTransport(self._target) if self._target.is_rest else AsyncGrpcTransport(self._target)

    async def __aenter__(self) -> AsyncClient:
        """Itself; leaving closes it."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()

    async def close(self) -> None:
        """Close its connections."""
        self._closed = True
        await self._transport.close()

    @_like(Client.encode)
    async def encode(self, gene_counts: Any, **options: Any) -> Encoding:
        """Encode cells, as `Client.encode` does."""
        asked = self._asked(gene_counts, **options)
        parts = await self._run(self._session.parts(asked.cells, asked.options, asked.deadline))
        if len(parts) == 1:
            return await self._run(self._session.encode(asked.cells, asked.options, asked.priority, asked.deadline))
        stream = self._stream(asked.options, options.get("priority"))
        await self._run(stream.open(asked.deadline))
        taken = (stream.take(asked.cells.rows(start, stop)) for start, stop in parts)

        async def encode(one: Slice) -> Encoding:
            return await self._run(stream.encode(one, asked.deadline))

        found = joined([encoding async for encoding in in_order_async(encode, taken, IN_FLIGHT)])
        await self._run(stream.close(asked.deadline))
        return found

    async def encode_stream(
        self,
        slices: Iterable[Cells] | AsyncIterable[Cells],
        *,
        genes: Iterable[str] | None = None,
        proteins: Iterable[str] | None = None,
        model: str | None = None,
        version: str | int | None = None,
        sha256: str | None = None,
        outputs: Iterable[str] | None = None,
        n_samples: int = 0,
        seed: int | None = None,
        first_cell: int = 0,
        min_gene_coverage: float | None = None,
        allow_non_integer: bool = False,
        priority: Priority | None = None,
        timeout: float | None = None,
        in_flight: int = IN_FLIGHT,
    ) -> AsyncIterator[Encoding]:
        """Encode a matrix that comes in slices, as `Client.encode_stream` does: `async for` takes the encodings."""
        options = read_options(
            genes=genes,
            proteins=proteins,
            model=model,
            version=version,
            outputs=outputs,
            n_samples=n_samples,
            seed=seed,
            first_cell=first_cell,
            min_gene_coverage=min_gene_coverage,
            allow_non_integer=allow_non_integer,
        )
        stream = self._stream(options, priority, sha256)
        check_in_flight(in_flight)

        async def taken() -> AsyncIterator[Slice]:
            async for cells in each(slices):
                yield stream.take(read_cells(cells))

        async def encode(one: Slice) -> Encoding:
            return await self._run(stream.encode(one, self._deadline(timeout)))

        await self._run(stream.open(self._deadline(timeout)))
        async with contextlib.aclosing(in_order_async(encode, taken(), in_flight)) as encodings:
            async for encoding in encodings:
                yield encoding
        await self._run(stream.close(self._deadline(timeout)))

    @_like(Client.validate)
    async def validate(self, gene_counts: Any, **options: Any) -> Validation:
        """What `encode` would make of the cells, as `Client.validate` tells it."""
        asked = self._asked(gene_counts, **options)
        return await self._run(self._session.validate(asked.cells, asked.options, asked.priority, asked.deadline))

    async def models(self, *, timeout: float | None = None) -> list[Card]:
        """The cards of all models, each of its default version, by name."""
        return await self._run(self._session.models(self._deadline(timeout)))

    async def server_version(self, *, timeout: float | None = None) -> str | None:
        """The version of the service, as `Client.server_version` tells it."""
        return await self._run(self._session.server_version(self._deadline(timeout)))

    async def model(
        self, name: str | None = None, version: str | int | None = None, *, timeout: float | None = None
    ) -> Card:
        """The card of one model, as `Client.model` gives it."""
        return await self._run(self._session.model(name, version_text(version), self._deadline(timeout)))

    async def limits(self, *, timeout: float | None = None) -> Limits:
        """What one request may ask for, as `Client.limits` tells it."""
        return await self._run(self._session.limits(self._deadline(timeout)))

    async def _run(self, steps: Steps[T]) -> T:
        """Do what the steps say."""
        try:
            step = next(steps)
            while True:
                try:
                    answer = await self._perform(step)
                except TotalviError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _perform(self, step: Ask | Pause) -> Any:
        self._refuse_if_closed()
        if isinstance(step, Ask):
            return await self._transport.ask(step.question, step.timeout_s)
        return await asyncio.sleep(step.seconds)
