"""Callers that leave: at once for the queue, unnoticed by everyone else."""

import asyncio
import gc

import pytest

from service.core.errors import ErrorKind, ServiceError
from tests.fakes import FakeWorkload, RecordingRecorder, make_batcher, parts

N = 5


def left_nothing_behind(batcher):
    return (batcher.n_waiting_cells, batcher.n_waiting_bytes, batcher.n_running_cells) == (0, 0, 0)


@pytest.mark.parametrize("position", range(N))
@pytest.mark.parametrize("moment", ["before", "during", "after"])
async def test_one_of_a_batch_leaves_and_the_others_get_their_own_answers(position, moment, caplog):
    """Each position of a batch of n, before, during and after the run (after: computed, but not yet delivered)."""
    posts = []
    batcher = make_batcher(post=posts.append)
    tickets = [batcher.submit(FakeWorkload(2, tag), key="m") for tag in range(N)]
    if moment == "before":
        tickets[position].cancel()
        assert batcher.n_waiting_cells == 2 * (N - 1)
    batch = batcher.poll()
    assert batch.n_cells == (2 * (N - 1) if moment == "before" else 2 * N)
    if moment == "during":
        tickets[position].cancel()
    batcher.finish(batch, parts(batch))
    if moment == "after":
        tickets[position].cancel()
    for post in posts:
        post()
    assert tickets[position].future.cancelled()
    for tag, ticket in enumerate(tickets):
        if tag != position:
            assert ticket.future.result() == [(tag, 0, 2)]
    assert left_nothing_behind(batcher)
    assert caplog.text == ""


@pytest.mark.parametrize("leavers", [{0, 2}, {1, 2, 3}, set(range(N))], ids=["2 of 5", "3 of 5", "all"])
@pytest.mark.parametrize("moment", ["before", "during"])
async def test_k_of_n_and_all_of_a_batch_leave(leavers, moment):
    batcher = make_batcher()
    tickets = [batcher.submit(FakeWorkload(1, tag), key="m") for tag in range(N)]
    batch = batcher.poll() if moment == "during" else None
    for tag in leavers:
        tickets[tag].cancel()
    if moment == "before":
        batch = batcher.poll()
        assert batch is None or {tag for tag, _, _ in parts(batch)} == set(range(N)) - leavers
    if batch is not None:
        batcher.finish(batch, parts(batch))
    assert {tag for tag in range(N) if tickets[tag].future.cancelled()} == leavers
    assert all(tickets[tag].future.result() == [(tag, 0, 1)] for tag in set(range(N)) - leavers)
    assert left_nothing_behind(batcher)
    good = batcher.submit(FakeWorkload(1, "good"), key="m")
    batch = batcher.poll()
    batcher.finish(batch, parts(batch))
    assert good.future.result() == [("good", 0, 1)]


async def test_cancelled_caller_of_a_failing_batch_is_skipped():
    batcher = make_batcher()
    tickets = [batcher.submit(FakeWorkload(1), key="m") for _ in range(3)]
    batch = batcher.poll()
    tickets[1].cancel()
    batcher.fail(batch, ServiceError(ErrorKind.INTERNAL, "broken"))
    assert tickets[1].future.cancelled()
    assert [tickets[i].future.exception().kind for i in (0, 2)] == [ErrorKind.INTERNAL] * 2


async def test_large_request_that_leaves_gives_its_room_back_at_once():
    batcher = make_batcher(max_batch_cells=8, max_queue_cells=100)
    large = batcher.submit(FakeWorkload(100, "large"), key="m")
    batch = batcher.poll()
    with pytest.raises(ServiceError):
        batcher.submit(FakeWorkload(50), key="m")
    large.cancel()
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (0, 0)
    batcher.submit(FakeWorkload(50, "next"), key="m")
    batcher.finish(batch, parts(batch))
    assert parts(batcher.poll()) == [("next", 0, 8)]


async def test_task_that_is_cancelled_while_it_waits_withdraws_its_cells_on_the_spot():
    """What an abandoned call looks like from here: the awaiting task is cancelled."""
    batcher = make_batcher()
    ticket = batcher.submit(FakeWorkload(3), key="m")

    async def caller():
        return await ticket.future

    task = asyncio.create_task(caller())
    await asyncio.sleep(0)
    task.cancel()
    assert batcher.n_waiting_cells == 0
    with pytest.raises(asyncio.CancelledError):
        await task
    assert batcher.poll() is None


async def test_cancelling_twice_or_after_the_answer_changes_nothing():
    batcher = make_batcher()
    ticket = batcher.submit(FakeWorkload(1, "a"), key="m")
    batch = batcher.poll()
    batcher.finish(batch, parts(batch))
    ticket.cancel()
    assert ticket.future.result() == [("a", 0, 1)]
    other = batcher.submit(FakeWorkload(1), key="m")
    other.cancel()
    other.cancel()
    assert left_nothing_behind(batcher)


async def test_head_that_leaves_takes_its_delay_with_it():
    batcher = make_batcher(max_delay_s=1.0)
    head = batcher.submit(FakeWorkload(1), key="m")
    head.cancel()
    assert batcher.poll() is None
    batcher.submit(FakeWorkload(1), key="m")
    assert batcher.poll() == 1.0


async def test_storm_of_10000_leavers_is_one_step_each(caplog):
    """Withdrawn at once, one report each, no post, no wake, nothing left for the worker to sort out."""
    recorder, posts = RecordingRecorder(), []
    batcher = make_batcher(recorder=recorder, post=posts.append, max_batch_cells=8)
    running = batcher.submit(FakeWorkload(1, "running"), key="m")
    batch = batcher.poll()
    tickets = [batcher.submit(FakeWorkload(1 + 20 * (i % 2), i), key="m") for i in range(10_000)]
    recorder.queue.clear()
    for ticket in reversed(tickets):
        ticket.cancel()
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (0, 0)
    assert len(recorder.queue) == 10_000
    assert posts == []
    assert batcher.poll() is None
    batcher.finish(batch, parts(batch))
    posts.pop()()
    assert running.future.result() == [("running", 0, 1)]
    del tickets, ticket
    gc.collect()
    assert caplog.text == ""
