"""The thread that owns the device: what it survives, and what everyone learns when it does not."""

import asyncio
import threading
import weakref

import pytest

from model.contract import DeviceLost, OutOfDeviceMemory
from service.core.errors import ErrorKind, ServiceError
from service.core.worker import ComputeStuck, Worker
from tests.fakes import PATIENCE_S, FakeClock, FakeWorkload, GatedRun, RecordingRecorder, make_batcher, parts


class Bench:
    """A batcher and a worker on this test's loop; `deaths` is what `on_death` was told."""

    def __init__(self, run, **limits):
        self.clock = FakeClock()
        self.recorder = RecordingRecorder()
        post = asyncio.get_running_loop().call_soon_threadsafe
        self.batcher = make_batcher(clock=self.clock, post=post, recorder=self.recorder, **limits)
        self.deaths = []
        self.worker = Worker(
            self.batcher,
            run,
            on_death=self.deaths.append,
            recorder=self.recorder,
            name="w",
            clock=self.clock,
            stuck_after_s=60.0,
            condition=self.clock.watch,
        )

    def __enter__(self):
        self.worker.start()
        return self

    def __exit__(self, *_):
        self.batcher.close()
        assert self.worker.join(PATIENCE_S)
        assert not self.worker.alive
        assert (self.batcher.n_waiting_cells, self.batcher.n_running_cells) == (0, 0)

    def submit(self, tag, n_cells=1, **submit):
        return self.batcher.submit(FakeWorkload(n_cells, tag), key="m", **submit)


async def answer(ticket):
    return await asyncio.wait_for(ticket.future, PATIENCE_S)


async def error_of(ticket):
    with pytest.raises(ServiceError) as failed:
        await answer(ticket)
    return failed.value


class Staged:
    """A run in the stages of a real one; the one named breaks once, with `error`."""

    def __init__(self, broken, error):
        self.broken, self.error = broken, error

    def __call__(self, batch):
        merged = self._stage("merge", [cell for tag, a, b in parts(batch) for cell in range(a, b)])
        encoded = self._stage("encode", merged)
        return self._stage("split", parts(batch) if len(encoded) == batch.n_cells else [])

    def _stage(self, name, value):
        if name == self.broken:
            self.broken = None
            raise self.error
        return value


async def test_answers_come_back_to_the_loop():
    with Bench(parts) as bench:
        assert await answer(bench.submit("a", 3)) == [("a", 0, 3)]
        assert bench.worker.alive
        assert bench.recorder.batches == [(3, 0, 0.0)]
    assert bench.deaths == []


async def test_busy_worker_finds_a_full_batch_when_it_comes_back():
    run = GatedRun()
    with Bench(run, max_batch_cells=4) as bench:
        first = bench.submit("first")
        run.gate.wait_entered()
        rest = [bench.submit(tag) for tag in range(6)]
        run.gate.open()
        await asyncio.gather(*map(answer, [first, *rest]))
    assert [len(batch) for batch in run.batches] == [1, 4, 2]


async def test_64_callers_at_once_each_get_their_own_cells():
    with Bench(lambda batch: [[(tag, cell) for cell in range(a, b)] for tag, a, b in parts(batch)]) as bench:
        sizes = [(0, 1, 2, 7, 33)[caller % 5] for caller in range(64)]
        answers = await asyncio.gather(*(answer(bench.submit(tag, n)) for tag, n in enumerate(sizes)))
    for tag, (n, slices) in enumerate(zip(sizes, answers, strict=True)):
        assert [cell for piece in slices for cell in piece] == [(tag, cell) for cell in range(n)]


@pytest.mark.parametrize("stage", ["merge", "encode", "split"])
async def test_exception_at_any_stage_fails_its_batch_as_internal_and_the_next_one_is_good(stage, caplog):
    """The whole loop has an exception boundary: logged once, with its traceback, and nothing of it leaves."""
    with Bench(Staged(stage, ValueError("/secret/path"))) as bench:
        error = await error_of(bench.submit("bad"))
        assert error.kind is ErrorKind.INTERNAL
        assert "secret" not in str(error)
        assert await answer(bench.submit("good")) == [("good", 0, 1)]
    assert caplog.text.count("Traceback") == 1
    assert "/secret/path" in caplog.text
    assert bench.deaths == []


