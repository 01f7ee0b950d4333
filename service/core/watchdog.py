"""Notices a computation that does not end: no exception tells of it, and nothing else waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

OVERSLEPT_S = 1.0
"""Longer than a thread of a busy machine has to wait for its turn."""


class Watchdog:
    """Tells once of a computation that has run for longer than a limit.

    Its thread waits without a timer while nothing is computed. The first computation wakes it; from then on it looks
    when the one that runs would be over the limit, and goes back to sleep at the first look that finds none. So a busy
    worker wakes it once per limit, and pays one look at a flag for a batch. After a sleep that was much longer than it
    was to be, the process was stopped, and so was the computation: then it has the whole limit once more.
    """

    def __init__(
        self,
        limit_s: float,
        on_stuck: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
        condition: threading.Condition | None = None,
    ) -> None:
        """Build a watchdog that is not started.

        Args:
            limit_s: seconds that a computation may take.
            on_stuck: called once, on the watchdog's thread, which ends with it.
            clock: monotonic seconds.
            condition: what its thread waits on; tests bring one that goes by their clock.
        """
        self._limit_s = limit_s
        self._on_stuck = on_stuck
        self._clock = clock
        self._changed = threading.Condition() if condition is None else condition
        self._since_s: float | None = None
        self._timed = False
        self._closed = False
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def begin(self, now: float) -> None:
        """A computation begins at `now`, clock seconds."""
        self._since_s = now
        if not self._timed:
            with self._changed:
                self._changed.notify()

    def end(self) -> None:
        """It has ended."""
        self._since_s = None

    def close(self) -> None:
        """Watch no more."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        resumed_s = -math.inf
        with self._changed:
            while not self._closed:
                # In this order, as `begin` has its own two steps the other way round: one of the two sees the other.
                self._timed = False
                since_s = self._since_s
                if since_s is None:
                    self._changed.wait()
                    continue
                self._timed = True
                now = self._clock()
                left_s = max(since_s, resumed_s) + self._limit_s - now
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
                if self._clock() > now + left_s + OVERSLEPT_S:
                    resumed_s = self._clock()
            if self._closed:
                return
        self._on_stuck()
