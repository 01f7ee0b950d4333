"""How batches are formed, and when they are due."""

import asyncio
import gc
import itertools
import time
import weakref

import pytest

from service.core.batch import Batch, BatcherLimits
from service.core.errors import ErrorKind, ServiceError
from tests.fakes import PATIENCE_S, FakeClock, FakeWorkload, make_batcher, parts, thread_running


def kind_of(ticket):
    return ticket.future.exception().kind


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch_cells", 0),
        ("max_batch_entries", 0),
        ("max_queue_cells", 0),
        ("max_queue_bytes", -1),
        ("max_delay_s", -0.001),
        ("max_delay_s", float("nan")),
        ("max_delay_s", float("inf")),
    ],
)
def test_limits_that_could_never_work_refuse_at_construction_and_say_which(name, value):
    good = {
        "max_batch_cells": 1,
        "max_batch_entries": 1,
        "max_delay_s": 0.0,
        "max_queue_cells": 1,
        "max_queue_bytes": 1,
    }
    BatcherLimits(**good)
    with pytest.raises(ValueError, match=name):
        BatcherLimits(**(good | {name: value}))


@pytest.mark.parametrize("budget", [1, 8, 20, 30, 64])
async def test_filled_queue_comes_out_in_order_and_in_budget(budget):
    """Mosec's batcher test: fill the queue, take, check exact contents."""
    batcher = make_batcher(max_batch_cells=budget)
    for tag in range(30):
        batcher.submit(FakeWorkload(1, tag), key="m")
    for first in range(0, 30, budget):
        assert parts(batcher.poll()) == [(tag, 0, 1) for tag in range(first, min(first + budget, 30))]
    assert batcher.poll() is None


async def test_idle_worker_starts_at_once_and_busy_one_finds_a_full_batch():
    batcher = make_batcher(max_batch_cells=4)
    batcher.submit(FakeWorkload(1, "first"), key="m")
    assert parts(batcher.poll()) == [("first", 0, 1)]
    for tag in range(6):
        batcher.submit(FakeWorkload(1, tag), key="m")
    assert [tag for tag, _, _ in parts(batcher.poll())] == [0, 1, 2, 3]


async def test_entries_bound_a_batch_as_cells_do():
    batcher = make_batcher(max_batch_entries=100)
    for tag in range(3):
        batcher.submit(FakeWorkload(1, tag, entries_per_cell=40), key="m")
    batch = batcher.poll()
    assert [tag for tag, _, _ in parts(batch)] == [0, 1]
    assert (batch.n_cells, batch.n_entries, batch.key) == (2, 80, "m")


async def test_batch_has_one_key_and_the_key_whose_head_came_first_is_served_first():
    """Two widths or models never meet: what changes the compute is the key."""
    batcher = make_batcher()
    for tag, key in enumerate(["b", "a", "b", "c", "a"]):
        batcher.submit(FakeWorkload(1, tag), key=key)
    batches = [batcher.poll() for _ in range(3)]
    assert [batch.key for batch in batches] == ["b", "a", "c"]
    assert [[tag for tag, _, _ in parts(batch)] for batch in batches] == [[0, 2], [1, 4], [3]]


async def test_idle_batcher_keeps_neither_key_nor_item_alive():
    """A key is a loaded encoder and an item holds counts; both go when the answer does, without the collector."""

    class Key:
        pass

    batcher, key, item = make_batcher(), Key(), FakeWorkload(2, "a")
    ticket = batcher.submit(item, key=key)
    traces = [weakref.ref(key), weakref.ref(item)]
    gc.disable()
    try:
        batch = batcher.poll()
        batcher.finish(batch, parts(batch))
        del key, item, batch
        assert [trace() for trace in traces] == [None, None]
        assert ticket.future.result() == [("a", 0, 2)]
    finally:
        gc.enable()


