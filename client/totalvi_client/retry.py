"""When to ask again, and how long to wait before: no clock, no sleep and no dice of its own."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is made, and what is waited between.

    Asked again are calls that the server refused as `overloaded` or `unavailable`, and those whose connection failed
    before an answer came: encoding changes nothing in the server, so the same call twice is the same answer. The wait
    doubles with each retry; half of it is drawn by lot, so that many clients do not come back together. Where the server
    names a time (`Retry-After`, gRPC's pushback) that one is waited at least. No wait goes beyond the call's `timeout`.

    Attributes:
        attempts: calls in all; 1: never again.
        first_wait_s: longest wait before the second call.
        most_wait_s: longest wait before any, unless the server names a longer one.
    """

    attempts: int = 5
    first_wait_s: float = 0.25
    most_wait_s: float = 10.0


PATIENT = Retry(attempts=15, most_wait_s=15.0)
"""For long runs: sits out the restart of a server, about two minutes."""
