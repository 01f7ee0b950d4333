"""Interactive before bulk, and neither starved: at the gate (`Room`) and for the worker (`Turns`)."""

import itertools

import pytest

from service.core.errors import ErrorKind, ServiceError
from service.core.priority import Priority, read_priority
from tests.fakes import FakeClock, FakeWorkload, make_batcher, parts

INTERACTIVE, BULK = Priority.INTERACTIVE, Priority.BULK


def tags(batch):
    return [tag for tag, _, _ in parts(batch)]


def submit(batcher, tag, n_cells=1, priority=INTERACTIVE, key="m", **facts):
    return batcher.submit(FakeWorkload(n_cells, tag, **facts), key=key, priority=priority)


@pytest.mark.parametrize(
    ("text", "found"), [("interactive", INTERACTIVE), ("bulk", BULK), (None, INTERACTIVE)], ids=str
)
def test_words(text, found):
    assert read_priority(text, "X-Request-Priority") is found


def test_default_is_the_transports():
    assert read_priority(None, "x-request-priority", BULK) is BULK


@pytest.mark.parametrize("text", ["", "Bulk", "urgent", "bulk,interactive", b"bulk"], ids=repr)
def test_another_word_is_malformed(text):
    with pytest.raises(ServiceError, match="X-Request-Priority must be interactive or bulk") as refused:
        read_priority(text, "X-Request-Priority")
    assert refused.value.kind is ErrorKind.MALFORMED


async def test_interactive_goes_first_and_no_batch_holds_both():
    batcher = make_batcher(max_batch_cells=4)
    for tag in "abc":
        submit(batcher, tag, priority=BULK)
    for tag in "de":
        submit(batcher, tag)
    assert [tags(batcher.poll()) for _ in range(2)] == [["d", "e"], ["a", "b", "c"]]
    assert batcher.poll() is None


@pytest.mark.parametrize("keys", ["mm", "mn"], ids=["one model", "two models"])
async def test_each_fourth_batch_is_bulk_while_both_wait(keys):
    """The rule against starvation: interactive callers that never stop leave bulk one batch in four."""
    batcher = make_batcher(max_batch_cells=4)
    submit(batcher, "bulk", 40, BULK, keys[1])
    names = itertools.count()
    taken = []
    for _ in range(16):
        while batcher.n_waiting_cells < 100:
            submit(batcher, next(names), 4, key=keys[0])
        batch = batcher.poll()
        taken.append("b" if "bulk" in tags(batch) else "i")
        batcher.finish(batch, parts(batch))
    assert "".join(taken) == "iiib" * 4


async def test_count_begins_when_bulk_does():
    """Batches before bulk came give it no claim, and what it leaves unused is not saved up."""
    batcher = make_batcher(max_batch_cells=1)
    for tag in range(30):
        submit(batcher, tag)
    for _ in range(10):
        batcher.poll()
    left = submit(batcher, "left", priority=BULK)
    assert [tags(batcher.poll()) for _ in range(3)] == [[10], [11], [12]]
    left.cancel()
    assert tags(batcher.poll()) == [13]
    submit(batcher, "bulk", priority=BULK)
    assert [tags(batcher.poll())[0] for _ in range(5)] == [14, 15, 16, "bulk", 17]


async def test_interactive_call_waits_for_one_bulk_batch_beside_the_running_one():
    batcher = make_batcher(max_batch_cells=8)
    bulk = submit(batcher, "bulk", 1000, BULK)
    most = 0
    for tag in range(20):
        running = batcher.poll()
        small = submit(batcher, tag)
        n_batches = 0
        while not small.future.done():
            batcher.finish(running, parts(running))
            n_batches += 1
            running = batcher.poll()
        most = max(most, n_batches)
        batcher.finish(running, parts(running))
    assert most <= 3
    assert not bulk.future.done()


async def test_bulk_that_is_alone_has_every_batch():
    batcher = make_batcher(max_batch_cells=4)
    for tag in "ab":
        submit(batcher, tag, 8, BULK)
    assert [sorted(set(tags(batcher.poll()))) for _ in range(4)] == [["a", "b"]] * 4