async def test_delayed_batch_is_due_exactly_after_the_first_arrival():
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=0.25)
    batcher.submit(FakeWorkload(1, "first"), key="m")
    assert batcher.poll() == 0.25
    clock.advance(0.125)
    batcher.submit(FakeWorkload(1, "second"), key="m")
    assert batcher.poll() == 0.125
    clock.advance(0.125)
    assert [tag for tag, _, _ in parts(batcher.poll())] == ["first", "second"]


@pytest.mark.parametrize(
    "second", [FakeWorkload(2, "second"), FakeWorkload(1, "second", entries_per_cell=90)], ids=["cells", "entries"]
)
async def test_full_batch_does_not_wait_for_the_delay(second):
    batcher = make_batcher(max_delay_s=1.0, max_batch_cells=4, max_batch_entries=100)
    batcher.submit(FakeWorkload(2, "first", entries_per_cell=5), key="m")
    assert batcher.poll() == 1.0
    batcher.submit(second, key="m")
    assert isinstance(batcher.poll(), Batch)


async def test_each_key_has_its_own_delay():
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=1.0, max_batch_cells=4)
    batcher.submit(FakeWorkload(1), key="patient")
    clock.advance(0.5)
    batcher.submit(FakeWorkload(4), key="full")
    assert batcher.poll().key == "full"
    batcher.submit(FakeWorkload(1), key="late")
    assert batcher.poll() == 0.5
    clock.advance(0.5)
    assert batcher.poll().key == "patient"
    assert batcher.poll() == 0.5


async def test_rest_of_a_sliced_request_is_due_by_its_own_arrival():
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=1.0, max_batch_cells=4)
    batcher.submit(FakeWorkload(6, "large"), key="m")
    assert parts(batcher.poll()) == [("large", 0, 4)]
    clock.advance(0.5)
    batcher.submit(FakeWorkload(1, "small"), key="m")
    assert batcher.poll() == 0.5
    clock.advance(0.5)
    assert sorted(parts(batcher.poll())) == [("large", 4, 6), ("small", 0, 1)]


async def test_wall_clock_that_jumps_an_hour_changes_nothing(monkeypatch):
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=0.25)
    ticket = batcher.submit(FakeWorkload(1), key="m", deadline_s=10.0)
    for wall in (time.time() + 3600, time.time() - 3600):
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        assert batcher.poll() == 0.25
        assert not ticket.future.done()


@pytest.mark.parametrize(
    ("delay_s", "queue_cells", "deadline_s"), list(itertools.product([0.0, 0.5], [1_000_000, 10], [None, 0.25]))
)
async def test_delay_bound_and_deadline_are_three_settings(delay_s, queue_cells, deadline_s):
    """Each of the 8 combinations: the delay alone says when, the bound alone who is refused, the deadline who fails."""
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=delay_s, max_queue_cells=queue_cells)
    ticket = batcher.submit(FakeWorkload(1, "a"), key="m", deadline_s=deadline_s)
    if queue_cells == 10:
        with pytest.raises(ServiceError) as refused:
            batcher.submit(FakeWorkload(10, "b"), key="m")
        assert refused.value.kind is ErrorKind.OVERLOADED
    if delay_s == 0:
        assert parts(batcher.poll()) == [("a", 0, 1)]
        return
    assert batcher.poll() == 0.5
    clock.advance(0.25)
    if deadline_s is not None:
        assert batcher.poll() is None
        assert kind_of(ticket) is ErrorKind.DEADLINE
        return
    assert batcher.poll() == 0.25
    clock.advance(0.25)
    assert parts(batcher.poll()) == [("a", 0, 1)]


async def test_idle_batcher_waits_without_a_timer():
    """Idle costs nothing: one wait without a timeout, ended by the arrival itself."""
    clock = FakeClock()
    batcher = make_batcher(clock=clock)
    with thread_running(batcher.take) as taken:
        assert clock.next_wait() is None
        batcher.submit(FakeWorkload(1, "a"), key="m")
        assert parts(taken.get(timeout=20)) == [("a", 0, 1)]
    assert clock.condition.waits.empty()


