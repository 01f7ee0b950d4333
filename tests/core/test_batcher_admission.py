"""Who is refused, who is too late, and how the batcher ends."""

import weakref

import pytest

from service.core.errors import ErrorKind, ServiceError
from service.core.priority import Priority
from tests.fakes import FakeClock, FakeWorkload, RecordingRecorder, make_batcher, parts

BULK, INTERACTIVE = Priority.BULK, Priority.INTERACTIVE


def refusal(batcher, item=None, **submit):
    with pytest.raises(ServiceError) as refused:
        batcher.submit(FakeWorkload(1) if item is None else item, key="m", **submit)
    return refused.value


async def test_full_queue_refuses_at_once_in_cells_and_bytes():
    """Bounded in cells and bytes, refused at once with Retry-After; what is refused leaves no trace."""
    recorder = RecordingRecorder()
    batcher = make_batcher(recorder=recorder, max_queue_cells=10, max_queue_bytes=100)
    batcher.submit(FakeWorkload(6, nbytes=60), key="m")
    for item in (FakeWorkload(5, nbytes=1), FakeWorkload(1, nbytes=41)):
        error = refusal(batcher, item)
        assert error.kind is ErrorKind.OVERLOADED
        assert error.retry_after_s == 1.0
    batcher.submit(FakeWorkload(4, nbytes=40), key="m")
    assert recorder.queue == [(6, 60), (10, 100)]


async def test_how_full_it_is_by_the_fuller_bound():
    batcher = make_batcher(max_queue_cells=10, max_queue_bytes=100)

    def fill():
        return batcher.fill(INTERACTIVE), batcher.fill(BULK)

    assert fill() == (0.0, 0.0)
    batcher.submit(FakeWorkload(2, nbytes=10), key="m")
    assert fill() == (0.2, 0.0)
    with batcher.reserve(3, 60, INTERACTIVE):
        assert fill() == (0.7, 0.0), "of the bytes"
    batcher.submit(FakeWorkload(9, nbytes=1), key="m", priority=BULK)
    assert fill() == (0.2, 0.9)
    batcher.submit(FakeWorkload(1, nbytes=1), key="m", priority=BULK)
    assert fill() == (0.2, 1.0)
    assert refusal(batcher, priority=BULK).kind is ErrorKind.OVERLOADED
    batcher.submit(FakeWorkload(1), key="m")
    while (batch := batcher.poll()) is not None:
        batcher.finish(batch, parts(batch))
    assert fill() == (0.0, 0.0)
    batcher.submit(FakeWorkload(300), key="m")
    assert fill() == (1.0, 0.0), "a lone request may be larger than the queue"


async def test_how_long_the_oldest_has_waited():
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_batch_cells=2)
    assert batcher.oldest_age_s == 0.0
    bulk = batcher.submit(FakeWorkload(1), key="m", priority=BULK)
    clock.advance(2.0)
    batcher.submit(FakeWorkload(5), key="n")
    clock.advance(1.0)
    assert batcher.oldest_age_s == 3.0
    bulk.cancel()
    assert batcher.oldest_age_s == 1.0
    assert batcher.poll().n_cells == 2
    assert batcher.oldest_age_s == 1.0, "until its last cells are taken"
    while batcher.poll() is not None:
        pass
    assert batcher.oldest_age_s == 0.0


async def test_cells_that_leave_uncomputed_are_counted():
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_batch_cells=2)
    batcher.submit(FakeWorkload(3), key="m", deadline_s=clock() + 1.0)
    leaver = batcher.submit(FakeWorkload(4), key="m")
    assert batcher.poll().n_cells == 2, "one of each"
    assert batcher.n_dropped_cells == 0
    leaver.cancel()
    assert batcher.n_dropped_cells == 3
    clock.advance(2.0)
    assert batcher.poll() is None
    assert batcher.n_dropped_cells == 5


async def test_empty_queue_takes_any_size():
    """An allowed size is never refused for ever, even above the bound of the queue."""
    batcher = make_batcher(max_queue_cells=10, max_queue_bytes=10)
    ticket = batcher.submit(FakeWorkload(300, "huge"), key="m")
    assert refusal(batcher).kind is ErrorKind.OVERLOADED
    while (batch := batcher.poll()) is not None:
        batcher.finish(batch, parts(batch))
    assert ticket.future.result() == [("huge", 0, 256), ("huge", 256, 300)]
    batcher.submit(FakeWorkload(300), key="m")


async def test_running_cells_take_no_queue_room():
    batcher = make_batcher(max_queue_cells=10)
    batcher.submit(FakeWorkload(10), key="m")
    batcher.poll()
    batcher.submit(FakeWorkload(10), key="m")
    assert refusal(batcher).kind is ErrorKind.OVERLOADED


