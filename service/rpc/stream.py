"""Answers to a stream: worked on side by side, sent in order, and never many of them in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar

from service.rpc.call import Write

T = TypeVar("T")

MOST_IN_FLIGHT: Final = 4
"""One is read, one computed and one written at a time; the fourth makes up for their unequal times."""


async def answer_in_order(
    questions: AsyncGenerator[T, None], answer: Callable[[T], Awaitable[bytes]], write: Write
) -> None:
    """Write the answer to each question, in order; at most `MOST_IN_FLIGHT` were read and are not written yet.

    So whoever is slower holds up the other: of a caller that does not read, nothing more is read.

    What reading or answering a question raises is raised once those before it are written. However this ends, the
    questions are closed and the answers still worked on are cancelled.

    Args:
        questions: in order; asked for one at a time.
        answer: called for several at a time.
        write: returns once there is room for more.
    """
    turn = asyncio.Lock()

    async def answer_next() -> bytes | None:
        async with turn:
            try:
                question = await anext(questions)
            except StopAsyncIteration:
                return None
        return await answer(question)

    # A lock goes to those who wait for it in the order of their coming, so these are in the order of the questions.
    in_flight = deque(asyncio.create_task(answer_next()) for _ in range(MOST_IN_FLIGHT))
    async with contextlib.aclosing(questions):
        try:
            while (body := await in_flight[0]) is not None:
                await write(body)
                in_flight.popleft()
                in_flight.append(asyncio.create_task(answer_next()))
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)