async def test_delay_holds_for_both_and_what_is_due_is_not_held_up():
    clock = FakeClock(now=0.0)
    batcher = make_batcher(clock=clock, max_delay_s=1.0)
    submit(batcher, "bulk", priority=BULK)
    assert batcher.poll() == 1.0
    clock.advance(0.5)
    submit(batcher, "late")
    assert batcher.poll() == 0.5
    clock.advance(0.5)
    assert tags(batcher.poll()) == ["bulk"]
    assert batcher.poll() == 0.5
    submit(batcher, "bulk again", priority=BULK)
    clock.advance(0.5)
    assert tags(batcher.poll()) == ["late"]
    assert batcher.poll() == 0.5


async def test_closed_batcher_finishes_both():
    batcher = make_batcher(max_delay_s=60.0)
    submit(batcher, "bulk", priority=BULK)
    submit(batcher, "small")
    batcher.close()
    assert [tags(batcher.take()) for _ in range(2)] == [["small"], ["bulk"]]
    assert batcher.take() is None


def is_full(batcher, n_cells, priority, **facts):
    """Whether a request would be refused; it leaves at once."""
    try:
        submit(batcher, "?", n_cells, priority, **facts).cancel()
    except ServiceError as error:
        assert error.kind is ErrorKind.OVERLOADED
        assert error.retry_after_s > 0
        return True
    return False


@pytest.mark.parametrize(("full", "other"), [(INTERACTIVE, BULK), (BULK, INTERACTIVE)])
async def test_neither_shuts_the_other_out_at_the_gate(full, other):
    """Each has the bounds of the queue for itself, in cells and in bytes."""
    batcher = make_batcher(max_queue_cells=100, max_queue_bytes=1000)
    submit(batcher, "a", 90, full, nbytes=900)
    assert is_full(batcher, 11, full)
    assert is_full(batcher, 1, full, nbytes=101)
    assert not is_full(batcher, 10, full, nbytes=100)
    submit(batcher, "b", 500, other)
    assert is_full(batcher, 1, other)
    assert not is_full(batcher, 10, full, nbytes=100)


@pytest.mark.parametrize(
    ("n_interactive", "n_bulk", "priority", "expected_s"),
    [
        (40, 0, INTERACTIVE, 4.0),
        (0, 40, BULK, 4.0),
        (40, 5, INTERACTIVE, 4.5),
        (30, 40, INTERACTIVE, 4.0),
        (5, 40, BULK, 4.5),
        (40, 10, BULK, 4.0),
    ],
)
async def test_time_to_come_again_is_that_of_ones_own_queue(n_interactive, n_bulk, priority, expected_s):
    """Ten cells a second, of which the other priority has its turns."""
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_queue_cells=50)
    for tag in range(3):
        submit(batcher, tag, 10)
        batch = batcher.poll()
        clock.advance(1.0)
        batcher.finish(batch, parts(batch))
    for some, n_cells in ((INTERACTIVE, n_interactive), (BULK, n_bulk)):
        if n_cells:
            submit(batcher, some, n_cells, some)
    with pytest.raises(ServiceError) as refused:
        submit(batcher, "late", 51, priority)
    assert refused.value.retry_after_s == pytest.approx(expected_s)
    assert f"({n_bulk if priority is BULK else n_interactive} cells wait)" in refused.value.detail


async def test_room_is_given_back():
    batcher = make_batcher(max_queue_cells=10)
    for priority in (BULK, INTERACTIVE, BULK):
        tickets = [submit(batcher, tag, 3, priority) for tag in range(2)]
        assert is_full(batcher, 5, priority)
        tickets[0].cancel()
        batcher.fail(batcher.poll(), ServiceError(ErrorKind.INTERNAL, "broken"))
        assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (0, 0)


async def test_a_full_queue_is_told_before_there_is_an_item():
    batcher = make_batcher(max_queue_cells=4)
    batcher.refuse_if_full(Priority.INTERACTIVE)
    batcher.submit(FakeWorkload(3, "a"), key="m")
    batcher.refuse_if_full(Priority.INTERACTIVE)
    batcher.submit(FakeWorkload(1, "b"), key="m")
    with pytest.raises(ServiceError) as caught:
        batcher.refuse_if_full(Priority.INTERACTIVE)
    assert caught.value.kind is ErrorKind.OVERLOADED
    assert caught.value.retry_after_s is not None
    batcher.refuse_if_full(Priority.BULK)