async def test_a_reserved_place_counts_until_it_is_taken_or_given_back():
    recorder = RecordingRecorder()
    batcher = make_batcher(recorder=recorder, max_queue_cells=10, max_queue_bytes=100)
    with batcher.reserve(6, 60, INTERACTIVE) as taken, batcher.reserve(4, 40, INTERACTIVE):
        assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (10, 100)
        assert refusal(batcher).kind is ErrorKind.OVERLOADED
        with pytest.raises(ServiceError) as refused:
            batcher.reserve(1, 0, INTERACTIVE)
        assert refused.value.kind is ErrorKind.OVERLOADED and refused.value.retry_after_s
        with batcher.reserve(10, 100, BULK):
            pass
        batcher.submit(FakeWorkload(6, "made", nbytes=50), key="m", place=taken)
        assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (10, 90)
        assert parts(batcher.poll()) == [("made", 0, 6)], "what is reserved is not computed"
        assert batcher.poll() is None
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (0, 0) == recorder.queue[-1]


async def test_places_of_others_do_not_shut_the_largest_out_and_it_has_its_own():
    """Only what waits does; or one above the bound would be refused for ever beside a stream of small ones."""
    batcher = make_batcher(max_queue_cells=10, max_queue_bytes=100)
    with batcher.reserve(1, 1, INTERACTIVE) as small, batcher.reserve(10, 10, INTERACTIVE) as large:
        for n_cells in (1, 10):
            with pytest.raises(ServiceError) as refused:
                batcher.reserve(n_cells, 1, INTERACTIVE)
            assert refused.value.kind is ErrorKind.OVERLOADED
        batcher.submit(FakeWorkload(1, "small"), key="m", place=small)
        batcher.submit(FakeWorkload(10, "large"), key="m", place=large)
    assert parts(batcher.poll()) == [("small", 0, 1), ("large", 0, 10)]
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (0, 0)


async def test_an_item_larger_than_its_place_is_refused_and_leaves_nothing():
    batcher = make_batcher(max_queue_cells=10, max_queue_bytes=100)
    batcher.submit(FakeWorkload(1, nbytes=60), key="m")
    with batcher.reserve(2, 10, INTERACTIVE) as place:
        assert refusal(batcher, FakeWorkload(2, nbytes=41), place=place).kind is ErrorKind.OVERLOADED
        assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (1, 60)


async def test_a_worker_is_woken_though_others_have_reserved_places():
    turn = []
    batcher = make_batcher(soon=turn.append)
    with batcher.reserve(1, 1, INTERACTIVE):
        batcher.submit(FakeWorkload(1), key="m")
        assert len(turn) == 1


async def test_no_place_is_reserved_once_it_is_closed():
    batcher = make_batcher()
    batcher.close()
    with pytest.raises(ServiceError) as refused:
        batcher.reserve(1, 1, INTERACTIVE)
    assert refused.value.kind is ErrorKind.UNAVAILABLE


@pytest.mark.parametrize(
    ("seconds_per_batch", "expected_s"), [(1.0, 5.0), (0.001, 0.1), (3600.0, 60.0), (0.0, 1.0)], ids=str
)
async def test_retry_after_is_the_time_the_queue_takes_at_its_measured_speed(seconds_per_batch, expected_s):
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_batch_cells=10, max_queue_cells=50)
    for _ in range(3):
        batcher.submit(FakeWorkload(10), key="m")
        batch = batcher.poll()
        clock.advance(seconds_per_batch)
        batcher.finish(batch, parts(batch))
    batcher.submit(FakeWorkload(50), key="m")
    assert refusal(batcher).retry_after_s == pytest.approx(expected_s)


async def test_measured_speed_follows_recent_full_batches_and_not_lone_cells():
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_batch_cells=100, max_queue_cells=1000)
    for n_cells in [1] * 20 + [100] * 20:
        batcher.submit(FakeWorkload(n_cells), key="m")
        batch = batcher.poll()
        clock.advance(1.0)
        batcher.finish(batch, parts(batch))
    batcher.submit(FakeWorkload(1000), key="m")
    assert refusal(batcher).retry_after_s == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize(("timeout_s", "computed"), [(None, True), (0.001, True), (0.0, False), (-1.0, False)], ids=str)
async def test_deadline_of_1_ms_0_past_and_absent(timeout_s, computed):
    clock = FakeClock()
    batcher = make_batcher(clock=clock)
    deadline_s = None if timeout_s is None else clock() + timeout_s
    if computed:
        batcher.submit(FakeWorkload(1, "a"), key="m", deadline_s=deadline_s)
        assert parts(batcher.poll()) == [("a", 0, 1)]
    else:
        error = refusal(batcher, deadline_s=deadline_s)
        assert error.kind is ErrorKind.DEADLINE
        assert "the cells were not computed" in error.detail
        assert batcher.poll() is None


