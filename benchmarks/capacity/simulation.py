"""The same as a discrete-event simulation, in which the service's own `Batcher` decides what is computed when.

The loop works in turns, as an event loop does: all that is there when a turn begins is done in it, and an idle worker
is woken at its end. While loop and worker both have work, each goes at `parallel` / 2 of its speed.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
import random
from collections import deque
from collections.abc import Callable, Sequence

from benchmarks.capacity.costs import BEFORE, Costs
from service.core.batch import Batch, BatcherLimits
from service.core.batcher import Batcher, Ticket


@dataclasses.dataclass(eq=False)
class Request:
    """A call on its way: a workload for the batcher.

    Attributes:
        n_cells: of it.
        due_s: when it came.
        ticket: once it is in the queue.
    """

    n_cells: int
    due_s: float
    ticket: Ticket[None] | None = None
    nbytes: int = 1

    def entries(self, start: int, stop: int) -> int:
        """None, so that cells alone count."""
        return 0


@dataclasses.dataclass(frozen=True)
class Simulated:
    """What a simulation came to.

    Attributes:
        latencies_s: of every call, sorted.
        batch_cells: of every batch.
        cells_per_s: that were answered.
    """

    latencies_s: Sequence[float]
    batch_cells: Sequence[int]
    cells_per_s: float

    def percentile_s(self, share: float) -> float:
        """The latency that so large a share of calls does not exceed."""
        return self.latencies_s[min(int(len(self.latencies_s) * share), len(self.latencies_s) - 1)]


def simulate(costs: Costs, cells_per_s: float, n_cells: int, *, n_calls: int, seed: int = 0) -> Simulated:
    """Calls of `n_cells` that come at random (Poisson); the first tenth is not told of."""
    source = random.Random(seed)
    times, now = [], 0.0
    for _ in range(n_calls):
        now += source.expovariate(cells_per_s / n_cells)
        times.append(now)
    return asyncio.run(_run(costs, times, n_cells))


async def _run(costs: Costs, times: Sequence[float], n_cells: int) -> Simulated:
    return Replica(costs).run(times, n_cells)  # on a loop, because the batcher's futures need one


class Replica:
    """One process of the service under simulated time."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self._now = 0.0
        limits = BatcherLimits(costs.max_batch, 1 << 40, 0.0, 1 << 40, 1 << 40)
        self._batcher: Batcher[Request, None] = Batcher(limits, post=_at_once, clock=lambda: self._now)
        self._pending: deque[tuple[Request, bool]] = deque()
        self._turn: deque[tuple[Request, bool]] = deque()
        self._batch: Batch[Request, None] | None = None
        self._loop_left_s = self._worker_left_s = math.inf
        self._latencies_s: list[float] = []
        self._batches: list[int] = []

    def run(self, times: Sequence[float], n_cells: int) -> Simulated:
        """Take a call at each of the times, and go on until all are answered."""
        coming = deque(times)
        while coming or self._loop_left_s < math.inf or self._batch is not None:
            speed = 1.0
            if self._loop_left_s < math.inf and self._batch is not None:
                speed = self._costs.parallel / 2
            step = min(self._loop_left_s, self._worker_left_s) / speed
            until_next = coming[0] - self._now if coming else math.inf
            if until_next <= step:
                self._pass(until_next, speed)
                self._pending.append((Request(n_cells, coming.popleft()), False))
                if self._loop_left_s == math.inf:
                    self._begin_turn()
                continue
            of_loop = self._loop_left_s <= self._worker_left_s
            self._pass(step, speed)
            if of_loop:
                self._end_of_item()
            else:
                self._end_of_batch()
        told = self._latencies_s[len(self._latencies_s) // 10 :]
        return Simulated(sorted(told), self._batches, len(times) * n_cells / self._now)

    def _pass(self, seconds: float, speed: float) -> None:
        self._now += seconds
        self._loop_left_s -= seconds * speed
        self._worker_left_s -= seconds * speed

    def _begin_turn(self) -> None:
        self._turn, self._pending = self._pending, deque()
        self._begin_item()

    def _begin_item(self) -> None:
        request, after = self._turn[0]
        self._loop_left_s = self._costs.loop_s(request.n_cells) * (1 - BEFORE if after else BEFORE)

    def _end_of_item(self) -> None:
        request, after = self._turn.popleft()
        if after:
            self._latencies_s.append(self._now - request.due_s + self._costs.idle_s)
        else:
            request.ticket = self._batcher.submit(request, key=None)
        if self._turn:
            self._begin_item()
            return
        self._loop_left_s = math.inf
        if self._batch is None:
            self._begin_batch()
        if self._pending:
            self._begin_turn()

    def _begin_batch(self) -> None:
        batch = self._batcher.poll()
        if isinstance(batch, Batch):
            self._batch, self._worker_left_s = batch, self._costs.compute_s(batch.n_cells)
            self._batches.append(batch.n_cells)

    def _end_of_batch(self) -> None:
        batch, self._batch, self._worker_left_s = self._batch, None, math.inf
        assert batch is not None
        self._batcher.finish(batch, [None] * len(batch.slices))
        for piece in batch.slices:
            ticket = piece.item.ticket
            if ticket is not None and ticket.future.done():
                self._pending.append((piece.item, True))
        self._begin_batch()
        if self._pending and self._loop_left_s == math.inf:
            self._begin_turn()


def _at_once(callback: Callable[[], None]) -> None:
    callback()
