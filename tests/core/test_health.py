"""One truth for every probe."""

import pytest

from service.core.health import Health, ServingState


def facts(health: Health) -> tuple[bool, bool, bool]:
    return health.live, health.ready, health.started


def test_the_way_from_start_to_exit() -> None:
    health = Health()
    assert facts(health) == (True, False, False)
    health.mark_ready()
    assert facts(health) == (True, True, True)
    health.mark_draining()
    assert facts(health) == (True, False, True)


def test_failed_is_final() -> None:
    health = Health()
    health.mark_ready()
    health.mark_failed("the worker died")
    health.mark_ready()
    health.mark_draining()
    health.mark_failed("something later")
    assert (health.state, health.reason) == (ServingState.FAILED, "the worker died")
    assert facts(health) == (False, False, True)


def test_a_stop_while_loading_stays_a_stop() -> None:
    health = Health()
    health.mark_draining()
    health.mark_ready()
    assert health.state is ServingState.DRAINING
    health.mark_failed("a model cannot be loaded")
    assert health.state is ServingState.FAILED


def test_subscribers_hear_each_change_once() -> None:
    health = Health()
    heard: list[ServingState] = []
    health.subscribe(heard.append)
    health.mark_ready()
    health.mark_ready()
    health.mark_draining()
    assert heard == [ServingState.READY, ServingState.DRAINING]


@pytest.mark.parametrize("state", ServingState)
def test_every_state_says_why(state: ServingState) -> None:
    assert Health().reason
