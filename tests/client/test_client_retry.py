from __future__ import annotations

import pytest

from totalvi_client.errors import (
    BY_CODE,
    DeadlineExceeded,
    InputError,
    Overloaded,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Untrusted,
)
from totalvi_client.retry import PATIENT, Retry

RETRY = Retry(attempts=4, first_wait_s=1, most_wait_s=3)


def test_waits_double_up_to_the_longest_and_end_with_the_attempts() -> None:
    waits = [RETRY.wait_s(Unreachable("x"), n_made, 1.0, None) for n_made in range(1, 6)]
    assert waits == [1, 2, 3, None, None]
    assert [RETRY.wait_s(Unreachable("x"), n_made, 0.0, None) for n_made in (1, 2, 3)] == [0.5, 1, 1.5]
    assert Retry(attempts=10**6).wait_s(Unreachable("x"), 10**5, 1.0, None) == 10.0


def test_what_the_server_asks_for_is_waited_at_least() -> None:
    assert RETRY.wait_s(Overloaded("x", retry_after_s=7), 1, 0.0, None) == 7
    assert RETRY.wait_s(Overloaded("x", retry_after_s=8), 1, 1.0, None) == 10
    assert RETRY.wait_s(Overloaded("x", retry_after_s=0.1), 1, 1.0, None) == 1


def test_no_wait_goes_to_the_deadline_or_beyond() -> None:
    assert RETRY.wait_s(Unreachable("x"), 1, 1.0, 1.1) == 1
    assert RETRY.wait_s(Unreachable("x"), 1, 1.0, 1.0) is None
    assert RETRY.wait_s(Overloaded("x", retry_after_s=7), 1, 0.0, 5.0) is None


def test_only_what_may_pass_is_asked_again() -> None:
    again = {code for code, kind in BY_CODE.items() if RETRY.wait_s(kind("x"), 1, 1.0, None) is not None}
    assert again == {"overloaded", "unavailable"}
    assert RETRY.wait_s(Untrusted("x"), 1, 1.0, None) is None
    assert RETRY.wait_s(UnexpectedAnswer("x"), 1, 1.0, None) is None
    assert isinstance(DeadlineExceeded("x"), TimeoutError)
    told_not_to = Unavailable("x")
    told_not_to.may_retry = False
    assert RETRY.wait_s(told_not_to, 1, 1.0, None) is None


def test_once_is_once() -> None:
    assert Retry(attempts=1).wait_s(Unreachable("x"), 1, 1.0, None) is None


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"first_attempts": 0}, {"first_wait_s": -1}, {"first_wait_s": 11}])
def test_what_cannot_work(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError):
        Retry(**wrong)  # type: ignore[arg-type]


def test_the_patient_one_waits_out_a_restart() -> None:
    assert sum(PATIENT.wait_s(Unreachable("x"), n, 0.0, None) or 0 for n in range(1, PATIENT.attempts)) > 60