@pytest.mark.parametrize("outputs", [[], ["a", "b"], None, 7], ids=repr)
async def test_outputs_that_are_not_one_per_slice_fail_the_batch(outputs):
    """The finish stage: rows are counted before they are split among callers."""
    answers = iter([outputs, ["good"]])
    with Bench(lambda _: next(answers)) as bench:
        assert (await error_of(bench.submit("bad"))).kind is ErrorKind.INTERNAL
        assert await answer(bench.submit("good")) == ["good"]


async def test_service_error_reaches_the_callers_as_it_is(caplog):
    with Bench(Staged("encode", ServiceError(ErrorKind.INVALID, "no such label", field="batch", index=3))) as bench:
        error = await error_of(bench.submit("bad"))
        assert (error.kind, error.detail, error.field, error.index) == (ErrorKind.INVALID, "no such label", "batch", 3)
        assert await answer(bench.submit("good")) == [("good", 0, 1)]
    assert caplog.text == ""


async def test_failing_batch_of_a_large_request_ends_all_of_it():
    run = GatedRun()
    broken = Staged("merge", ValueError("broken"))

    def fail_once(batch):
        run(batch)
        return broken(batch)

    with Bench(fail_once, max_batch_cells=8) as bench:
        large = bench.submit("large", 1000)
        run.gate.wait_entered()
        small = bench.submit("small")
        run.gate.open()
        assert (await error_of(large)).kind is ErrorKind.INTERNAL
        assert await answer(small) == [("small", 0, 1)]
    assert run.batches == [[("large", 0, 8)], [("small", 0, 1)]]


async def test_leaver_is_no_fault_of_the_worker(caplog):
    """A cancelled caller is a normal outcome: nothing logged, nothing restarted, the batch-mates answered."""
    run = GatedRun()
    with Bench(run) as bench:
        first = bench.submit("first")
        run.gate.wait_entered()
        tickets = [bench.submit(tag) for tag in range(3)]
        first.cancel()
        run.gate.release()
        run.gate.wait_entered()
        tickets[1].cancel()
        run.gate.release()
        assert [await answer(tickets[i]) for i in (0, 2)] == [[(0, 0, 1)], [(2, 0, 1)]]
    assert caplog.text == ""
    assert bench.deaths == []


async def test_one_cell_call_while_100000_cells_are_encoded():
    run = GatedRun()
    with Bench(run, max_batch_cells=1024) as bench:
        large = bench.submit("large", 100_000)
        for _ in range(4):
            run.gate.wait_entered()
            run.gate.release()
        run.gate.wait_entered()
        small = bench.submit("small")
        run.gate.open()
        assert await answer(small) == [("small", 0, 1)]
        assert sum(stop - start for _, start, stop in await answer(large)) == 100_000
    assert max(sum(stop - start for _, start, stop in batch) for batch in run.batches) == 1024
    # Sent while the fifth batch ran.
    assert next(n for n, batch in enumerate(run.batches, start=1) if ("small", 0, 1) in batch) <= 5 + 2


async def test_callers_come_and_leave_while_the_worker_runs():
    """No gate here: threads meet as they will, and everyone who stays gets their own cells."""
    sizes = (1, 2, 40, 7, 500)

    async def caller(bench, name):
        for call in range(20):
            ticket = bench.submit((name, call), sizes[(name + call) % len(sizes)])
            if (name + call) % 3 == 0:
                await asyncio.sleep(0)
                ticket.cancel()
            try:
                pieces = await answer(ticket)
            except asyncio.CancelledError:
                continue
            assert {tag for tag, _, _ in pieces} == {(name, call)}
            assert sum(stop - start for _, start, stop in pieces) == sizes[(name + call) % len(sizes)]

    with Bench(parts, max_batch_cells=64) as bench:
        await asyncio.gather(*(caller(bench, name) for name in range(64)))
        assert (bench.batcher.n_waiting_cells, bench.batcher.n_waiting_bytes) == (0, 0)
    assert bench.deaths == []


async def test_closed_worker_finishes_the_queue_and_ends():
    run = GatedRun()
    with Bench(run, max_batch_cells=4) as bench:
        tickets = [bench.submit(tag, 2) for tag in range(5)]
        run.gate.wait_entered()
        bench.batcher.close()
        assert not bench.worker.join(0.0)
        run.gate.open()
        assert bench.worker.join(PATIENCE_S)
        assert await asyncio.gather(*map(answer, tickets)) == [[(tag, 0, 2)] for tag in range(5)]
    assert bench.deaths == []


