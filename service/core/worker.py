"""The one thread that owns the device: it takes batches, runs them and hands the outputs back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic

from model.contract import DeviceLost, OutOfDeviceMemory
from service.core.batch import Batch, In, Out
from service.core.batcher import RETRY_AFTER_S, Batcher
from service.core.errors import ErrorKind, ServiceError
from service.core.recorder import NullRecorder, Recorder
from service.core.watchdog import Watchdog

log = logging.getLogger(__name__)


class ComputeStuck(RuntimeError):
    """A computation has not ended in the time that any may take."""


class Worker(Generic[In, Out]):
    """Runs batches one after another until its batcher is closed and empty.

    An exception fails the batch it came from and no other. A batch for which the device has no memory is tried once
    more in halves, each for itself; the callers of one that does not fit either are answered `UNAVAILABLE`, since what
    is short may be there a moment later, or on another replica.

    Whatever gets past that, `DeviceLost` above all, ends the worker, and so does a computation that does not end: every
    caller is answered `UNAVAILABLE`, so that nobody waits for a dead thread, after `on_death` was told.
    """

    def __init__(
        self,
        batcher: Batcher[In, Out],
        run: Callable[[Batch[In, Out]], Sequence[Out]],
        *,
        on_death: Callable[[BaseException], None],
        recorder: Recorder | None = None,
        name: str = "encoder-worker",
        clock: Callable[[], float] = time.monotonic,
        stuck_after_s: float = 60.0,
        condition: threading.Condition | None = None,
    ) -> None:
        """Build a worker that is not started.

        Args:
            batcher: where its batches come from.
            run: computes a batch, one output per slice in order. A `ServiceError` it raises reaches the callers as it
                is, any other exception as `INTERNAL`.
            on_death: called once, on a thread of the worker's, with what ended it; not called after a regular end.
            recorder: told of every batch that was computed.
            name: of the thread.
            clock: monotonic seconds.
            stuck_after_s: seconds after which one computation is taken for stuck.
            condition: what the watchdog waits on; tests bring one that goes by their clock.
        """
        self._batcher = batcher
        self._run = run
        self._on_death = on_death
        self._recorder: Recorder = NullRecorder() if recorder is None else recorder
        self._clock = clock
        self._busy: tuple[float, float | None] = (0.0, None)  # one value, so that any thread reads it as it was
        self._stuck_after_s = stuck_after_s
        self._watchdog = Watchdog(stuck_after_s, self._be_stuck, clock=clock, condition=condition)
        self._died = threading.Lock()
        # A daemon, because a compute that is stuck in the device cannot be interrupted and must not block the exit.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    @property
    def busy_s(self) -> float:
        """Seconds since the computation that runs now began; 0 while none does."""
        _, started_s = self._busy
        return 0.0 if started_s is None else self._clock() - started_s

    @property
    def total_busy_s(self) -> float:
        """Seconds that it has computed so far, up to now; never less than before."""
        # The clock first: what ends after that look will have taken no less.
        now = self._clock()
        ended_s, started_s = self._busy
        return ended_s if started_s is None else ended_s + max(0.0, now - started_s)

    def start(self) -> None:
        """Start the thread; once."""
        self._watchdog.start()
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Wait for the end of the thread (close or abort the batcher first); True: it has ended or never began."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            while (batch := self._batcher.take()) is not None:
                self._compute(batch)
                del batch  # an idle worker holds nobody's cells
        except BaseException as error:
            self._die(error)
        finally:
            self._watchdog.close()

    def _compute(self, batch: Batch[In, Out]) -> None:
        """Run a batch, in halves where the device has too little memory for the whole."""
        if self._fits(batch):
            return
        log.warning("a batch of %d cells did not fit the device's memory: trying its halves", batch.n_cells)
        for half in self._batcher.halve(batch):
            if not self._fits(half):
                log.error("%d cells did not fit the device's memory either", half.n_cells)
                text = "the device has too little memory for these cells at the moment; try again later or with fewer"
                self._batcher.fail(half, ServiceError(ErrorKind.UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S))

    def _fits(self, batch: Batch[In, Out]) -> bool:
        """Run a batch and answer its callers; False: there was too little memory, and nobody was answered.

        It is told by its value: the traceback of an exception would hold what has been allocated until the next try.
        """
        started_s = self._clock()
        ended_s, _ = self._busy
        self._busy = (ended_s, started_s)
        self._watchdog.begin(started_s)
        try:
            outputs = self._run(batch)
            self._recorder.batch_computed(batch.n_cells, batch.n_entries, self._clock() - started_s)
            self._batcher.finish(batch, outputs)
        except DeviceLost:
            raise
        except (OutOfDeviceMemory, MemoryError):
            return False
        except ServiceError as error:
            self._batcher.fail(batch, error)
        except Exception as error:
            log.exception("a batch of %d cells failed", batch.n_cells)
            refusal = ServiceError(ErrorKind.INTERNAL, "the cells could not be computed; the log has the reason")
            refusal.__cause__ = error
            self._batcher.fail(batch, refusal)
        finally:
            self._watchdog.end()
            self._busy = (ended_s + self._clock() - started_s, None)
        return True

    def _be_stuck(self) -> None:
        self._die(ComputeStuck(f"a computation has not ended within {self._stuck_after_s:g} s"))

    def _die(self, error: BaseException) -> None:
        if not self._died.acquire(blocking=False):
            return  # what was stuck came back to fail
        log.critical("the worker ends: no further inference is possible", exc_info=error)
        try:
            # Before the callers, so that whoever asks after an answer is told the truth.
            self._on_death(error)
        finally:
            text = "the encoder has stopped working; this server will not recover"
            self._batcher.abort(ServiceError(ErrorKind.UNAVAILABLE, text, retry_after_s=RETRY_AFTER_S))
