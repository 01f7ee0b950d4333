"""When to ask again, and how long to wait before: no clock, no sleep and no dice of its own."""

from __future__ import annotations

import dataclasses

from totalvi_client.errors import InputError, TotalviError


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is made, and what is waited between.

    Asked again are calls that the server refused as `overloaded` or `unavailable`, and those whose connection failed
    before an answer came: encoding changes nothing in the server, so the same call twice is the same answer. The wait
    doubles with each retry; half of it is drawn by lot, so that many clients do not come back together. Where the
    server names a time (`Retry-After`, gRPC's pushback) that one is waited at least. No wait goes beyond the call's
    `timeout`.

    Attributes:
        attempts: calls in all; 1: never again.
        first_wait_s: longest wait before the second call.
        most_wait_s: longest wait before any, unless the server names a longer one.
        first_attempts: calls in all as long as no server has answered any: the address may be wrong. None: `attempts`.
    """

    attempts: int = 5
    first_wait_s: float = 0.25
    most_wait_s: float = 10.0
    first_attempts: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            InputError: no call at all, or a wait below zero.
        """
        attempts = self.attempts if self.first_attempts is None else min(self.first_attempts, self.attempts)
        if attempts < 1 or not 0 <= self.first_wait_s <= self.most_wait_s:
            raise InputError("a Retry needs 1 attempt or more, and 0 <= first_wait_s <= most_wait_s")

    def wait_s(
        self, error: TotalviError, n_made: int, lot: float, left_s: float | None, *, heard: bool = True
    ) -> float | None:
        """Seconds until the next call; None: there is to be none.

        Args:
            error: of the last call.
            n_made: calls so far, 1 or more.
            lot: drawn from 0 to 1.
            left_s: seconds until the deadline; None: there is none.
            heard: whether a server has answered by now.
        """
        attempts = self.attempts if heard or self.first_attempts is None else min(self.first_attempts, self.attempts)
        if not error.may_retry or n_made >= attempts:
            return None
        # The exponent is bounded, as 2.0 ** 1024 is an error.
        backoff = min(self.most_wait_s, self.first_wait_s * 2.0 ** min(n_made - 1, 60)) * (1 + lot) / 2
        told = (error.retry_after_s or 0.0) * (1 + lot / 4)
        wait_s = max(backoff, told)
        return None if left_s is not None and wait_s >= left_s else wait_s


PATIENT = Retry(attempts=15, most_wait_s=15.0, first_attempts=5)
"""For long runs: sits out the restart of a server, some two minutes; says soon that there is none."""