async def test_lost_device_ends_everything_and_says_so(caplog):
    """No further inference is possible: a dead part fails its waiters and tells the one who flips health."""
    run, lost = GatedRun(), DeviceLost("CUDA error: unspecified launch failure")

    def lose_device(batch):
        run(batch)
        raise lost

    with Bench(lose_device, max_batch_cells=4) as bench:
        tickets = [bench.submit(tag, 3) for tag in range(5)]
        run.gate.wait_entered()
        run.gate.open()
        errors = [await error_of(ticket) for ticket in tickets]
        assert {error.kind for error in errors} == {ErrorKind.UNAVAILABLE}
        assert bench.worker.join(PATIENCE_S)
        with pytest.raises(ServiceError) as refused:
            bench.submit("later")
        assert refused.value.kind is ErrorKind.UNAVAILABLE
    assert bench.deaths == [lost]
    assert len(run.batches) == 1
    assert "unspecified launch failure" in caplog.text


class SmallDevice:
    """A run that has memory for so many cells, and keeps the sizes it was asked for."""

    def __init__(self, most_cells, error=None):
        self.most_cells = most_cells
        self.error = error or OutOfDeviceMemory("cuda:0 has too little memory left")
        self.asked = []

    def __call__(self, batch):
        self.asked.append(parts(batch))
        if batch.n_cells > self.most_cells:
            raise self.error
        return [[(tag, cell) for cell in range(a, b)] for tag, a, b in parts(batch)]


def cells_of(answers):
    return [cell for piece in answers for cell in piece]


@pytest.mark.parametrize("error", [OutOfDeviceMemory("cuda:0"), MemoryError()], ids=["device", "host"])
async def test_batch_that_does_not_fit_the_memory_is_tried_in_halves(error, caplog):
    """RELIABILITY 3: out of memory fails the batch, halves it and tries once more; nobody notices."""
    run = SmallDevice(4, error)
    with Bench(run, max_batch_cells=8) as bench:
        large = bench.submit("large", 8)
        assert cells_of(await answer(large)) == [("large", cell) for cell in range(8)]
        assert run.asked == [[("large", 0, 8)], [("large", 0, 4)], [("large", 4, 8)]]
        assert [n for n, _, _ in bench.recorder.batches] == [4, 4]
    assert bench.deaths == []
    assert "a batch of 8 cells did not fit the device's memory: trying its halves" in caplog.text


async def test_halves_of_many_callers_each_get_their_own_cells():
    gate, run = GatedRun(), SmallDevice(5)

    def gated(batch):
        gate(batch)
        return run(batch)

    with Bench(gated, max_batch_cells=10) as bench:
        first = bench.submit("first")
        gate.gate.wait_entered()
        tickets = {tag: bench.submit(tag, n) for tag, n in [("a", 2), ("b", 5), ("c", 3)]}
        gate.gate.open()
        await answer(first)
        for tag, n in [("a", 2), ("b", 5), ("c", 3)]:
            assert cells_of(await answer(tickets[tag])) == [(tag, cell) for cell in range(n)]
    assert run.asked[1:] == [
        [("a", 0, 2), ("b", 0, 5), ("c", 0, 3)],
        [("a", 0, 2), ("b", 0, 3)],
        [("b", 3, 5), ("c", 0, 3)],
    ]


async def test_half_that_does_not_fit_either_fails_its_callers_and_no_others(caplog):
    gate, run = GatedRun(), SmallDevice(4)

    def gated(batch):
        gate(batch)
        if parts(batch) == [("a", 0, 2), ("b", 0, 3)]:
            raise OutOfDeviceMemory("cuda:0")
        return run(batch)

    run.most_cells = 5
    with Bench(gated, max_batch_cells=10) as bench:
        first = bench.submit("first")
        gate.gate.wait_entered()
        tickets = {tag: bench.submit(tag, n) for tag, n in [("a", 2), ("b", 5), ("c", 3)]}
        gate.gate.open()
        await answer(first)
        for tag in "ab":
            error = await error_of(tickets[tag])
            assert (error.kind, error.retry_after_s) == (ErrorKind.UNAVAILABLE, 1.0)
            assert "too little memory" in error.detail
        assert cells_of(await answer(tickets["c"])) == [("c", cell) for cell in range(3)]
        assert cells_of(await answer(bench.submit("later"))) == [("later", 0)]
    assert bench.deaths == []
    assert "5 cells did not fit the device's memory either" in caplog.text


