"""Follows files by looking again and again: network file systems tell nobody of their changes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Watcher:
    """A thread that calls `refresh` every so often.

    Args:
        refresh: takes up what is on disk now; whatever it raises is logged, and the next one may work.
        interval_s: seconds from the end of one refresh to the beginning of the next.
        what: is followed.
        wait: waits that many seconds, or less once `stop` was called, and then says True.
    """

    def __init__(
        self,
        refresh: Callable[[], None],
        interval_s: float,
        *,
        what: str = "the models directory",
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self._refresh = refresh
        self._interval_s = interval_s
        self._what = what
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        # A daemon: a load that hangs must not hold up the exit.
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further refresh."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._wait(self._interval_s):
            try:
                self._refresh()
            except Exception:
                log.exception("%s could not be followed", self._what)