async def test_expired_work_is_dropped_before_compute_wherever_it_waits():
    """A slow server stays a server: expired work costs no compute, and gives its room back."""
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_batch_cells=2, max_queue_cells=6)
    deadlines = [1.0, 5.0, 1.0, None, 0.5, 5.0]
    tickets = [
        batcher.submit(FakeWorkload(1, tag), key="m", deadline_s=None if t is None else clock() + t)
        for tag, t in enumerate(deadlines)
    ]
    clock.advance(1.0)
    assert [tag for tag, _, _ in parts(batcher.poll())] == [1, 3]
    late = [tag for tag, ticket in enumerate(tickets) if ticket.future.done()]
    assert late == [0, 2, 4]
    assert {tickets[tag].future.exception().kind for tag in late} == {ErrorKind.DEADLINE}
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes) == (1, 1)
    clock.advance(4.0)
    assert batcher.poll() is None
    assert tickets[5].future.exception().kind is ErrorKind.DEADLINE


async def test_rest_of_an_expired_request_is_dropped_and_its_running_slice_ignored():
    clock = FakeClock()
    batcher = make_batcher(clock=clock, max_batch_cells=4)
    ticket = batcher.submit(FakeWorkload(10), key="m", deadline_s=clock() + 1.0)
    batch = batcher.poll()
    clock.advance(1.0)
    assert batcher.poll() is None
    assert ticket.future.exception().kind is ErrorKind.DEADLINE
    batcher.finish(batch, parts(batch))
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes, batcher.n_running_cells) == (0, 0, 0)


async def test_deadline_that_passes_while_all_cells_run_leaves_the_answer():
    clock = FakeClock()
    batcher = make_batcher(clock=clock)
    ticket = batcher.submit(FakeWorkload(1, "a"), key="m", deadline_s=clock() + 1.0)
    batch = batcher.poll()
    clock.advance(2.0)
    assert batcher.poll() is None
    batcher.finish(batch, parts(batch))
    assert ticket.future.result() == [("a", 0, 1)]


async def test_all_of_a_queue_may_expire():
    clock = FakeClock()
    batcher = make_batcher(clock=clock)
    tickets = [batcher.submit(FakeWorkload(3), key=key, deadline_s=clock() + 1.0) for key in "abc"]
    clock.advance(1.0)
    assert batcher.poll() is None
    assert [ticket.future.exception().kind for ticket in tickets] == [ErrorKind.DEADLINE] * 3
    batcher.submit(FakeWorkload(1, "good"), key="a")
    assert parts(batcher.poll()) == [("good", 0, 1)]


async def test_deadlines_of_the_answered_do_not_pile_up():
    """Thousands of calls a second with a deadline half a minute away."""

    class Deadline(float):
        pass

    batcher = make_batcher()
    deadlines = []
    for tag in range(5000):
        deadline_s = Deadline(1_000_000.0 + tag)
        deadlines.append(weakref.ref(deadline_s))
        ticket = batcher.submit(FakeWorkload(1, tag), key="m", deadline_s=deadline_s)
        batch = batcher.poll()
        batcher.finish(batch, parts(batch))
        assert ticket.future.done()
    assert sum(deadline() is not None for deadline in deadlines) < 1100


async def test_closed_batcher_refuses_new_work_and_finishes_the_queue_without_delay():
    batcher = make_batcher(max_batch_cells=4, max_delay_s=60.0)
    ticket = batcher.submit(FakeWorkload(3, "a"), key="m")
    batcher.close()
    batcher.close()
    error = refusal(batcher)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert error.retry_after_s == 1.0
    batch = batcher.take()
    batcher.finish(batch, parts(batch))
    assert ticket.future.result() == [("a", 0, 3)]
    assert batcher.take() is None
    assert batcher.take() is None


async def test_abort_fails_all_that_has_no_answer_and_the_running_batch_may_still_come_back():
    recorder = RecordingRecorder()
    batcher = make_batcher(recorder=recorder, max_batch_cells=4)
    tickets = [batcher.submit(FakeWorkload(n), key=key) for n, key in [(10, "a"), (1, "a"), (1, "b")]]
    finished, failed = batcher.poll(), batcher.poll()
    batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, "the encoder has stopped"))
    assert [ticket.future.exception().kind for ticket in tickets] == [ErrorKind.UNAVAILABLE] * 3
    batcher.finish(finished, parts(finished))
    batcher.fail(failed, ServiceError(ErrorKind.INTERNAL, "late"))
    batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, "the encoder has stopped"))
    batcher.close()
    assert refusal(batcher).detail == "the encoder has stopped"
    assert batcher.take() is None
    assert (batcher.n_waiting_cells, batcher.n_waiting_bytes, batcher.n_running_cells) == (0, 0, 0)
    assert recorder.queue[-1] == (0, 0)


async def test_each_refused_caller_gets_an_exception_of_its_own():
    batcher = make_batcher()
    batcher.close()
    assert refusal(batcher) is not refusal(batcher)
