"""What the core tells whoever traces: when the phases of a call were. Nothing is told where nobody traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

Carried: TypeAlias = Callable[[str], Sequence[str]]
"""The values of a header, or of metadata, that a call came with, by its name in small letters."""


class CallTrace(Protocol):
    """The trace of one call that is recorded. Its methods are cheap, never raise, and may be called from any thread."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...

    @property
    def answer(self) -> str:
        """What the answer bears as `traceresponse`: where the call is found."""
        ...

    def spent(self, phase: str, seconds: float) -> None:
        """A phase that took so long ends now."""
        ...

    def waited(self, since_s: float) -> None:
        """Cells that were queued at monotonic seconds `since_s` leave the queue now, and are not computed."""
        ...

    def end(self, name: str, attributes: Mapping[str, str | int]) -> None:
        """The call ends now; the last that is told of it.

        Args:
            name: of the call, one of few.
            attributes: of it, by OpenTelemetry's names.
        """
        ...


class Tracer(Protocol):
    """Decides which calls are traced."""

    def begin(self, carried: Carried) -> CallTrace | None:
        """A call arrived; None: it is not recorded. Cheap, and never raises."""
        ...
