"""The queue of one key and the rule by which requests of all sizes share its batches: no clock, lock or future."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Any, Generic, TypeVar

from service.core.batch import In
from service.core.priority import Priority


@dataclasses.dataclass(slots=True, eq=False)
class Queued(Generic[In]):
    """An item in a queue.

    Attributes:
        item: the cells.
        arrived_s: clock seconds at arrival; never changes.
        n_cells: cells of the item, at least 1.
        n_entries: non-zeros of the cells that still wait.
        next_cell: the first cell that still waits; `n_cells`: none does.
        place: orders all queues of a batcher; a new one is given at the tail.
    """

    item: In
    arrived_s: float
    n_cells: int
    n_entries: int
    next_cell: int = dataclasses.field(default=0, kw_only=True)
    place: int = dataclasses.field(default=-1, kw_only=True)


Job = TypeVar("Job", bound=Queued[Any])


@dataclasses.dataclass(slots=True)
class Taken(Generic[Job]):
    """What one walk took out of the queue.

    Attributes:
        first_cells: the first cell taken of each job, in order of the batch; its `next_cell` is the first not taken.
        n_cells: cells taken.
        n_entries: their non-zeros.
        broken: a job whose `entries` raised, with the exception; it is still in the queue.
    """

    first_cells: dict[Job, int] = dataclasses.field(default_factory=dict)
    n_cells: int = 0
    n_entries: int = 0
    broken: list[tuple[Job, Exception]] = dataclasses.field(default_factory=list)


class FairQueue(Generic[Job]):
    """The waiting items of one key and one priority, in order of place.

    The fairness rule: the queue is walked from its head, and a request of at most half a batch (in cells and in
    non-zeros) is taken whole; the first that does not fit the room left makes all such requests behind it wait too.
    A larger request gets at most half a batch per turn and then queues again at the tail; cut short by the room left,
    it keeps its place. Room left over goes to the larger requests in their order, until it is full or they are done.

    So the head always advances: a large request takes half a batch from a small one behind it, and no stream of small
    ones can starve a large one. A single cell with more non-zeros than a whole batch is taken alone.
    """

    def __init__(
        self, key: Hashable, priority: Priority, max_cells: int, max_entries: int, places: Iterator[int]
    ) -> None:
        self.key = key
        self.priority = priority
        self.n_cells = 0
        self.n_entries = 0
        self._max_cells = max_cells
        self._max_entries = max_entries
        self._turn_cells = max(max_cells // 2, 1)
        self._turn_entries = max(max_entries // 2, 1)
        self._places = places
        # Ordered dicts, because a job may leave from anywhere, and a storm of 10,000 leaving must stay cheap.
        self._whole: OrderedDict[Job, None] = OrderedDict()
        self._sliced: OrderedDict[Job, None] = OrderedDict()

    @property
    def is_full(self) -> bool:
        """Whether what waits fills a batch."""
        return self.n_cells >= self._max_cells or self.n_entries >= self._max_entries

    @property
    def first_place(self) -> int:
        """Place of the head; the queue must not be empty."""
        return min(next(iter(queue)).place for queue in (self._whole, self._sliced) if queue)

    @property
    def oldest_arrival_s(self) -> float:
        """Earliest arrival of all that wait; the queue must not be empty."""
        # Whole jobs wait in order of arrival; sliced ones do not, but are few.
        candidates = itertools.chain(itertools.islice(self._whole, 1), self._sliced)
        return min((job.arrived_s for job in candidates), default=math.inf)

    def add(self, job: Job) -> None:
        """Put a job at the tail."""
        fits_turn = job.n_cells <= self._turn_cells and job.n_entries <= self._turn_entries
        (self._whole if fits_turn else self._sliced)[job] = None
        job.place = next(self._places)
        self.n_cells += job.n_cells
        self.n_entries += job.n_entries

    def remove(self, job: Job) -> int:
        """Withdraw what waits of a job, and return how many cells that was."""
        if job in self._whole:
            del self._whole[job]
        elif job in self._sliced:
            del self._sliced[job]
        else:
            return 0
        n_cells = job.n_cells - job.next_cell
        self.n_cells -= n_cells
        self.n_entries -= job.n_entries
        return n_cells

    def take(self) -> Taken[Job]:
        """Take the next batch by the rule."""
        taken: Taken[Job] = Taken()
        takes_whole = takes_slices = True
        while True:
            whole = next(iter(self._whole), None) if takes_whole else None
            sliced = next(iter(self._sliced), None) if takes_slices else None
            if whole is not None and (sliced is None or whole.place < sliced.place):
                takes_whole = (
                    taken.n_cells + whole.n_cells <= self._max_cells
                    and taken.n_entries + whole.n_entries <= self._max_entries
                )
                if takes_whole:
                    self._move(whole, whole.n_cells, whole.n_entries, taken)
            elif sliced is not None:
                takes_slices = self._take_slice(sliced, taken)
            else:
                return taken

    def _take_slice(self, job: Job, taken: Taken[Job]) -> bool:
        """Give a larger job its turn; False where the room cut it short."""
        room_cells, room_entries = self._max_cells - taken.n_cells, self._max_entries - taken.n_entries
        try:
            n_cells, n_entries = self._turn(job, room_cells, room_entries, alone=not taken.first_cells)
        except Exception as error:
            taken.broken.append((job, error))
            return False
        if n_cells:
            self._move(job, n_cells, n_entries, taken)
        if job.next_cell == job.n_cells:
            return True
        had_turn = n_cells > 0 and room_cells >= self._turn_cells and room_entries >= self._turn_entries
        if had_turn:
            self._sliced.move_to_end(job)
            job.place = next(self._places)
        return had_turn

    def _turn(self, job: Job, room_cells: int, room_entries: int, *, alone: bool) -> tuple[int, int]:
        """How many cells a larger job may put into the batch now, and their non-zeros."""
        entries, start = job.item.entries, job.next_cell
        most = min(self._turn_entries, room_entries)
        stop = min(job.n_cells, start + self._turn_cells, start + room_cells)
        n_entries = entries(start, stop)
        if n_entries > most:
            stops = range(start + 1, stop + 1)
            stop = start + bisect.bisect_right(stops, most, key=lambda end: entries(start, end))
            # A cell cannot be cut: it may exceed the turn's share, and if it is alone the budget itself.
            if stop == start and (alone or entries(start, start + 1) <= room_entries):
                stop = start + 1
            n_entries = entries(start, stop)
        return stop - start, n_entries

    def _move(self, job: Job, n_cells: int, n_entries: int, taken: Taken[Job]) -> None:
        """Move a job's next cells from the queue to the batch."""
        taken.first_cells.setdefault(job, job.next_cell)
        taken.n_cells += n_cells
        taken.n_entries += n_entries
        self.n_cells -= n_cells
        self.n_entries -= n_entries
        job.next_cell += n_cells
        job.n_entries -= n_entries
        if job.next_cell == job.n_cells:
            self._whole.pop(job, None)
            self._sliced.pop(job, None)
