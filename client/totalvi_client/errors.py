"""What can go wrong for a caller: one class for each thing that one would catch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final


class TotalviError(Exception):
    """Anything that this package raises on purpose.

    Attributes:
        may_retry: whether the same call may succeed a little later; `Retry` looks at it.
        retry_after_s: seconds that the server asks to wait before that; None: it names none.
    """

    may_retry: bool = False
    retry_after_s: float | None = None


class InputError(TotalviError, ValueError):
    """What was given cannot be sent; the message says what to give instead. Nothing has been sent."""


class NoAnswer(TotalviError):
    """No answer came that could be understood.

    Attributes:
        request_id: of the call; the server's log has it under this, if it came there. None: no call was made.
    """

    def __init__(self, detail: str, *, request_id: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.request_id = request_id

    def __str__(self) -> str:
        """The detail, and the request id, which a user may quote."""
        return _quoted(self.detail, self.request_id)


class Unreachable(NoAnswer):
    """Nobody answered: no connection, or one that broke."""

    may_retry = True


class Untrusted(Unreachable):
    """No connection, as one side does not trust the other's certificate, or the other does not speak TLS at all."""

    may_retry = False


class UnexpectedAnswer(NoAnswer):
    """Somebody answered, but not as a totalvi-serve would: look at the address and at what stands between.

    Attributes:
        status: HTTP status, or name of the gRPC status.
    """

    def __init__(self, detail: str, *, request_id: str | None = None, status: int | str | None = None) -> None:
        super().__init__(detail, request_id=request_id)
        self.status = status


class ModelChanged(TotalviError):
    """While a matrix was encoded in parts the model was exchanged, so the parts do not belong together."""


class ServiceError(TotalviError):
    """The server refused or failed a call, and says why.

    Attributes:
        code: the machine code that the server gave, e.g. `invalid`.
        detail: one sentence for a person.
        field: the request field at fault, as JSON spells it: `gene_counts`, `categorical_covariates.donor`.
        index: position of the first offender in that field, counted within `cells` where those are set.
        counts: further numbers by name.
        request_id: under which the server's log has the call.
        retry_after_s: seconds after which a retry may succeed.
        status: HTTP status, or name of the gRPC status; None: the client itself gave up.
        cells: first and last of the cells that the call was for, where it was a part of a larger matrix.
    """

    code_of_class: ClassVar[str] = ""

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        field: str | None = None,
        index: int | None = None,
        counts: Mapping[str, int] | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        status: int | str | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code or self.code_of_class
        self.detail = detail
        self.field = field
        self.index = index
        self.counts = dict(counts or {})
        self.request_id = request_id
        self.retry_after_s = retry_after_s
        self.status = status
        self.cells: tuple[int, int] | None = None

    def __str__(self) -> str:
        """The detail, which cells it is about, and the request id, which a user may quote."""
        where = "" if self.cells is None else f"cells {self.cells[0]} to {self.cells[1]}: "
        return where + _quoted(self.detail, self.request_id)


class Malformed(ServiceError):
    """The server could not decode the request: a fault of this client, or of what stands between."""

    code_of_class = "malformed"


class Unauthenticated(ServiceError):
    """The token is missing, wrong or expired."""

    code_of_class = "unauthenticated"


class Forbidden(ServiceError):
    """The token is not for this call."""

    code_of_class = "forbidden"


class NotFound(ServiceError):
    """No such model or version; the message lists the known ones."""

    code_of_class = "not_found"


class TooLarge(ServiceError):
    """Over a published limit, which the message names."""

    code_of_class = "too_large"


class Unsupported(ServiceError):
    """The server does not take this kind of request."""

    code_of_class = "unsupported"


class Invalid(ServiceError):
    """The request cannot be encoded: counts, names, labels or covariates are wrong; the message says which and how."""

    code_of_class = "invalid"


class Overloaded(ServiceError):
    """The server's queue is full, and stayed so through all retries."""

    code_of_class = "overloaded"
    may_retry = True


class Unavailable(ServiceError):
    """The server is starting or stopping, or the model is not ready, and stayed so through all retries."""

    code_of_class = "unavailable"
    may_retry = True


TOO_LATE: Final = "no answer before the deadline: give it more time (timeout=) or fewer cells"
"""What a client says that gives up by itself."""


class DeadlineExceeded(ServiceError, TimeoutError):
    """The call's `timeout` passed, retries included."""

    code_of_class = "deadline"


class Cancelled(ServiceError):
    """The call was cancelled between client and server."""

    code_of_class = "cancelled"


class Internal(ServiceError):
    """A fault of the server; its log has it under the request id."""

    code_of_class = "internal"


BY_CODE: Final[Mapping[str, type[ServiceError]]] = {
    kind.code_of_class: kind
    for kind in (
        Malformed,
        Unauthenticated,
        Forbidden,
        NotFound,
        TooLarge,
        Unsupported,
        Invalid,
        Overloaded,
        Unavailable,
        DeadlineExceeded,
        Cancelled,
        Internal,
    )
}
"""The class of each code that the server knows; any other code is a `ServiceError` itself."""


def _quoted(detail: str, request_id: str | None) -> str:
    return detail if request_id is None else f"{detail} (request {request_id})"
