"""How urgent a caller's cells are, and how it says so on any transport."""

from __future__ import annotations

import enum

from service.core.errors import malformed


class Priority(enum.Enum):
    """Whose turn comes first; the value is the word on the wire. `core/turns` and `core/room` have the rules."""

    INTERACTIVE = "interactive"
    BULK = "bulk"


def read_priority(text: str | bytes | None, source: str, default: Priority = Priority.INTERACTIVE) -> Priority:
    """The priority that a header or a piece of metadata names.

    Args:
        text: what is given; None: nothing is.
        source: its name, for the message.
        default: where nothing is given.

    Raises:
        ServiceError: MALFORMED for any other word.
    """
    if text is None:
        return default
    if text == "interactive":
        return Priority.INTERACTIVE
    if text == "bulk":
        return Priority.BULK
    malformed(f"{source} must be interactive or bulk")
