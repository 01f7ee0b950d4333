"""What a caller holds while its cells are on their way, and how it is answered on its own loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeAlias

from service.core.batch import Out
from service.core.errors import ErrorKind, ServiceError

log = logging.getLogger(__name__)

Result: TypeAlias = tuple[asyncio.Future[list[Any]], list[Any] | BaseException]
"""A future, and the outputs or the error to set on it."""


class Ticket(Generic[Out]):
    """What a caller holds of its item.

    Attributes:
        future: resolves to the outputs of the item's slices in cell order, or raises a `ServiceError`.
        queue_s: seconds from arrival to the start of the first batch that holds some of its cells.
        compute_s: seconds its batches took, summed.
    """

    __slots__ = ("compute_s", "future", "queue_s")

    def __init__(self, future: asyncio.Future[list[Out]]) -> None:
        self.future = future
        self.queue_s = 0.0
        self.compute_s = 0.0

    def cancel(self) -> None:
        """Leave, by cancelling `future`: waiting cells are withdrawn at once, running ones are computed for nobody."""
        self.future.cancel()


class Answer(asyncio.Future[list[Any]]):
    """A future that withdraws its cells when it is cancelled: on the spot, not in a callback a loop turn later."""

    def __init__(self, number: int, withdraw: Callable[[int], None]) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        # A number and not the job, or each call would leave a reference cycle that holds its cells.
        self._number = number
        self._withdraw = withdraw

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel and withdraw; False where it was done before."""
        left = super().cancel(msg)
        if left:
            self._withdraw(self._number)
        return left


def deliver(results: Sequence[Result]) -> None:
    """Answer callers, on their loop, each in its own guarded step: one that left must not cost the others theirs."""
    for future, result in results:
        try:
            if future.done():
                continue
            if isinstance(result, BaseException):
                future.set_exception(own_error(result))
                future.exception()  # marks it as seen: asyncio must not complain where the caller no longer looks
            else:
                future.set_result(result)
        except Exception:
            log.exception("an answer could not be delivered")


def own_error(error: BaseException) -> ServiceError:
    """The error for one caller: an exception object shared by many would collect all their tracebacks.

    Anything but a `ServiceError` becomes `INTERNAL`, without its text.
    """
    if not isinstance(error, ServiceError):
        return ServiceError(ErrorKind.INTERNAL, "the cells could not be computed")
    own = ServiceError(
        error.kind,
        error.detail,
        field=error.field,
        index=error.index,
        counts=error.counts,
        retry_after_s=error.retry_after_s,
        bound=error.bound,
    )
    # So that the log has the cause under each caller's request id.
    own.__cause__ = error.__cause__
    return own
