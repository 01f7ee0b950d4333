"""Bodies in memory are bounded, whatever they come by."""

import contextlib

import pytest

from service.core.admission import ByteGate
from service.core.errors import ErrorKind, ServiceError
from service.core.recorder import Call, NullRecorder, Recorded


@pytest.fixture
def bodies():
    return ByteGate(100, 40, lambda: 2.5)


@pytest.fixture
def a_call(bodies):
    return lambda: Call("rest", "encode", "id", started_s=0.0, bodies=bodies)


def test_what_would_pass_the_bound_is_refused_at_once_with_the_time_to_come_again(bodies, a_call):
    first, second = a_call(), a_call()
    first.hold(60)
    second.hold(40)
    for refuse in (second.hold, second.expect, a_call().hold):
        with pytest.raises(ServiceError) as refused:
            refuse(1)
        assert (refused.value.kind, refused.value.retry_after_s) == (ErrorKind.OVERLOADED, 2.5)
    assert (bodies.held, second.held_bytes) == (100, 40)
    first.release(10)
    second.hold(10)
    assert bodies.held == 100


def test_a_body_that_is_only_expected_is_not_held(bodies, a_call):
    a_call().expect(100)
    assert bodies.held == 0
    a_call().hold(100)


def test_the_only_one_may_hold_any_size(bodies, a_call):
    """One that is allowed by itself is not refused for ever."""
    call = a_call()
    call.expect(500)
    for _ in range(5):
        call.hold(100)
    with pytest.raises(ServiceError):
        a_call().hold(1)
    call.release(500)
    a_call().hold(1)


@pytest.mark.parametrize("error", [None, ValueError("bug"), ServiceError(ErrorKind.INVALID, "bad"), SystemExit()])
def test_what_a_call_holds_is_given_back_however_it_ends(bodies, a_call, error):
    ending = pytest.raises(type(error)) if error else contextlib.nullcontext()
    with ending, Recorded(NullRecorder(), a_call(), lambda: 0.0) as call:
        call.hold(70)
        call.hold(20)
        call.release(30)
        assert bodies.held == 60
        if error:
            raise error
    assert bodies.held == call.held_bytes == 0


@pytest.mark.parametrize(("held", "tight"), [(0, False), (60, False), (61, True), (100, True)])
def test_tight_is_where_a_message_might_not_fit(bodies, a_call, held, tight):
    a_call().hold(held)
    assert bodies.is_tight is tight


def test_a_bound_below_one_message_is_not_tight_while_nobody_holds_anything():
    assert not ByteGate(10, 40, lambda: 1.0).is_tight


def test_a_call_without_a_gate_holds_what_it_likes():
    call = Call("rest", "encode", "id", started_s=0.0)
    call.expect(1 << 60)
    call.hold(1 << 60)
    call.release(1 << 60)
