"""The truth about the process, asked by probes and told to the transports."""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class ServingState(enum.Enum):
    """Where the process is on its way from start to exit."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


class Health:
    """One state for all probes. Changes may come from any thread; each is told to every subscriber once.

    `FAILED` is final: a part that must live (the worker, the device) is dead, and only a new process helps.
    `DRAINING` may still become `FAILED`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = ServingState.STARTING
        self._started = False
        self._reason = "models are being loaded and warmed"
        self._subscribers: list[Callable[[ServingState], None]] = []

    @property
    def state(self) -> ServingState:
        """The state now."""
        return self._state

    @property
    def reason(self) -> str:
        """Why it is in that state, for operators."""
        return self._reason

    @property
    def live(self) -> bool:
        """Whether the process is worth keeping: false only after a fault that it cannot mend."""
        return self._state is not ServingState.FAILED

    @property
    def ready(self) -> bool:
        """Whether new requests should be sent here."""
        return self._state is ServingState.READY

    @property
    def started(self) -> bool:
        """Whether it has been ready once."""
        return self._started

    def subscribe(self, callback: Callable[[ServingState], None]) -> None:
        """Call `callback` with every later state, on the thread that changes it."""
        self._subscribers.append(callback)

    def mark_ready(self) -> None:
        """Every configured model is loaded and warm."""
        self._move(ServingState.READY, "serving", allowed_from={ServingState.STARTING})

    def mark_draining(self) -> None:
        """The process was asked to stop."""
        self._move(
            ServingState.DRAINING, "draining before exit", allowed_from={ServingState.STARTING, ServingState.READY}
        )

    def mark_failed(self, reason: str) -> None:
        """A part that must live is dead."""
        self._move(ServingState.FAILED, reason, allowed_from=set(ServingState) - {ServingState.FAILED})

    def _move(self, state: ServingState, reason: str, *, allowed_from: set[ServingState]) -> None:
        with self._lock:
            if self._state not in allowed_from:
                return
            self._state, self._reason = state, reason
            self._started = self._started or state is ServingState.READY
        log.log(logging.ERROR if state is ServingState.FAILED else logging.INFO, "%s: %s", state.value, reason)
        for callback in self._subscribers:
            callback(state)
