"""Counts and times of the last minutes by interval, for whoever looks at the page of the service."""

from __future__ import annotations

import collections
import math
import secrets
import threading
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import numpy as np

from service.core.activity import INTERVAL_S, N_INTERVALS, TIMED, Activity, Queue, Row, columns
from service.core.errors import ErrorKind
from service.core.health import ServingState
from service.core.recorder import Call

COUNTED: Final = frozenset({"encode", "encode_stream", "infer"})
"""Operations that ask for latents, of either transport; those that check or describe are not counted."""

Ending: TypeAlias = Literal["calls", "refused", "failed", "rejected", "left"]

ENDINGS: Final[dict[str, Ending]] = {
    "ok": "calls",
    ErrorKind.OVERLOADED.value: "refused",
    ErrorKind.INTERNAL.value: "failed",
    ErrorKind.UNAVAILABLE.value: "failed",
    ErrorKind.DEADLINE.value: "failed",
    ErrorKind.CANCELLED.value: "left",
    ErrorKind.MALFORMED.value: "rejected",
    ErrorKind.UNAUTHENTICATED.value: "rejected",
    ErrorKind.FORBIDDEN.value: "rejected",
    ErrorKind.NOT_FOUND.value: "rejected",
    ErrorKind.TOO_LARGE.value: "rejected",
    ErrorKind.UNSUPPORTED.value: "rejected",
    ErrorKind.INVALID.value: "rejected",
}
"""Outcome of a call → what it is counted as."""

_RATIO: Final = 2**0.25
_EDGES: Final = 1e-5 * _RATIO ** np.arange(94)
"""Seconds, from 10 us to 100 s: a quantile is told as the middle of its bucket, which is at most 9.1 % off."""

_MOST_GATHERED: Final = 512
"""Times that are kept before they are put into buckets: one by one that would cost a call twice as much."""

IntArray: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.int64]]"


