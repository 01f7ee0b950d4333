"""Sends spans on a thread of its own, which nobody waits for: what cannot be sent in time is dropped and counted."""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.spans import Ended, SpanMaker

log = logging.getLogger(__name__)

MOST_WAITING = 2048
"""Calls and computations; a call takes about a kilobyte, a stream at most 25."""

AT_A_TIME = 64
"""Of which one message is made: some 300 spans, and some milliseconds of the interpreter."""

GATHER_S = 1.0
"""That the first waits for company."""

SILENCE_S = 60.0
"""Between two lines of the log about the same trouble."""


class Outbox:
    """Keeps what has ended until it is sent.

    Nobody polls: its thread waits without a timer while there is nothing to send.

    Args:
        exporter: sends spans; may take long, fail and raise.
        maker: of the spans.
        destination: for the log.
        clock: monotonic seconds.
        gather_s: that the first waits for company.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        maker: SpanMaker,
        *,
        destination: str,
        clock: Callable[[], float] = time.monotonic,
        gather_s: float = GATHER_S,
    ) -> None:
        self._exporter = exporter
        self._maker = maker
        self._destination = destination
        self._clock = clock
        self._gather_s = gather_s
        self._waiting: collections.deque[Ended] = collections.deque()
        self._counting = threading.Lock()
        self._n_dropped = self._n_told = 0
        self._told_s: float | None = None
        self._something = threading.Event()
        self._hurry = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._send, name="span-outbox", daemon=True)

    @property
    def n_dropped(self) -> int:
        """Calls and computations that were not sent."""
        return self._n_dropped

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def put(self, ended: Ended) -> None:
        """Keep it to be sent; where too much waits it is dropped. From any thread; never waits."""
        if self._closed or len(self._waiting) >= MOST_WAITING:
            self._drop(1)
            return
        self._waiting.append(ended)
        if not self._something.is_set():
            self._something.set()
        if len(self._waiting) >= AT_A_TIME and not self._hurry.is_set():
            self._hurry.set()

    def close(self, timeout_s: float) -> bool:
        """Take nothing more, and send what waits; False: not all of it within `timeout_s`, and the rest is lost."""
        self._closed = True
        self._hurry.set()
        self._something.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        in_time = not self._thread.is_alive()
        if not in_time:
            log.warning("the last traces could not be sent to %s in time", self._destination)
        with contextlib.suppress(Exception):
            # Ends what the thread may be waiting for.
            self._exporter.shutdown()
        return in_time

    def _send(self) -> None:
        while not (self._closed and not self._waiting):
            self._something.wait()
            self._hurry.wait(self._gather_s)
            # Cleared before the look at what waits, so that none is left waiting unseen.
            self._something.clear()
            self._hurry.clear()
            while self._waiting:
                self.send_some()

    def send_some(self) -> None:
        """Send the next of what waits, on the thread that sends."""
        some = [self._waiting.popleft() for _ in range(min(AT_A_TIME, len(self._waiting)))]
        try:
            spans = [span for ended in some for span in self._maker.spans(ended)]
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:
            log.debug("spans could not be sent", exc_info=True)
            sent = False
        if not sent:
            self._drop(len(some))
        self._tell_of_dropped()

    def _drop(self, n: int) -> None:
        with self._counting:
            self._n_dropped += n

    def _tell_of_dropped(self) -> None:
        """Log that there are more, once in a while."""
        now, n_dropped = self._clock(), self._n_dropped
        if n_dropped > self._n_told and (self._told_s is None or now - self._told_s >= SILENCE_S):
            self._n_told, self._told_s = n_dropped, now
            text = "%d calls and computations were not traced so far: %s did not take them in time"
            log.warning(text, n_dropped, self._destination)
