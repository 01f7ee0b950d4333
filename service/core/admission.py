"""How many bytes of bodies may be in memory at once, whatever they come by."""

from __future__ import annotations

from collections.abc import Callable

from service.core.errors import ErrorKind, ServiceError


class ByteGate:
    """Counts the bytes of bodies from their arrival until their calls end, and refuses what would pass the bound.

    The queue bounds what has been decoded and checked; this bounds what is on its way there and back. A caller that is
    the only one to hold anything may hold any size, or one that is allowed by itself would be refused for ever.

    It belongs to the event loop. A `Call` holds and releases; nobody else needs to know what is held.

    Args:
        max_bytes: that all calls may hold together.
        largest_bytes: that one message may have.
        retry_after_s: asked for what a refused caller is told.
    """

    def __init__(self, max_bytes: int, largest_bytes: int, retry_after_s: Callable[[], float]) -> None:
        self.held = 0
        self.max_bytes = max_bytes
        self._largest_bytes = largest_bytes
        self._retry_after_s = retry_after_s

    @property
    def is_tight(self) -> bool:
        """Whether a message might not fit whose size only its last byte will tell."""
        return 0 < self.held > self.max_bytes - self._largest_bytes

    def check(self, n_bytes: int, *, own: int = 0) -> None:
        """Refuse more bytes that would not fit; `own` are those that the caller holds already.

        Raises:
            ServiceError: OVERLOADED, with the time to come again.
        """
        if self.held + n_bytes > self.max_bytes and self.held > own:
            raise self.refusal()

    def refusal(self) -> ServiceError:
        """What a caller is told for whose body there is no room."""
        text = f"the bodies of other requests fill the memory for them ({self.held} bytes); try again later"
        return ServiceError(ErrorKind.OVERLOADED, text, retry_after_s=self._retry_after_s(), bound="bodies")