async def test_delayed_batcher_waits_once_and_exactly_as_long_as_it_must():
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=0.5)
    with thread_running(batcher.take) as taken:
        assert clock.next_wait() is None
        batcher.submit(FakeWorkload(1, "a"), key="m")
        assert clock.next_wait() == 0.5
        n_woken = clock.condition.n_notified
        batcher.submit(FakeWorkload(1, "b"), key="m")
        assert clock.condition.n_notified == n_woken, "it makes nothing due, and must wake nobody"
        clock.advance(0.125)
        assert clock.next_wait() == 0.375
        clock.advance(0.375)
        assert [tag for tag, _, _ in parts(taken.get(timeout=20))] == ["a", "b"]
    assert clock.condition.waits.empty()


async def test_waiting_taker_is_woken_by_the_arrival_that_fills_the_batch():
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_delay_s=60.0, max_batch_cells=2)
    with thread_running(batcher.take) as taken:
        assert clock.next_wait() is None
        batcher.submit(FakeWorkload(1, "a"), key="m")
        assert clock.next_wait() == 60.0
        batcher.submit(FakeWorkload(1, "b"), key="m")
        assert [tag for tag, _, _ in parts(taken.get(timeout=20))] == ["a", "b"]


async def test_waiting_taker_answers_the_expired_before_it_waits_again():
    clock = FakeClock(now=0.0)
    loop, answered = asyncio.get_running_loop(), asyncio.Event()
    batcher = make_batcher(clock=clock, post=loop.call_soon_threadsafe, max_delay_s=1.0)
    ticket = batcher.submit(FakeWorkload(1), key="m", deadline_s=0.5)
    ticket.future.add_done_callback(lambda _: answered.set())
    with thread_running(batcher.take) as taken:
        assert clock.next_wait() == 1.0
        clock.advance(0.5)
        assert clock.next_wait() is None
        await asyncio.wait_for(answered.wait(), 20)
        assert kind_of(ticket) is ErrorKind.DEADLINE
        batcher.close()
        assert taken.get(timeout=20) is None


async def test_the_worker_is_woken_at_the_end_of_the_turn_and_finds_all_of_it():
    turn = []
    batcher = make_batcher(soon=turn.append)
    with thread_running(batcher.take) as taken:
        for tag in range(3):
            batcher.submit(FakeWorkload(1, tag), key="m")
        assert len(turn) == 1
        turn[0]()
        assert [tag for tag, _, _ in parts(taken.get(timeout=PATIENCE_S))] == [0, 1, 2]
    batcher.submit(FakeWorkload(1, 3), key="m")
    assert len(turn) == 2


@pytest.mark.parametrize("end", ["finish", "fail", "abort"])
async def test_the_end_of_a_batch_is_told_once_its_callers_have_their_answers(end):
    told = []
    batcher = make_batcher()
    batcher.tell_batch_ends(lambda: told.append(ticket.future.done()))
    assert batcher.is_idle
    ticket = batcher.submit(FakeWorkload(1, "a"), key="m")
    assert batcher.is_idle, "nothing runs yet"
    batch = batcher.poll()
    assert not batcher.is_idle
    error = ServiceError(ErrorKind.INTERNAL, "no")
    ends = {
        "finish": lambda: batcher.finish(batch, ["x"]),
        "fail": lambda: batcher.fail(batch, error),
        "abort": lambda: batcher.abort(error),
    }
    ends[end]()
    assert batcher.is_idle
    assert told == [True]


async def test_the_end_of_a_batch_is_told_where_nobody_waits_for_it_any_more():
    told = []
    batcher = make_batcher()
    batcher.tell_batch_ends(lambda: told.append(1))
    ticket = batcher.submit(FakeWorkload(1, "a"), key="m")
    batch = batcher.poll()
    ticket.cancel()
    batcher.finish(batch, ["x"])
    assert told == [1]