async def test_single_cell_without_memory_is_tried_once_more():
    run = SmallDevice(0)
    with Bench(run) as bench:
        assert (await error_of(bench.submit("a"))).kind is ErrorKind.UNAVAILABLE
        assert run.asked == [[("a", 0, 1)]] * 2
        run.most_cells = 1
        assert cells_of(await answer(bench.submit("b"))) == [("b", 0)]


async def test_next_try_finds_the_memory_of_the_last_one_free():
    class Tensor:
        pass

    tensors = []

    def run(batch):
        assert [trace() for trace in tensors] == [None] * len(tensors)
        tensor = Tensor()
        tensors.append(weakref.ref(tensor))
        if len(tensors) == 1:
            raise OutOfDeviceMemory("cuda:0") from RuntimeError("CUDA out of memory")
        return parts(batch)

    with Bench(run) as bench:
        await answer(bench.submit("a", 2))
    assert len(tensors) == 3


async def test_leaver_among_halves_costs_the_others_nothing():
    gate, run = GatedRun(), SmallDevice(2)

    def gated(batch):
        gate(batch)
        return run(batch)

    with Bench(gated, max_batch_cells=4) as bench:
        first = bench.submit("first")
        gate.gate.wait_entered()
        leaves, stays = bench.submit("leaves", 2), bench.submit("stays", 2)
        gate.gate.release()
        gate.gate.wait_entered()
        leaves.cancel()
        gate.gate.open()
        await answer(first)
        assert cells_of(await answer(stays)) == [("stays", 0), ("stays", 1)]


async def test_batch_that_was_abandoned_meanwhile_is_not_tried_again():
    """A drain whose time is up, while the first try is under way."""
    gate, run = GatedRun(), SmallDevice(1)

    def gated(batch):
        gate(batch)
        return run(batch)

    with Bench(gated) as bench:
        ticket = bench.submit("a", 4)
        gate.gate.wait_entered()
        bench.batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, "the server is stopping"))
        assert (await error_of(ticket)).kind is ErrorKind.UNAVAILABLE
        gate.gate.open()
        assert bench.worker.join(PATIENCE_S)
    assert run.asked == [[("a", 0, 4)]]
    assert bench.deaths == []


async def test_device_lost_in_a_half_ends_everything():
    def run(batch):
        raise OutOfDeviceMemory("cuda:0") if batch.n_cells == 4 else DeviceLost("cuda:0")

    with Bench(run) as bench:
        assert (await error_of(bench.submit("a", 4))).kind is ErrorKind.UNAVAILABLE
        assert bench.worker.join(PATIENCE_S)
    assert [type(death) for death in bench.deaths] == [DeviceLost]


async def test_stuck_computation_is_noticed_and_everyone_is_answered(caplog):
    """No exception tells of it: the watchdog does, exactly at the limit."""
    run = GatedRun()
    with Bench(run, max_batch_cells=1) as bench:
        assert bench.clock.watch.next_wait() is None
        tickets = [bench.submit(tag) for tag in range(3)]
        run.gate.wait_entered()
        assert bench.clock.watch.next_wait() == 60.0
        bench.clock.advance(59.0)
        assert bench.clock.watch.next_wait() == 1.0
        assert not any(ticket.future.done() for ticket in tickets)
        bench.clock.advance(1.0)
        assert {(await error_of(ticket)).kind for ticket in tickets} == {ErrorKind.UNAVAILABLE}
        assert len(bench.deaths) == 1, "told before the callers are"
        with pytest.raises(ServiceError) as refused:
            bench.submit("later")
        assert refused.value.kind is ErrorKind.UNAVAILABLE
        assert bench.worker.alive
        run.gate.open()
    (death,) = bench.deaths
    assert isinstance(death, ComputeStuck)
    assert str(death) == "a computation has not ended within 60 s"
    assert run.batches == [[(0, 0, 1)]]


async def test_stuck_computation_that_comes_back_to_fail_is_told_once():
    gate = GatedRun()

    def run(batch):
        gate(batch)
        raise DeviceLost("cuda:0")

    with Bench(run) as bench:
        ticket = bench.submit("a")
        gate.gate.wait_entered()
        assert bench.clock.watch.next_wait() in (None, 60.0)
        bench.clock.advance(60.0)
        await error_of(ticket)
        gate.gate.open()
        assert bench.worker.join(PATIENCE_S)
    assert [type(death) for death in bench.deaths] == [ComputeStuck]


