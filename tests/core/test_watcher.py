"""The watcher looks again after each wait, whatever the last look brought."""

from __future__ import annotations

import queue

import pytest

from service.core.watcher import Watcher
from tests.fakes import PATIENCE_S


class Waits:
    """The watcher's waits, each of which ends when the test says so."""

    def __init__(self) -> None:
        self.began: queue.Queue[float] = queue.Queue()
        self.ends: queue.Queue[bool] = queue.Queue()

    def __call__(self, seconds: float) -> bool:
        self.began.put(seconds)
        return self.ends.get(timeout=PATIENCE_S)


def test_a_refresh_follows_each_wait(caplog: pytest.LogCaptureFixture) -> None:
    waits, n_refreshed = Waits(), 0

    def refresh() -> None:
        nonlocal n_refreshed
        n_refreshed += 1
        if n_refreshed == 1:
            raise RuntimeError("a bug")

    watcher = Watcher(refresh, 2.5, wait=waits)
    watcher.start()
    for n_before in range(3):
        assert waits.began.get(timeout=PATIENCE_S) == 2.5
        assert n_refreshed == n_before
        waits.ends.put(False)
    assert waits.began.get(timeout=PATIENCE_S) == 2.5
    waits.ends.put(True)
    watcher._thread.join(PATIENCE_S)
    assert (n_refreshed, watcher._thread.is_alive()) == (3, False)
    assert "could not be followed" in caplog.text


def test_stopping_does_not_wait_for_the_interval() -> None:
    watcher = Watcher(lambda: None, 3600)
    watcher.start()
    watcher.stop()
    watcher._thread.join(PATIENCE_S)
    assert not watcher._thread.is_alive()