class Recent:
    """A `Recorder` of the last `N_INTERVALS`; safe from any thread, of bounded memory, and none of its methods raises.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.instance = secrets.token_hex(4)
        self._clock = clock
        # Reentrant: the garbage collector may close a caller's coroutine, which ends its call, anywhere in here.
        self._lock = threading.RLock()
        self._began_s = clock()
        self._ends_s = self._began_s + INTERVAL_S
        self._running = _Interval()
        self._ended: collections.deque[Row] = collections.deque(maxlen=N_INTERVALS - 1)
        self._in_flight = 0
        self._queue_cells = 0
        self._queue_peak = 0

    def call_started(self, call: Call) -> None:
        """Count the call as in flight."""
        if call.operation in COUNTED:
            with self._lock:
                # Its cells are to count as waiting in this interval, and not in the one before a pause.
                if self._clock() >= self._ends_s:
                    self._turn()
                self._in_flight += 1

    def call_finished(self, call: Call, duration_s: float) -> None:
        """Count how the call ended, and time it."""
        if call.operation not in COUNTED:
            return
        with self._lock:
            self._in_flight -= 1
            if self._clock() >= self._ends_s:
                self._turn()
            running = self._running
            running.endings[ENDINGS[call.outcome]] += 1
            if call.outcome != "ok":
                return
            running.cells += call.n_cells
            if call.operation != "encode_stream":  # its phases are the sums of many answers'
                spent = running.spent
                for phase, seconds in call.phase_s.items():
                    spent[phase].append(seconds)
                total = spent["total"]
                total.append(duration_s)
                if len(total) >= _MOST_GATHERED:
                    running.sort()

    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        """Count one computation."""
        with self._lock:
            if self._clock() >= self._ends_s:
                self._turn()
            running = self._running
            running.batches += 1
            running.batch_cells += n_cells
            running.busy_s += seconds

    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        """Keep what the queue holds, and the most that it held."""
        # No lock, and no clock: who tells of the queue holds its lock, and each call changes it several times. A peak
        # counts for the interval in which a call last began or ended, or a batch ended, or somebody looked.
        self._queue_cells = n_cells
        if n_cells > self._queue_peak:  # noqa: PLR1730 - the built-in takes twice as long
            self._queue_peak = n_cells

    def activity(self, *, state: ServingState, queue: Queue) -> Activity:
        """What has been counted.

        Args:
            state: of the process' health.
            queue: what waits.
        """
        with self._lock:
            if self._clock() >= self._ends_s:
                self._turn()
            rows = [*self._ended, self._running.row(self._queue_peak)]
            running_s = self._clock() - (self._ends_s - INTERVAL_S)
            in_flight = self._in_flight
        return Activity(
            instance=self.instance,
            uptime_s=round(self._clock() - self._began_s, 3),
            state=state,
            interval_s=INTERVAL_S,
            running_s=round(running_s, 3),
            queue=queue,
            in_flight=in_flight,
            intervals=columns(rows, running_s),
        )

    def _turn(self) -> None:
        """Begin the interval that runs now, and put those away that have ended."""
        n_over = math.floor((self._clock() - self._ends_s) / INTERVAL_S) + 1
        # Everything is changed before anything is worked out: whoever comes in between must find it whole.
        over, self._running = self._running, _Interval()
        peak, self._queue_peak = self._queue_peak, self._queue_cells
        self._ends_s += n_over * INTERVAL_S
        self._ended.append(over.row(peak))
        self._ended.extend([_Interval().row(self._queue_cells)] * min(n_over - 1, N_INTERVALS))


class _Interval:
    """The counts of one interval."""

    __slots__ = ("batch_cells", "batches", "busy_s", "cells", "endings", "histograms", "spent")

    def __init__(self) -> None:
        self.cells = 0
        self.endings: dict[Ending, int] = dict.fromkeys(("calls", "refused", "failed", "rejected", "left"), 0)
        self.batches = 0
        self.batch_cells = 0
        self.busy_s = 0.0
        # Seconds by phase, and what they are sorted into when there are many.
        self.spent: dict[str, list[float]] = {phase: [] for phase in TIMED}
        self.histograms = {phase: _Histogram() for phase in TIMED}

    def sort(self) -> None:
        """Put the times that have gathered into their buckets."""
        for phase, seconds in self.spent.items():
            if seconds:
                self.histograms[phase].add(seconds)
                seconds.clear()

    def row(self, queue_peak: int) -> Row:
        """All numbers, in the order of `Intervals`, without their age."""
        self.sort()
        counts = (self.cells, *self.endings.values(), self.batches, self.batch_cells, round(self.busy_s, 3), queue_peak)
        return (*counts, *(number for histogram in self.histograms.values() for number in histogram.row()))


class _Histogram:
    """The times of one phase."""

    __slots__ = ("counts", "max_s", "sum_s")

    def __init__(self) -> None:
        self.counts = np.zeros(len(_EDGES) + 1, np.int64)
        self.sum_s = 0.0
        self.max_s = 0.0

    def add(self, seconds: list[float]) -> None:
        """Count some times."""
        self.counts += np.bincount(np.searchsorted(_EDGES, seconds, "right"), minlength=len(self.counts))
        self.sum_s += sum(seconds)
        self.max_s = max(self.max_s, *seconds)

    def row(self) -> Row:
        """Mean, median, 95th percentile and maximum, in milliseconds."""
        below = self.counts.cumsum()
        n = int(below[-1])
        if not n:
            return (None,) * 4
        told = (self.sum_s / n, self._quantile(0.5, below), self._quantile(0.95, below), self.max_s)
        return tuple(map(_milliseconds, told))

    def _quantile(self, share: float, below: IntArray) -> float:
        bucket = int(np.searchsorted(below, math.ceil(share * int(below[-1]))))
        if bucket == len(_EDGES):
            return self.max_s
        return min(float(_EDGES[bucket]) / math.sqrt(_RATIO), self.max_s)


def _milliseconds(seconds: float) -> float:
    """To three digits, or to the microsecond where that is less."""
    return float(f"{seconds * 1000:.3g}") if seconds >= 1e-4 else round(seconds * 1000, 3)
