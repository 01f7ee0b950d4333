"""Several calls under way at a time, their results in order: with threads, and with tasks."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import threading
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


def in_order(work: Callable[[In, threading.Event], Out], items: Iterable[In], n_at_a_time: int) -> Iterator[Out]:
    """What `work` makes of each item, in the order of the items.

    Items are taken on the caller's thread, as there is room for them: at most `n_at_a_time` are taken and not given
    back as results. The first failure, in the order of the items, ends it.

    Args:
        work: called on a thread; the event tells that nobody waits for its result any more.
        items: to work on.
        n_at_a_time: of them.
    """
    over = threading.Event()
    window: collections.deque[concurrent.futures.Future[Out]] = collections.deque()
    source = iter(items)
    try:
        for item in source:
            future: concurrent.futures.Future[Out] = concurrent.futures.Future()
            # A pool's threads are waited for as the program ends, and one that waits for a dead server never does.
            threading.Thread(target=_work, args=(future, work, item, over), name="totalvi-client", daemon=True).start()
            window.append(future)
            # Let go, or the last slice would be held while its reader works.
            del item
            if len(window) == n_at_a_time:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()
    finally:
        # Whoever has failed or left need not wait for the calls that are under way.
        over.set()


def _work(
    future: concurrent.futures.Future[Out], work: Callable[[In, threading.Event], Out], item: In, over: threading.Event
) -> None:
    try:
        result = work(item, over)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


async def in_order_async(
    work: Callable[[In], Awaitable[Out]], items: AsyncIterable[In] | Iterable[In], n_at_a_time: int
) -> AsyncGenerator[Out, None]:
    """The same with tasks. Those under way are cancelled when it ends early."""
    window: collections.deque[asyncio.Task[Out]] = collections.deque()
    try:
        async for item in each(items):
            window.append(asyncio.ensure_future(_awaited(work, item)))
            del item
            if len(window) == n_at_a_time:
                yield await window.popleft()
        while window:
            yield await window.popleft()
    finally:
        for task in window:
            task.cancel()
        await asyncio.gather(*window, return_exceptions=True)


async def _awaited(work: Callable[[In], Awaitable[Out]], item: In) -> Out:
    return await work(item)


async def each(items: AsyncIterable[In] | Iterable[In]) -> AsyncIterator[In]:
    """The items of an iterable of either kind."""
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item
