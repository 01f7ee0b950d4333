"""The one list of what can go wrong for a caller. Each transport maps it once (API 6)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Literal, NoReturn, TypeAlias

Bound: TypeAlias = Literal["queue", "bodies", "model_changes"]
"""What was full where a call was refused as overload."""


class ErrorKind(enum.Enum):
    """What went wrong, in no transport's words; the value is the machine code callers see."""

    MALFORMED = "malformed"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    INVALID = "invalid"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    DEADLINE = "deadline"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


class ServiceError(Exception):
    """A refusal or failure that a caller may read: the message holds no counts, paths or stack traces.

    Attributes:
        kind: decides the HTTP and gRPC status.
        detail: one sentence for a person: what is wrong and what to do.
        field: the request field at fault, as JSON spells it (`gene_counts`, `categorical_covariates.donor`).
        index: position of the first offender in that field.
        counts: further numbers by name (`{"offenders": 3}`).
        retry_after_s: seconds after which a retry may succeed; set for `OVERLOADED` and `UNAVAILABLE`.
        bound: what was full, for the operator; set for `OVERLOADED`.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str,
        *,
        field: str | None = None,
        index: int | None = None,
        counts: Mapping[str, int] | None = None,
        retry_after_s: float | None = None,
        bound: Bound | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.field = field
        self.index = index
        self.counts = dict(counts or {})
        self.retry_after_s = retry_after_s
        self.bound = bound


def for_caller(error: Exception, request_id: str) -> ServiceError:
    """What a caller is told of a failure: of a bug, no more than the id under which the log has it."""
    if isinstance(error, ServiceError) and error.kind is not ErrorKind.INTERNAL:
        return error
    return ServiceError(ErrorKind.INTERNAL, f"internal error; the log has it under request id {request_id}")


def in_message(error: ServiceError, number: int) -> ServiceError:
    """The error of one message of a stream, counted from 0: the same, but that the caller is told which it was."""
    return ServiceError(
        error.kind,
        f"message {number}: {error.detail}",
        field=error.field,
        index=error.index,
        counts={**error.counts, "message": number},
        retry_after_s=error.retry_after_s,
        bound=error.bound,
    )


def invalid(
    detail: str, *, field: str | None = None, index: int | None = None, counts: Mapping[str, int] | None = None
) -> NoReturn:
    """Raise the error of a request that decodes but cannot be encoded."""
    raise ServiceError(ErrorKind.INVALID, detail, field=field, index=index, counts=counts)


def malformed(detail: str, *, field: str | None = None, index: int | None = None) -> NoReturn:
    """Raise the error of a request that cannot be decoded."""
    raise ServiceError(ErrorKind.MALFORMED, detail, field=field, index=index)


def too_large(detail: str, *, field: str | None = None) -> NoReturn:
    """Raise the error of a request over a published limit; `detail` names the limit."""
    raise ServiceError(ErrorKind.TOO_LARGE, detail, field=field)
