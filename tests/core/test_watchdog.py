"""A computation that does not end is noticed, exactly at the limit, and nobody wakes for nothing."""

import queue

import pytest

from service.core.watchdog import Watchdog
from tests.fakes import PATIENCE_S, FakeClock

LIMIT_S = 60.0


class Watch:
    def __init__(self):
        self.clock = FakeClock()
        self.stuck = queue.Queue()
        self.dog = Watchdog(LIMIT_S, lambda: self.stuck.put(self.clock()), clock=self.clock, condition=self.clock.watch)

    def __enter__(self):
        self.dog.start()
        assert self.clock.watch.next_wait() is None
        return self

    def __exit__(self, *_):
        self.dog.close()
        self.dog._thread.join(PATIENCE_S)
        assert not self.dog._thread.is_alive()
        assert self.clock.watch.waits.empty()

    def begin(self):
        self.dog.begin(self.clock())


def test_a_computation_over_the_limit_is_told_once():
    with Watch() as watch:
        watch.begin()
        assert watch.clock.watch.next_wait() == LIMIT_S
        watch.clock.advance(LIMIT_S - 1)
        assert watch.clock.watch.next_wait() == 1.0
        assert watch.stuck.empty()
        watch.clock.advance(1.0)
        assert watch.stuck.get(timeout=PATIENCE_S) == watch.clock()
        watch.begin()
    assert watch.stuck.empty()


def test_idle_is_without_a_timer():
    """After the last computation it looks once more, and then sleeps until the next."""
    with Watch() as watch:
        for _ in range(2):
            watch.begin()
            assert watch.clock.watch.next_wait() == LIMIT_S
            watch.dog.end()
            watch.clock.advance(LIMIT_S)
            assert watch.clock.watch.next_wait() is None
    assert watch.stuck.empty()


def test_a_busy_worker_wakes_it_once_per_limit():
    """Each computation has the whole limit, whenever the watchdog looked last."""
    with Watch() as watch:
        watch.begin()
        assert watch.clock.watch.next_wait() == LIMIT_S
        n_notified = watch.clock.watch.n_notified
        for _ in range(1000):
            watch.dog.end()
            watch.begin()
        assert watch.clock.watch.n_notified == n_notified
        watch.clock.now += LIMIT_S / 2
        watch.dog.end()
        watch.begin()
        watch.clock.advance(LIMIT_S / 2)
        assert watch.clock.watch.next_wait() == LIMIT_S / 2
        assert watch.stuck.empty()
        watch.clock.advance(LIMIT_S / 2)
        assert watch.stuck.get(timeout=PATIENCE_S)


def test_a_process_that_was_stopped_is_not_stuck():
    """SIGSTOP, or a machine that was paused: the computation stood still as well."""
    with Watch() as watch:
        watch.begin()
        assert watch.clock.watch.next_wait() == LIMIT_S
        watch.clock.advance(10 * LIMIT_S)
        assert watch.clock.watch.next_wait() == LIMIT_S
        assert watch.stuck.empty()
        watch.clock.advance(LIMIT_S)
        assert watch.stuck.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_when_it_is_closed(busy):
    with Watch() as watch:
        if busy:
            watch.begin()
            assert watch.clock.watch.next_wait() == LIMIT_S
    assert watch.stuck.empty()