@pytest.mark.parametrize("where", ["run", "take", "finish", "fail"])
async def test_whatever_escapes_the_loop_fails_all_waiters_and_is_told(where, monkeypatch):
    """A dead worker never leaves a caller waiting, even where the fault is ours."""
    gated, escaped = GatedRun(), SystemExit("out")

    def escape(*_):
        raise escaped

    def run(batch):
        outputs = gated(batch)
        if where == "run":
            escape()
        if where == "fail":
            raise ValueError("so that the batch fails")
        return outputs

    with Bench(run) as bench:
        tickets = [bench.submit(0)]
        gated.gate.wait_entered()
        tickets += [bench.submit(tag) for tag in (1, 2)]
        if where != "run":
            monkeypatch.setattr(bench.batcher, where, escape)
        gated.gate.open()
        results = await asyncio.gather(*map(answer, tickets), return_exceptions=True)
        assert bench.worker.join(PATIENCE_S)
    assert bench.deaths == [escaped]
    if where == "take":
        assert results.pop(0) == [(0, 0, 1)]
    assert [error.kind for error in results] == [ErrorKind.UNAVAILABLE] * len(results)


async def test_death_is_told_even_if_the_batcher_cannot_be_aborted(monkeypatch):
    told = threading.Event()
    batcher = make_batcher()
    worker = Worker(batcher, parts, on_death=lambda _: told.set())

    def broken(*_):
        raise ValueError("broken")

    monkeypatch.setattr(batcher, "take", broken)
    monkeypatch.setattr(batcher, "abort", broken)
    complaints = []
    monkeypatch.setattr(threading, "excepthook", complaints.append)
    worker.start()
    assert told.wait(PATIENCE_S)
    assert worker.join(PATIENCE_S)
    assert len(complaints) == 1


async def test_busy_seconds_are_those_of_the_batch_that_runs():
    run = GatedRun()
    with Bench(run) as bench:
        assert bench.worker.busy_s == 0.0
        ticket = bench.submit("a")
        run.gate.wait_entered()
        bench.clock.advance(7.0)
        assert bench.worker.busy_s == 7.0
        run.gate.open()
        await answer(ticket)
        assert bench.recorder.batches == [(1, 0, 7.0)]
    assert bench.worker.busy_s == 0.0


async def test_all_busy_seconds_are_counted_and_never_fewer():
    run = GatedRun()
    with Bench(run) as bench:
        seen = [bench.worker.total_busy_s]
        for name in ("a", "b"):
            ticket = bench.submit(name)
            run.gate.wait_entered()
            for _ in range(2):
                bench.clock.advance(1.5)
                seen.append(bench.worker.total_busy_s)
            run.gate.release()
            await answer(ticket)
    assert seen == [0.0, 1.5, 3.0, 4.5, 6.0]
    assert bench.worker.total_busy_s == 6.0


def test_busy_seconds_do_not_go_back_where_a_batch_ends_while_they_are_read():
    """A counter that does is taken for one that began anew, and all of it for the increase."""

    def clock():
        if worker._busy[1] is not None:
            worker._busy = (1.5, None)  # the worker's thread, meanwhile
        return 12.0

    worker = Worker(make_batcher(), parts, on_death=lambda _: None, clock=clock)
    worker._busy = (0.0, 10.5)
    assert [worker.total_busy_s, worker.total_busy_s] == [1.5, 1.5]
    late = Worker(make_batcher(), parts, on_death=lambda _: None, clock=lambda: 12.0)
    late._busy = (1.5, 12.1)
    assert late.total_busy_s == 1.5, "it began after the look at the clock"


async def test_worker_that_never_began_has_ended():
    worker = Worker(make_batcher(), parts, on_death=lambda _: None)
    assert not worker.alive
    assert worker.join(0.0)


async def test_stuck_compute_cannot_block_the_exit():
    run = GatedRun()
    with Bench(run) as bench:
        bench.submit("stuck")
        run.gate.wait_entered()
        thread = next(thread for thread in threading.enumerate() if thread.name == "w")
        assert thread.daemon
        bench.batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, "stopping"))
        run.gate.open()


async def test_idle_worker_holds_nobodys_cells():
    with Bench(parts) as bench:
        assert bench.clock.next_wait() is None
        item = FakeWorkload(1, "a")
        trace = weakref.ref(item)
        ticket = bench.batcher.submit(item, key="m")
        del item
        await answer(ticket)
        assert bench.clock.next_wait() is None
        assert trace() is None
