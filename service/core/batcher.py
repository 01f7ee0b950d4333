"""Between the event loop and the worker: which cells are computed together, when, and for whom."""

from __future__ import annotations

import dataclasses
import functools
import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic

from service.core.batch import Batch, BatcherLimits, In, Out, Slice, Workload
from service.core.errors import ErrorKind, ServiceError
from service.core.fair_queue import FairQueue, Queued
from service.core.recorder import NullRecorder, Recorder
from service.core.ticket import Answer, Result, Ticket, deliver, own_error

__all__ = ["Batch", "Batcher", "BatcherLimits", "Slice", "Ticket", "Workload"]

RETRY_AFTER_S = 1.0
"""Told to refused callers while no speed is measured yet, and by a server that stops."""
SHORTEST_RETRY_S, LONGEST_RETRY_S = 0.1, 60.0
NEWEST_BATCH_SHARE = 0.2
"""Weight of the newest batch in the measured speed."""
MAX_STALE_DEADLINES = 1000
"""Deadlines of answered jobs that are kept before they are swept out."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(slots=True, eq=False)
class _Job(Queued[In], Generic[In, Out]):
    """An admitted item; `outputs` has one place per slice taken so far, filled when its batch is finished."""

    queue: FairQueue[_Job[In, Out]]
    ticket: Ticket[Out]
    number: int
    n_bytes: int
    n_running: int = 0
    outputs: list[Any] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class _Running(Generic[In, Out]):
    """The jobs of a batch that was taken, each with the place of this slice in its outputs."""

    started_s: float
    parts: list[tuple[_Job[In, Out], int]]


class Batcher(Generic[In, Out]):
    """Turns items of any size into batches within a budget, for one worker; knows no arrays and no transport.

    Grow while busy: with no delay a batch is due as soon as anything waits and takes all that fits, so an idle worker
    starts at once and a busy one finds a full batch when it comes back. With a delay it is due that long after the
    arrival of the oldest waiting item of its key, or when what waits under the key fills a batch, or on `close`.

    Fairness: within a key, requests of at most half a batch are taken whole, in order of arrival; a larger one gets at
    most half a batch per turn and then queues again at the tail; room left over goes to the larger ones (`FairQueue`).
    Of the keys that are due, the one whose head got its place first is served.

    Refusals: what does not fit the queue is refused on arrival, but an empty queue takes an item of any size. Waiting
    work past its deadline is failed when the next batch is formed, before it costs any compute. An item of no cells
    never queues: its future is done at once, with `[]`.

    `submit` and `Ticket.cancel` belong to the event loop, `take`, `finish` and `fail` to the worker's thread; the rest
    may be called from any. Nobody polls: a worker with nothing to do waits without a timer.
    """

    def __init__(
        self,
        limits: BatcherLimits,
        *,
        post: Callable[[Callable[[], None]], object],
        soon: Callable[[Callable[[], None]], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
        recorder: Recorder | None = None,
        condition: threading.Condition | None = None,
    ) -> None:
        """Build an empty, open batcher.

        Args:
            limits: what a batch and the queue may hold.
            post: runs a callback on the event loop, from any thread (`loop.call_soon_threadsafe`).
            soon: runs a callback at the end of the event loop's turn (`loop.call_soon`): the worker is woken there, so
                that all that came in a turn is one batch, and the two do not fight for the interpreter meanwhile. None:
                the worker is woken at once.
            clock: monotonic seconds; the deadlines are on it too.
            recorder: told of every change of the queue.
            condition: what `take` waits on; tests bring one that goes by their clock.
        """
        self._limits = limits
        self._post = post
        self._soon = soon
        self._wakes = False  # the worker will be woken at the end of this turn
        self._clock = clock
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        # Its lock is reentrant: the garbage collector may close a caller's coroutine, which cancels, anywhere in here.
        self._changed = threading.Condition() if condition is None else condition
        self._numbers = itertools.count()
        self._places = itertools.count()
        self._queues: dict[Hashable, FairQueue[_Job[In, Out]]] = {}
        self._unanswered: dict[int, _Job[In, Out]] = {}
        self._running: dict[Batch[In, Out], _Running[In, Out]] = {}
        self._n_cells = 0
        self._n_bytes = 0
        self._deadlines: list[tuple[float, int]] = []  # a heap; those of answered jobs go when they show up
        self._recent_cells = 0.0
        self._recent_s = 0.0
        self._refusal: ServiceError | None = None
        self._on_batch_end: Callable[[], None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and no batch runs: what is submitted now is computed at once."""
        return not self._running and not self._queues

    def tell_batch_ends(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop after each batch, once its answers are delivered."""
        self._on_batch_end = listener

    @property
    def n_waiting_cells(self) -> int:
        """Cells that no batch has taken yet."""
        return self._n_cells

    @property
    def n_waiting_bytes(self) -> int:
        """Bytes of the items with waiting cells; an item counts in full until its last cell is taken."""
        return self._n_bytes

    @property
    def n_running_cells(self) -> int:
        """Cells of the batches that were taken and are not finished."""
        with self._changed:
            return sum(batch.n_cells for batch in self._running)

    def submit(self, item: In, *, key: Hashable, deadline_s: float | None = None) -> Ticket[Out]:
        """Queue an item, or refuse it at once.

        Args:
            item: the cells.
            key: only items with equal keys share a batch.
            deadline_s: clock seconds after which its cells are no longer worth computing; None: never.

        Raises:
            ServiceError: `OVERLOADED` with `retry_after_s`; `DEADLINE` where that has passed already; `UNAVAILABLE`
                after `close`; after `abort` its error.
        """
        n_cells, n_bytes = item.n_cells, item.nbytes
        n_entries = item.entries(0, n_cells)
        with self._changed:
            now = self._clock()
            self._admit(n_cells, n_bytes, now, deadline_s)
            number = next(self._numbers)
            ticket: Ticket[Out] = Ticket(Answer(number, self._withdraw))
            if n_cells == 0:
                ticket.future.set_result([])
                return ticket
            queue = self._queues.get(key)
            if queue is None:
                limits = self._limits
                queue = FairQueue(key, limits.max_batch_cells, limits.max_batch_entries, self._places)
                self._queues[key] = queue
            job = _Job(item, now, n_cells, n_entries, queue, ticket, number, n_bytes)
            self._unanswered[number] = job
            queue.add(job)
            if deadline_s is not None:
                self._watch(deadline_s, number)
            # No other arrival makes a batch due any earlier, so none wakes the worker.
            if self._n_cells == 0 or queue.is_full:
                self._wake_worker()
            self._count(queue, n_cells, n_bytes)
        return ticket

    def take(self) -> Batch[In, Out] | None:
        """Block until a batch is due and take it; None: closed, and nothing waits any more."""
        while True:
            with self._changed:
                decision, dropped = self._decide()
                if not dropped and not isinstance(decision, Batch):
                    if decision is None and self._refusal is not None:
                        return None
                    self._changed.wait(decision)
                    continue
            self._send(dropped)
            if isinstance(decision, Batch):
                return decision

    def poll(self) -> Batch[In, Out] | float | None:
        """Decide without waiting: a batch that is due (now taken), seconds until one is, or None: nothing waits."""
        with self._changed:
            decision, dropped = self._decide()
        self._send(dropped)
        return decision

    def finish(self, batch: Batch[In, Out], outputs: Sequence[Out]) -> None:
        """Hand over a batch's outputs, one per slice in order; any other number fails it as `INTERNAL`."""
        answers = tuple(outputs)
        if len(answers) != len(batch.slices):
            log.error("a batch of %d slices came back with %d outputs", len(batch.slices), len(answers))
            self.fail(batch, ServiceError(ErrorKind.INTERNAL, "the batch came back with the wrong number of outputs"))
            return
        done: list[Result] = []
        with self._changed:
            for (job, position), answer in zip(self._settle(batch), answers, strict=False):
                job.outputs[position] = answer
                job.n_running -= 1
                complete = job.n_running == 0 and job.next_cell == job.n_cells
                if complete and self._leave(job):
                    done.append((job.ticket.future, job.outputs))
        self._send(done, self._on_batch_end)

    def fail(self, batch: Batch[In, Out], error: BaseException) -> None:
        """Fail every item of a batch, along with the cells of it that still wait."""
        with self._changed:
            failed = [(job.ticket.future, error) for job, _ in self._settle(batch) if self._leave(job)]
        self._send(failed, self._on_batch_end)

    def close(self) -> None:
        """Refuse new work as `UNAVAILABLE`; what waits is due at once, and then `take` returns None."""
        with self._changed:
            if self._refusal is None:
                text = "the server is stopping and takes no new work"
                self._refusal = ServiceError(ErrorKind.UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """Fail all that has no answer yet, waiting or running, and refuse new work with the same error."""
        with self._changed:
            self._refusal = own_error(error)
            jobs = list(self._unanswered.values())
            failed = [(job.ticket.future, error) for job in jobs if self._leave(job)]
            self._running.clear()
            self._changed.notify_all()
        self._send(failed, self._on_batch_end)

    def _wake_worker(self) -> None:
        """Let the worker look at the queue, as soon as the turn of the loop is over."""
        if self._soon is None:
            self._changed.notify()
        elif not self._wakes:
            self._wakes = True
            self._soon(self._wake_now)

    def _wake_now(self) -> None:
        with self._changed:
            self._wakes = False
            self._changed.notify()

    def _admit(self, n_cells: int, n_bytes: int, now: float, deadline_s: float | None) -> None:
        if self._refusal is not None:
            raise own_error(self._refusal)
        if deadline_s is not None and deadline_s <= now:
            raise _too_late()
        limits, waiting = self._limits, self._n_cells
        # Nothing waits: any allowed size is taken, or a request above the bound would be refused for ever.
        if n_cells == 0 or waiting == 0:
            return
        if waiting + n_cells > limits.max_queue_cells or self._n_bytes + n_bytes > limits.max_queue_bytes:
            retry_after_s = RETRY_AFTER_S
            if self._recent_s > 0:
                drained_s = waiting * self._recent_s / self._recent_cells
                retry_after_s = min(max(drained_s, SHORTEST_RETRY_S), LONGEST_RETRY_S)
            text = f"the queue is full ({waiting} cells wait); try again later"
            raise ServiceError(ErrorKind.OVERLOADED, text, retry_after_s=retry_after_s)

    def _decide(self) -> tuple[Batch[In, Out] | float | None, list[Result]]:
        """What `poll` returns, and the jobs that failed on the way."""
        now = self._clock()
        dropped = self._expire(now)
        while self._queues:
            due_s = {queue: self._due_s(queue) for queue in self._queues.values()}
            ready = [queue for queue, at_s in due_s.items() if at_s <= now]
            if not ready:
                return min(due_s.values()) - now, dropped
            batch = self._form(min(ready, key=lambda queue: queue.first_place), now, dropped)
            if batch is not None:
                return batch, dropped
        return None, dropped

    def _due_s(self, queue: FairQueue[_Job[In, Out]]) -> float:
        if self._limits.max_delay_s == 0 or self._refusal is not None or queue.is_full:
            return -math.inf
        return queue.oldest_arrival_s + self._limits.max_delay_s

    def _form(self, queue: FairQueue[_Job[In, Out]], now: float, dropped: list[Result]) -> Batch[In, Out] | None:
        """Take a batch from a queue; None where it held nothing that could be sliced."""
        taken = queue.take()
        parts, slices, n_bytes = [], [], 0
        for job, start in taken.first_cells.items():
            if start == 0:
                job.ticket.queue_s = now - job.arrived_s
            if job.next_cell == job.n_cells:
                n_bytes += job.n_bytes
            parts.append((job, len(job.outputs)))
            job.outputs.append(None)
            job.n_running += 1
            slices.append(Slice(job.item, start, job.next_cell))
        self._count(queue, -taken.n_cells, -n_bytes)
        for _, error in taken.broken:
            log.error("an item could not be sliced", exc_info=error)
        dropped += [(job.ticket.future, error) for job, error in taken.broken if self._leave(job)]
        if not slices:
            return None
        batch: Batch[In, Out] = Batch(queue.key, tuple(slices), taken.n_cells, taken.n_entries)
        self._running[batch] = _Running(now, parts)
        return batch

    def _settle(self, batch: Batch[In, Out]) -> list[tuple[_Job[In, Out], int]]:
        """End a running batch and return its parts; none where it has ended before."""
        running = self._running.pop(batch, None)
        if running is None:
            return []
        seconds = self._clock() - running.started_s
        # Two sums and not a mean of speeds, so that full batches weigh more than lone cells.
        self._recent_cells += NEWEST_BATCH_SHARE * (batch.n_cells - self._recent_cells)
        self._recent_s += NEWEST_BATCH_SHARE * (seconds - self._recent_s)
        for job, _ in running.parts:
            job.ticket.compute_s += seconds
        return running.parts

    def _watch(self, deadline_s: float, number: int) -> None:
        if len(self._deadlines) > 2 * len(self._unanswered) + MAX_STALE_DEADLINES:
            self._deadlines = [entry for entry in self._deadlines if entry[1] in self._unanswered]
            heapq.heapify(self._deadlines)
        heapq.heappush(self._deadlines, (deadline_s, number))

    def _expire(self, now: float) -> list[Result]:
        """Give up the jobs with waiting cells whose deadline has passed."""
        expired: list[Result] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            job = self._unanswered.get(heapq.heappop(self._deadlines)[1])
            if job is not None and job.next_cell < job.n_cells and self._leave(job):
                expired.append((job.ticket.future, _too_late()))
        return expired

    def _withdraw(self, number: int) -> None:
        with self._changed:
            job = self._unanswered.get(number)
            if job is not None:
                self._leave(job)

    def _leave(self, job: _Job[In, Out]) -> bool:
        """Give up a job and its waiting cells, before it is answered; False where that has happened already."""
        if self._unanswered.pop(job.number, None) is None:
            return False
        n_cells = job.queue.remove(job)
        if n_cells:
            self._count(job.queue, -n_cells, -job.n_bytes)
        return True

    def _count(self, queue: FairQueue[_Job[In, Out]], n_cells: int, n_bytes: int) -> None:
        self._n_cells += n_cells
        self._n_bytes += n_bytes
        if queue.n_cells == 0:
            # The key is a loaded encoder: an idle batcher must not keep it in memory.
            del self._queues[queue.key]
        # Under the lock, or a late report of an earlier state would stay on the gauge.
        self._recorder.queue_changed(self._n_cells, self._n_bytes)

    def _send(self, results: Sequence[Result], then: Callable[[], None] | None = None) -> None:
        """Answer callers on their loop, with one post for all, then call `then` there; never called under the lock."""
        if not results and then is None:
            return
        try:
            self._post(functools.partial(_deliver_then, results, then))
        except RuntimeError:
            log.warning("the event loop is closed: nobody reads %d answers", len(results))


def _deliver_then(results: Sequence[Result], then: Callable[[], None] | None) -> None:
    deliver(results)
    if then is not None:
        then()


def _too_late() -> ServiceError:
    return ServiceError(ErrorKind.DEADLINE, "the deadline passed; the cells were not computed")
