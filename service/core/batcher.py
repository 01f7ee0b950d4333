"""Between the event loop and the worker: which cells are computed together, when, and for whom."""

from __future__ import annotations

import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Generic

from service.core.batch import Batch, BatcherLimits, In, Out, Slice, Workload
from service.core.deadlines import Deadlines
from service.core.errors import ErrorKind, ServiceError
from service.core.fair_queue import FairQueue
from service.core.job import Job, Running
from service.core.priority import Priority
from service.core.recorder import NullRecorder, Recorder
from service.core.room import Place, Room
from service.core.speed import RETRY_AFTER_S, Speed
from service.core.ticket import Answer, Result, Ticket, deliver, own_error
from service.core.turns import Turns

__all__ = ["RETRY_AFTER_S", "Batch", "Batcher", "BatcherLimits", "Slice", "Ticket", "Workload"]

log = logging.getLogger(__name__)


class Batcher(Generic[In, Out]):
    """Turns items of any size into batches within a budget, for one worker; knows no arrays and no transport.

    Grow while busy: with no delay a batch is due as soon as anything waits and takes all that fits, so an idle worker
    starts at once and a busy one finds a full batch when it comes back. With a delay it is due that long after the
    arrival of the oldest waiting item of its key, or when what waits under the key fills a batch, or on `close`.

    Fairness: within a key, requests of at most half a batch are taken whole, in order of arrival; a larger one gets at
    most half a batch per turn and then queues again at the tail; room left over goes to the larger ones (`FairQueue`).
    Interactive requests go before bulk ones, which still get one batch in four; of the keys that are due, the one whose
    head got its place first is served (`Turns`).

    Refusals: what does not fit the queue of its priority is refused on arrival, but an empty one takes an item of any
    size (`Room`). A place may be reserved for an item that is still being made.
    Waiting work past its deadline is failed when the next batch is formed, before it costs any compute. An item of no
    cells never queues: its future is done at once, with `[]`.

    `reserve`, `submit` and `Ticket.cancel` belong to the event loop, `take`, `finish` and `fail` to the
    worker's thread; the rest may be called from any. Nobody polls: a worker with nothing to do waits without a timer.
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
        self._post = post
        self._soon = soon
        self._wakes = False  # the worker will be woken at the end of this turn
        self._clock = clock
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        # Its lock is reentrant: the garbage collector may close a caller's coroutine, which cancels, anywhere in here.
        self._changed = threading.Condition() if condition is None else condition
        self._numbers = itertools.count()
        self.limits = limits
        self._turns: Turns[Job[In, Out]] = Turns(limits)
        self._room = Room(limits)
        self._unanswered: dict[int, Job[In, Out]] = {}
        self._running: dict[Batch[In, Out], Running[In, Out]] = {}
        self._deadlines = Deadlines()
        self._speed = Speed()
        self._refusal: ServiceError | None = None
        self._n_dropped_cells = 0
        self._on_batch_end: Callable[[], None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no batch runs, so that the worker has nothing to do but what is submitted now."""
        return not self._running

    def tell_batch_ends(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop after each batch, once its answers are delivered."""
        self._on_batch_end = listener

    @property
    def n_waiting_cells(self) -> int:
        """Cells that no batch has taken yet, those of reserved places among them."""
        return self._room.n_cells

    @property
    def n_waiting_bytes(self) -> int:
        """Bytes of the items with waiting cells, each in full until its last cell is taken, and of reserved places."""
        return self._room.n_bytes

    @property
    def n_dropped_cells(self) -> int:
        """Cells that have left the queue uncomputed: withdrawn, too late, or of an item that failed or was aborted."""
        return self._n_dropped_cells

    def fill(self, priority: Priority) -> float:
        """How full the queue of a priority is, from 0 to 1, where its callers are refused; see `Room.fill`."""
        return self._room.fill(priority)

    @property
    def oldest_age_s(self) -> float:
        """Seconds that the item has waited which has waited longest; 0 while none does, whatever has a place reserved.

        An item of which some cells were taken counts until its last ones are.
        """
        with self._changed:
            return max(0.0, self._clock() - self._turns.oldest_arrival_s) if self._turns else 0.0

    @property
    def n_running_cells(self) -> int:
        """Cells of the batches that were taken and are not finished."""
        with self._changed:
            return sum(batch.n_cells for batch in self._running)

    @property
    def retry_after_s(self) -> float:
        """Seconds after which what waits now will have been computed, at the speed of late."""
        return self._speed.retry_after_s(self._room.n_cells)

    def refuse_if_full(self, priority: Priority) -> None:
        """Refuse work that is not even decoded yet, where the queue has no room for a single cell of it.

        Raises:
            ServiceError: `OVERLOADED` with `retry_after_s`.
        """
        if not self._room.has_for(priority, 1, 0):
            raise self._overloaded(priority)

    def reserve(self, n_cells: int, n_bytes: int, priority: Priority) -> Place:
        """Keep room for an item that is not made yet, so that its cells are refused before it is made, or not at all.

        Args:
            n_cells: of the item.
            n_bytes: of it, as far as they are known.
            priority: of the item.

        Raises:
            ServiceError: as `submit` does.
        """
        with self._changed:
            self._admit(n_cells, n_bytes, self._clock(), None, priority)
            self._change_room(priority, n_cells, n_bytes, placed=True)
        return Place(n_cells, n_bytes, priority, self._give_back)

    def submit(
        self,
        item: In,
        *,
        key: Hashable,
        deadline_s: float | None = None,
        priority: Priority = Priority.INTERACTIVE,
        place: Place | None = None,
    ) -> Ticket[Out]:
        """Queue an item, or refuse it at once.

        Args:
            item: the cells.
            key: only items with equal keys share a batch.
            deadline_s: clock seconds after which its cells are no longer worth computing; None: never.
            priority: whose turn it takes.
            place: what was reserved for it, which is given back or becomes its own.

        Raises:
            ServiceError: `OVERLOADED` with `retry_after_s`; `DEADLINE` where that has passed already; `UNAVAILABLE`
                after `close`; after `abort` its error.
        """
        n_cells, n_bytes = item.n_cells, item.nbytes
        n_entries = item.entries(0, n_cells)
        with self._changed:
            now = self._clock()
            had_place = place is not None and place.n_cells == n_cells
            if place is not None:
                place.give_back()
            self._admit(n_cells, n_bytes, now, deadline_s, priority, had_place=had_place)
            number = next(self._numbers)
            ticket: Ticket[Out] = Ticket(Answer(number, self._withdraw))
            if n_cells == 0:
                ticket.future.set_result([])
                return ticket
            was_empty = not self._turns
            queue = self._turns.queue(key, priority)
            job = Job(item, now, n_cells, n_entries, queue, ticket, number, n_bytes)
            self._unanswered[number] = job
            queue.add(job)
            if deadline_s is not None:
                self._deadlines.add(deadline_s, number, self._unanswered)
            # No other arrival makes a batch due any earlier, so none wakes the worker.
            if was_empty or queue.is_full:
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
            for job, piece, answer in zip(self._settle(batch), batch.slices, answers, strict=False):
                job.outputs[piece.start] = answer
                job.n_running -= 1
                if job.complete and self._leave(job):
                    done.append((job.ticket.future, job.in_order()))
        self._send(done, self._on_batch_end)

    def fail(self, batch: Batch[In, Out], error: BaseException) -> None:
        """Fail every item of a batch, along with the cells of it that still wait."""
        with self._changed:
            failed = [(job.ticket.future, error) for job in self._settle(batch) if self._leave(job)]
        self._send(failed, self._on_batch_end)

    def halve(self, batch: Batch[In, Out]) -> list[Batch[In, Out]]:
        """Put the two halves of a running batch in its place, so that each ends by itself; a slice may be cut in two.

        Returns:
            The halves, in order of the cells; a batch of one cell as it is; nothing where it has ended before.
        """
        with self._changed:
            running = self._running.get(batch)
            if running is None:
                return []
            if batch.n_cells == 1:
                return [batch]
            first, second = batch.halves()
            del self._running[batch]
            self._running[first] = Running(running.started_s, running.jobs[: len(first.slices)])
            self._running[second] = Running(running.started_s, running.jobs[-len(second.slices) :])
            if len(first.slices) + len(second.slices) > len(batch.slices):
                running.jobs[len(first.slices) - 1].n_running += 1
            return [first, second]

    def close(self) -> None:
        """Refuse new work as `UNAVAILABLE`; what waits is due at once, and then `take` returns None."""
        with self._changed:
            if self._refusal is None:
                text = "the server is stopping and takes no new work"
                self._refusal = ServiceError(ErrorKind.UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S)
            self._turns.hurried = True
            self._changed.notify_all()

    def abort(self, error: BaseException) -> None:
        """Fail all that has no answer yet, waiting or running, and refuse new work with the same error."""
        with self._changed:
            self._refusal = own_error(error)
            self._turns.hurried = True
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

    def _admit(
        self,
        n_cells: int,
        n_bytes: int,
        now: float,
        deadline_s: float | None,
        priority: Priority,
        *,
        had_place: bool = False,
    ) -> None:
        if self._refusal is not None:
            raise own_error(self._refusal)
        if deadline_s is not None and deadline_s <= now:
            raise _too_late()
        room = self._room
        fits = room.has_bytes_for(priority, n_bytes) if had_place else room.has_for(priority, n_cells, n_bytes)
        if n_cells and not fits:
            raise self._overloaded(priority)

    def _overloaded(self, priority: Priority) -> ServiceError:
        text = f"the queue is full ({self._room.of(priority)} cells wait); try again later"
        retry_after_s = self._speed.retry_after_s(self._room.ahead(priority))
        return ServiceError(ErrorKind.OVERLOADED, text, retry_after_s=retry_after_s, bound="queue")

    def _decide(self) -> tuple[Batch[In, Out] | float | None, list[Result]]:
        """What `poll` returns, and the jobs that failed on the way."""
        now = self._clock()
        dropped = self._expire(now)
        while self._turns:
            turn = self._turns.next(now)
            if isinstance(turn, float):
                return turn, dropped
            batch = self._form(turn, now, dropped)
            if batch is not None:
                return batch, dropped
        return None, dropped

    def _form(self, queue: FairQueue[Job[In, Out]], now: float, dropped: list[Result]) -> Batch[In, Out] | None:
        """Take a batch from a queue; None where it held nothing that could be sliced."""
        taken = queue.take()
        jobs, slices, n_bytes = [], [], 0
        for job, start in taken.first_cells.items():
            if start == 0:
                job.ticket.queue_s = now - job.arrived_s
            if job.next_cell == job.n_cells:
                n_bytes += job.n_bytes
            jobs.append(job)
            job.n_running += 1
            slices.append(Slice(job.item, start, job.next_cell))
        self._count(queue, -taken.n_cells, -n_bytes)
        for _, error in taken.broken:
            log.error("an item could not be sliced", exc_info=error)
        dropped += [(job.ticket.future, error) for job, error in taken.broken if self._leave(job)]
        if not slices:
            return None
        batch: Batch[In, Out] = Batch(queue.key, tuple(slices), taken.n_cells, taken.n_entries)
        self._running[batch] = Running(now, jobs)
        return batch

    def _settle(self, batch: Batch[In, Out]) -> list[Job[In, Out]]:
        """End a running batch and return its jobs; none where it has ended before."""
        running = self._running.pop(batch, None)
        if running is None:
            return []
        seconds = self._clock() - running.started_s
        self._speed.measure(batch.n_cells, seconds)
        for job in running.jobs:
            job.ticket.compute_s += seconds
        return running.jobs

    def _expire(self, now: float) -> list[Result]:
        """Give up the jobs with waiting cells whose deadline has passed."""
        expired: list[Result] = []
        for number in self._deadlines.passed(now):
            job = self._unanswered.get(number)
            if job is not None and job.next_cell < job.n_cells and self._leave(job):
                expired.append((job.ticket.future, _too_late()))
        return expired

    def _withdraw(self, number: int) -> None:
        with self._changed:
            job = self._unanswered.get(number)
            if job is not None:
                self._leave(job)

    def _leave(self, job: Job[In, Out]) -> bool:
        """Give up a job and its waiting cells, before it is answered; False where that has happened already."""
        if self._unanswered.pop(job.number, None) is None:
            return False
        n_cells = job.queue.remove(job)
        if n_cells:
            self._n_dropped_cells += n_cells
            self._count(job.queue, -n_cells, -job.n_bytes)
        return True

    def _count(self, queue: FairQueue[Job[In, Out]], n_cells: int, n_bytes: int) -> None:
        if queue.n_cells == 0:
            self._turns.drop(queue)
        self._change_room(queue.priority, n_cells, n_bytes)

    def _give_back(self, place: Place) -> None:
        with self._changed:
            self._change_room(place.priority, -place.n_cells, -place.n_bytes, placed=True)

    def _change_room(self, priority: Priority, n_cells: int, n_bytes: int, *, placed: bool = False) -> None:
        room = self._room
        room.change(priority, n_cells, n_bytes, placed=placed)
        # Under the lock, or a late report of an earlier state would stay on the gauge.
        self._recorder.queue_changed(room.n_cells, room.n_bytes)

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
