from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.saves import ROOT
from totalvi_client.in_order import in_order, in_order_async

PATIENCE_S = 20.0


def test_results_come_in_the_order_of_the_items_whichever_is_done_first() -> None:
    done = [threading.Event() for _ in range(4)]

    def work(item: int, over: threading.Event) -> int:
        # Each waits for the one behind it, so that the last is done first.
        if item < 3:
            assert done[item + 1].wait(PATIENCE_S)
        done[item].set()
        return item * 10

    assert list(in_order(work, range(4), 4)) == [0, 10, 20, 30]


def test_no_more_items_are_taken_than_are_under_way() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            taken.append(item)
            yield item

    results = in_order(lambda item, _: item, items(), 3)
    assert taken == []
    assert next(results) == 0
    assert taken == [0, 1, 2]
    assert next(results) == 1
    assert taken == [0, 1, 2, 3]
    assert list(results) == list(range(2, 10))


def test_the_first_failure_ends_it_and_whoever_pauses_is_told() -> None:
    told = threading.Event()
    begun = threading.Event()

    def work(item: int, over: threading.Event) -> int:
        if item == 0:
            assert begun.wait(PATIENCE_S)
            raise KeyError("first")
        begun.set()
        assert over.wait(PATIENCE_S)
        told.set()
        return item

    with pytest.raises(KeyError, match="first"):
        list(in_order(work, range(2), 2))
    assert told.wait(PATIENCE_S)


def test_a_reader_that_leaves_ends_it() -> None:
    begun, told = threading.Event(), threading.Event()

    def work(item: int, over: threading.Event) -> int:
        if item == 0:
            assert begun.wait(PATIENCE_S)
        else:
            begun.set()
            assert over.wait(PATIENCE_S)
            told.set()
        return item

    results = in_order(work, range(100), 2)
    assert next(results) == 0
    assert not told.is_set()
    results.close()
    assert told.wait(PATIENCE_S)


def test_items_that_fail_to_come_fail_the_reader() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        list(in_order(lambda item, _: item, items(), 2))


LEFT = """
import threading
from totalvi_client.in_order import in_order
def work(item, over):
    if item:
        threading.Event().wait()
results = in_order(work, range(2), 2)
next(results)
raise KeyError("the end")
"""


def test_a_program_ends_while_a_call_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEFT], cwd=ROOT / "client", capture_output=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, b"KeyError: 'the end'")


async def test_tasks_do_the_same() -> None:
    done = [asyncio.Event() for _ in range(4)]

    async def work(item: int) -> int:
        if item < 3:
            await done[item + 1].wait()
        done[item].set()
        return item * 10

    async def items() -> AsyncIterator[int]:
        for item in range(4):
            yield item

    assert [result async for result in in_order_async(work, items(), 4)] == [0, 10, 20, 30]
    assert [result async for result in in_order_async(work, range(4), 4)] == [0, 10, 20, 30]


async def test_tasks_are_cancelled_when_it_ends_early() -> None:
    cancelled = []

    async def work(item: int) -> int:
        if item == 0:
            raise KeyError("first")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    with pytest.raises(KeyError, match="first"):
        async for _ in in_order_async(work, range(5), 3):
            pass
    assert len(cancelled) <= 2
    # Those that had begun were told; none is left.
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []
