"""How the outputs of batches, and their failures, find the callers."""

import gc
import itertools

import pytest

from service.core.errors import ErrorKind, ServiceError
from tests.fakes import FakeClock, FakeWorkload, RecordingRecorder, make_batcher, parts


def kind_of(ticket):
    return ticket.future.exception().kind


async def test_outputs_of_slices_come_together_in_cell_order():
    batcher = make_batcher(max_batch_cells=4)
    ticket = batcher.submit(FakeWorkload(10, "large"), key="m")
    for _ in range(3):
        assert not ticket.future.done()
        batch = batcher.poll()
        batcher.finish(batch, parts(batch))
    assert ticket.future.result() == [("large", 0, 4), ("large", 4, 8), ("large", 8, 10)]


async def test_batches_may_finish_in_another_order_than_they_were_taken():
    batcher = make_batcher(max_batch_cells=4)
    ticket = batcher.submit(FakeWorkload(8, "large"), key="m")
    first, second = batcher.poll(), batcher.poll()
    batcher.finish(second, parts(second))
    assert not ticket.future.done()
    batcher.finish(first, parts(first))
    assert ticket.future.result() == [("large", 0, 4), ("large", 4, 8)]


async def test_64_callers_of_many_sizes_each_get_their_own_cells():
    """Answers are never mixed or empty: marker rows from 64 callers."""
    batcher = make_batcher(max_batch_cells=16)
    sizes = [(0, 1, 2, 7, 33)[caller % 5] for caller in range(64)]
    tickets = [batcher.submit(FakeWorkload(n, tag), key="m") for tag, n in enumerate(sizes)]
    while (batch := batcher.poll()) is not None:
        batcher.finish(batch, [[(tag, cell) for cell in range(a, b)] for tag, a, b in parts(batch)])
    for tag, (n, ticket) in enumerate(zip(sizes, tickets, strict=True)):
        assert list(itertools.chain(*ticket.future.result())) == [(tag, cell) for cell in range(n)]


async def test_item_of_no_cells_is_answered_at_once_and_never_queues():
    recorder = RecordingRecorder()
    batcher = make_batcher(recorder=recorder, max_queue_cells=1)
    batcher.submit(FakeWorkload(1), key="m")
    assert batcher.submit(FakeWorkload(0), key="m").future.result() == []
    assert (batcher.n_waiting_cells, recorder.queue) == (1, [(1, 1)])


@pytest.mark.parametrize("wrong", [[], [1], [1, 2, 3]], ids=len)
async def test_wrong_number_of_outputs_fails_the_batch_as_internal(wrong):
    batcher = make_batcher(max_batch_cells=4)
    tickets = [batcher.submit(FakeWorkload(2, tag), key="m") for tag in "ab"]
    batcher.finish(batcher.poll(), wrong)
    assert [kind_of(ticket) for ticket in tickets] == [ErrorKind.INTERNAL] * 2
    assert (batcher.n_waiting_cells, batcher.n_running_cells) == (0, 0)


async def test_batch_is_answered_with_one_post():
    posts = []
    batcher = make_batcher(post=posts.append)
    tickets = [batcher.submit(FakeWorkload(1, tag), key="m") for tag in range(64)]
    batch = batcher.poll()
    batcher.finish(batch, parts(batch))
    assert len(posts) == 1
    assert not any(ticket.future.done() for ticket in tickets)
    posts[0]()
    assert [ticket.future.result() for ticket in tickets] == [[(tag, 0, 1)] for tag in range(64)]


async def test_answer_that_cannot_be_delivered_costs_nobody_else_theirs(caplog):
    batcher = make_batcher()
    tickets = [batcher.submit(FakeWorkload(1, tag), key="m") for tag in range(3)]

    def refuse(_):
        raise RuntimeError("broken future")

    tickets[1].future.set_result = refuse
    batch = batcher.poll()
    batcher.finish(batch, parts(batch))
    assert [tickets[tag].future.result() for tag in (0, 2)] == [[(0, 0, 1)], [(2, 0, 1)]]
    assert "could not be delivered" in caplog.text


async def test_failed_batch_fails_its_items_and_the_cells_of_them_that_still_wait():
    batcher = make_batcher(max_batch_cells=4)
    large = batcher.submit(FakeWorkload(100, "large"), key="m")
    batch = batcher.poll()
    bystander = batcher.submit(FakeWorkload(1, "small"), key="m")
    batcher.fail(batch, ServiceError(ErrorKind.INTERNAL, "broken"))
    assert kind_of(large) is ErrorKind.INTERNAL
    assert parts(batcher.poll()) == [("small", 0, 1)]
    assert not bystander.future.done()


async def test_each_caller_gets_an_exception_of_its_own():
    batcher = make_batcher()
    tickets = [batcher.submit(FakeWorkload(1), key="m") for _ in range(2)]
    error = ServiceError(ErrorKind.INVALID, "bad", field="f", index=3, counts={"n": 1}, retry_after_s=2.0)
    batcher.fail(batcher.poll(), error)
    received = [ticket.future.exception() for ticket in tickets]
    assert received[0] is not received[1]
    for own in received:
        assert own is not error
        assert vars(own) == vars(error)


async def test_any_other_exception_reaches_callers_as_internal_without_its_text():
    batcher = make_batcher()
    ticket = batcher.submit(FakeWorkload(1), key="m")
    batcher.fail(batcher.poll(), StopIteration("/secret/path"))
    assert kind_of(ticket) is ErrorKind.INTERNAL
    assert "secret" not in str(ticket.future.exception())


async def test_error_nobody_reads_makes_no_noise(caplog):
    batcher = make_batcher()
    ticket = batcher.submit(FakeWorkload(1), key="m")
    batcher.fail(batcher.poll(), ServiceError(ErrorKind.INTERNAL, "broken"))
    del ticket
    gc.collect()
    assert caplog.text == ""


async def test_batch_is_settled_once():
    batcher = make_batcher()
    ticket = batcher.submit(FakeWorkload(1, "a"), key="m")
    batch = batcher.poll()
    batcher.finish(batch, parts(batch))
    batcher.finish(batch, ["again"])
    batcher.fail(batch, ServiceError(ErrorKind.INTERNAL, "too late"))
    assert ticket.future.result() == [("a", 0, 1)]
    assert batcher.n_running_cells == 0


async def test_answers_on_a_closed_loop_are_let_go(caplog):
    def closed(_):
        raise RuntimeError("Event loop is closed")

    batcher = make_batcher(post=closed)
    batcher.submit(FakeWorkload(1), key="m")
    batcher.finish(batcher.poll(), ["answer"])
    assert "nobody reads 1 answers" in caplog.text
    assert batcher.n_running_cells == 0


async def test_ticket_tells_queue_and_compute_seconds():
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_batch_cells=4)
    ticket = batcher.submit(FakeWorkload(6), key="m")
    clock.advance(1.0)
    for seconds in (2.0, 4.0):
        batch = batcher.poll()
        clock.advance(seconds)
        batcher.finish(batch, parts(batch))
        clock.advance(8.0)
    assert (ticket.queue_s, ticket.compute_s) == (1.0, 6.0)


async def test_recorder_follows_the_queue():
    recorder = RecordingRecorder()
    batcher = make_batcher(recorder=recorder, max_batch_cells=4)
    large = batcher.submit(FakeWorkload(9, nbytes=90), key="m")
    batcher.submit(FakeWorkload(1, nbytes=10), key="m")
    batch = batcher.poll()
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes, batcher.n_running_cells) == (6, 90, 4)
    large.cancel()
    batcher.finish(batch, parts(batch))
    assert recorder.queue == [(9, 90), (10, 100), (6, 90), (0, 0)]
    assert batcher.n_running_cells == 0
