"""RELIABILITY 1, a slow server becomes a dead one: open-loop load beyond capacity, in simulated time."""

import dataclasses
import random

import pytest

from service.core.batch import Batch
from service.core.errors import ErrorKind, ServiceError
from service.core.priority import Priority
from tests.fakes import FakeClock, FakeWorkload, make_batcher, parts

CELLS_PER_S = 1000.0
QUEUE_CELLS = 500
BATCH_CELLS = 64
DEADLINE_S = 2.0


@dataclasses.dataclass
class Tally:
    """What one stretch of the simulation saw."""

    answered_cells: int = 0
    refused: int = 0
    late: int = 0
    waits_s: list[float] = dataclasses.field(default_factory=list)
    bulk_cells: int = 0
    bulk_waits_s: list[float] = dataclasses.field(default_factory=list)
    most_waiting: int = 0
    retry_after_s: list[float] = dataclasses.field(default_factory=list)


class Simulation:
    """One batcher, one worker of a fixed speed, and callers that come whether or not they are answered."""

    def __init__(self, seed: int, bulk_share: float = 0.0) -> None:
        self.bulk_share = bulk_share
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.batcher = make_batcher(clock=self.clock, max_batch_cells=BATCH_CELLS, max_queue_cells=QUEUE_CELLS)
        self.arrived_s: dict[int, float] = {}
        self.bulk: dict[int, bool] = {}
        self.running: Batch[FakeWorkload, object] | None = None
        self.free_s = self.clock()
        self.n_callers = 0

    def run(self, load: float, seconds: float) -> Tally:
        """Callers of 1 to 8 cells at `load` times the worker's speed, for so many simulated seconds."""
        tally, end = Tally(), self.clock() + seconds
        next_caller = self.clock()
        while next_caller < end:
            if self.running is not None and self.free_s <= next_caller:
                self.clock.advance(self.free_s - self.clock())
                self.finish(tally)
            else:
                self.clock.advance(next_caller - self.clock())
                self.arrive(tally)
                next_caller += self.random.expovariate(load * CELLS_PER_S / 4.5)
            if self.running is None and isinstance(batch := self.batcher.poll(), Batch):
                self.running, self.free_s = batch, self.clock() + batch.n_cells / CELLS_PER_S
        return tally

    def arrive(self, tally: Tally) -> None:
        caller, self.n_callers = self.n_callers, self.n_callers + 1
        cells = FakeWorkload(self.random.randint(1, 8), tag=caller)
        priority = Priority.BULK if self.random.random() < self.bulk_share else Priority.INTERACTIVE
        # Nobody is in a hurry for bulk.
        deadline_s = None if priority is Priority.BULK else self.clock() + DEADLINE_S
        try:
            ticket = self.batcher.submit(cells, key="model", deadline_s=deadline_s, priority=priority)
        except ServiceError as error:
            assert error.kind is ErrorKind.OVERLOADED and error.retry_after_s is not None
            tally.refused += 1
            tally.retry_after_s.append(error.retry_after_s)
            return
        self.arrived_s[caller] = self.clock()
        self.bulk[caller] = priority is Priority.BULK
        ticket.future.add_done_callback(lambda future: future.exception())
        tally.most_waiting = max(tally.most_waiting, self.batcher.n_waiting_cells)

    def finish(self, tally: Tally) -> None:
        batch, self.running = self.running, None
        assert batch is not None
        for tag, start, stop in parts(batch):
            wait = self.clock() - self.arrived_s[tag]
            if self.bulk[tag]:
                tally.bulk_waits_s.append(wait)
                tally.bulk_cells += stop - start
            else:
                tally.waits_s.append(wait)
                tally.late += wait > DEADLINE_S
            tally.answered_cells += stop - start
        self.batcher.finish(batch, parts(batch))


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_three_times_the_capacity_and_back(seed: int) -> None:
    simulation = Simulation(seed)
    overload = simulation.run(load=3.0, seconds=60)
    assert overload.answered_cells >= 0.9 * CELLS_PER_S * 60, "goodput stays near the peak"
    assert overload.late == 0
    assert max(overload.waits_s) <= (QUEUE_CELLS + 2 * BATCH_CELLS) / CELLS_PER_S, "the queue's bound bounds the wait"
    assert overload.most_waiting <= QUEUE_CELLS
    assert overload.refused > 1000
    assert 0 < sorted(overload.retry_after_s)[len(overload.retry_after_s) // 2] <= 2 * QUEUE_CELLS / CELLS_PER_S

    simulation.run(load=0.5, seconds=5)
    calm = simulation.run(load=0.5, seconds=20)
    assert calm.refused == 0 and calm.late == 0
    assert sorted(calm.waits_s)[int(0.99 * len(calm.waits_s))] < 5 * BATCH_CELLS / CELLS_PER_S
    assert simulation.batcher.n_waiting_cells <= 8


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_both_priorities_at_three_times_the_capacity(seed: int) -> None:
    """Bulk has its quarter of the batches and no more; the queue of each bounds its wait by its own speed."""
    simulation = Simulation(seed, bulk_share=0.5)
    overload = simulation.run(load=6.0, seconds=60)
    assert overload.answered_cells >= 0.9 * CELLS_PER_S * 60, "goodput stays near the peak"
    assert 0.22 < overload.bulk_cells / overload.answered_cells < 0.28
    assert overload.late == 0
    slack_s = 3 * BATCH_CELLS / CELLS_PER_S
    assert max(overload.waits_s) <= QUEUE_CELLS / (0.75 * CELLS_PER_S) + slack_s
    assert max(overload.bulk_waits_s) <= QUEUE_CELLS / (0.25 * CELLS_PER_S) + 4 * slack_s
    assert overload.most_waiting <= 2 * QUEUE_CELLS


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_interactive_calls_beside_a_flood_of_bulk(seed: int) -> None:
    """A tenth of the capacity is interactive, three times the capacity bulk: the former hardly notice."""
    simulation = Simulation(seed, bulk_share=0.97)
    flood = simulation.run(load=3.3, seconds=60)
    assert flood.late == 0
    assert sorted(flood.waits_s)[int(0.99 * len(flood.waits_s))] <= 3 * BATCH_CELLS / CELLS_PER_S
    assert max(flood.waits_s) <= 4 * BATCH_CELLS / CELLS_PER_S
    assert flood.answered_cells >= 0.9 * CELLS_PER_S * 60
    assert flood.refused > 1000
