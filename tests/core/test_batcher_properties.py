"""Whatever callers, time and the worker do: every cell that should be answered is, once, in order and in budget."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.batch import Batch
from service.core.errors import ErrorKind, ServiceError
from service.core.priority import Priority
from tests.fakes import FakeClock, FakeWorkload, RecordingRecorder, make_batcher, parts

MAX_CELLS, MAX_ENTRIES, QUEUE_CELLS = 8, 40, 60

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.lists(st.integers(0, 50), max_size=30),  # entries of each cell
            st.sampled_from("ab"),
            st.sampled_from([None, None, 0.0, 1.0, 3.0]),  # seconds to the deadline
            st.sampled_from(Priority),
        ),
        st.tuples(st.just("cancel"), st.integers(0, 100)),
        st.tuples(st.just("take")),
        st.tuples(st.just("finish"), st.integers(0, 100)),
        st.tuples(st.just("fail"), st.integers(0, 100)),
        st.tuples(st.just("halve"), st.integers(0, 100)),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 1.0, 2.0])),
    ),
    max_size=60,
)


def cells(batch):
    """Each cell of a batch, as the name of its item and its number."""
    return [(tag, cell) for tag, start, stop in parts(batch) for cell in range(start, stop)]


class History:
    """Replays steps on a batcher and keeps the books itself."""

    def __init__(self, max_delay_s):
        self.clock = FakeClock()
        self.recorder = RecordingRecorder()
        self.batcher = make_batcher(
            clock=self.clock,
            recorder=self.recorder,
            max_delay_s=max_delay_s,
            max_batch_cells=MAX_CELLS,
            max_batch_entries=MAX_ENTRIES,
            max_queue_cells=QUEUE_CELLS,
        )
        self.tickets, self.items, self.deadlines = {}, {}, {}
        self.priorities = {}
        self.taken = {}  # tag → cells taken so far
        self.failed = set()
        self.running = []

    def submit(self, entries, key, timeout_s, priority):
        tag = len(self.items)
        item = FakeWorkload(len(entries), tag, entries)
        deadline_s = None if timeout_s is None else self.clock() + timeout_s
        own = self.n_waiting_of(priority)
        try:
            self.tickets[tag] = self.batcher.submit(item, key=key, deadline_s=deadline_s, priority=priority)
        except ServiceError as error:
            if error.kind is ErrorKind.DEADLINE:
                assert timeout_s == 0.0
            else:
                assert error.kind is ErrorKind.OVERLOADED
                assert own > 0
                assert own + item.n_cells > QUEUE_CELLS
            return
        assert timeout_s != 0.0
        self.items[tag], self.deadlines[tag], self.taken[tag] = item, deadline_s, 0
        self.priorities[tag] = priority
        if own:
            assert own + item.n_cells <= QUEUE_CELLS

    @property
    def n_waiting(self):
        return sum(map(self.n_waiting_of, Priority))

    def n_waiting_of(self, priority):
        return sum(
            self.items[tag].n_cells - self.taken[tag]
            for tag in self.items
            if self.priorities[tag] is priority and not self.tickets[tag].future.done()
        )

    def cancel(self, index):
        if self.tickets:
            self.tickets[index % len(self.tickets)].cancel()

    def take(self):
        """One poll, checked; whether it gave a batch."""
        batch = self.batcher.poll()
        for tag, deadline_s in self.deadlines.items():
            waits = self.taken[tag] < self.items[tag].n_cells and not self.tickets[tag].future.done()
            assert not (waits and deadline_s is not None and deadline_s <= self.clock())
        if not isinstance(batch, Batch):
            assert (batch is None) == (self.n_waiting == 0)
            return False
        assert 1 <= batch.n_cells == sum(piece.n_cells for piece in batch.slices) <= MAX_CELLS
        assert batch.n_entries == sum(piece.item.entries(piece.start, piece.stop) for piece in batch.slices)
        assert batch.n_entries <= MAX_ENTRIES or batch.n_cells == 1
        assert len({tag for tag, _, _ in parts(batch)}) == len(batch.slices)
        assert len({self.priorities[tag] for tag, _, _ in parts(batch)}) == 1
        for tag, start, stop in parts(batch):
            assert start == self.taken[tag] < stop
            assert not self.tickets[tag].future.done()
            self.taken[tag] = stop
        self.running.append(batch)
        return True

    def finish(self, index):
        if self.running:
            batch = self.running.pop(index % len(self.running))
            self.batcher.finish(batch, parts(batch))

    def fail(self, index):
        if self.running:
            batch = self.running.pop(index % len(self.running))
            self.failed |= {tag for tag, _, _ in parts(batch)}
            self.batcher.fail(batch, ServiceError(ErrorKind.INTERNAL, "broken"))

    def halve(self, index):
        if self.running:
            batch = self.running.pop(index % len(self.running))
            halves = self.batcher.halve(batch)
            assert [cell for half in halves for cell in cells(half)] == cells(batch)
            assert [half.n_cells for half in halves] == (
                [1] if batch.n_cells == 1 else [batch.n_cells // 2, -(-batch.n_cells // 2)]
            )
            self.running += halves

    def advance(self, seconds):
        self.clock.advance(seconds)

    def check_counters(self):
        batcher = self.batcher
        assert batcher.n_waiting_cells == self.n_waiting
        assert batcher.n_running_cells == sum(batch.n_cells for batch in self.running)
        queue = self.recorder.queue
        assert (queue[-1] if queue else (0, 0)) == (batcher.n_waiting_cells, batcher.n_waiting_bytes)

    def drain(self):
        self.batcher.close()
        while self.take():
            self.finish(0)
            self.check_counters()
        while self.running:
            self.finish(0)
        assert self.batcher.take() is None
        assert (self.batcher.n_waiting_cells, self.batcher.n_waiting_bytes, self.batcher.n_running_cells) == (0, 0, 0)

    def check_answers(self):
        for tag, ticket in self.tickets.items():
            future, n_cells = ticket.future, self.items[tag].n_cells
            assert future.done()
            if future.cancelled():
                continue
            error = future.exception()
            if error is None:
                assert all(answer[0] == tag for answer in future.result())
                assert [c for _, start, stop in future.result() for c in range(start, stop)] == list(range(n_cells))
            elif error.kind is ErrorKind.DEADLINE:
                assert self.deadlines[tag] <= self.clock()
                assert self.taken[tag] < n_cells
            else:
                assert tag in self.failed


@settings(max_examples=300, deadline=None)
@given(steps=steps, max_delay_s=st.sampled_from([0.0, 1.0]))
def test_every_cell_is_answered_once_in_order_and_in_budget(steps, max_delay_s):
    async def replay():
        history = History(max_delay_s)
        for name, *arguments in steps:
            getattr(history, name)(*arguments)
            history.check_counters()
        history.drain()
        history.check_answers()

    asyncio.run(replay())
