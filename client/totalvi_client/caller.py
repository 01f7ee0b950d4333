"""What both clients are: where the server is, what is known of it, and how a question is put."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from totalvi_client.cells import Cells, ReadCells, read_cells
from totalvi_client.errors import InputError
from totalvi_client.options import Options, read_options
from totalvi_client.retry import Retry
from totalvi_client.session import Deadline, Session
from totalvi_client.stream import Stream
from totalvi_client.target import read_target

Priority: TypeAlias = Literal["interactive", "bulk"]

IN_FLIGHT: Final = 4
"""Parts of a matrix that are under way at a time, unless another number is given."""

_PRIORITIES = (None, "interactive", "bulk")
_DEFAULT_RETRY = Retry()
_LONGEST_TIMEOUT_S = 30 * 86_400.0
"""A month: both transports can say it."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a call of `encode` or `validate` asks, read."""

    cells: ReadCells
    options: Options
    priority: str | None
    deadline: Deadline


class Caller:
    """What both clients do alike, which is all but waiting. The arguments are those of `Client`."""

    def __init__(
        self,
        target: str,
        *,
        token: str | None = None,
        ca_file: str | Path | None = None,
        certificate: tuple[str | Path, str | Path] | None = None,
        tls: bool | None = None,
        timeout: float | None = 60.0,
        retry: Retry = _DEFAULT_RETRY,
        priority: Priority | None = None,
        allow_plain_token: bool = False,
    ) -> None:
        self._target = read_target(
            target,
            token=token,
            ca_file=ca_file,
            certificate=certificate,
            tls=tls,
            allow_plain_token=allow_plain_token,
        )
        self._timeout_s = checked_timeout(timeout)
        self._priority = _checked_priority(priority)
        self._session = Session(retry, tells_limits=self._target.is_rest)
        self._closed = False
        self._connect()

    def _connect(self) -> None:
        """Make the transport."""
        raise NotImplementedError

    def __repr__(self) -> str:
        """Where its server is, and nothing that opens it."""
        return f"{type(self).__name__}({self._target.address!r})"

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise InputError("the client is closed")

    def _deadline(self, timeout: float | None) -> Deadline:
        return self._session.deadline(self._timeout_s if timeout is None else checked_timeout(timeout))

    def _asked(
        self,
        gene_counts: Any,
        *,
        protein_counts: Any = None,
        batch: Any = None,
        categorical_covariates: Mapping[str, Any] | None = None,
        continuous_covariates: Mapping[str, Any] | None = None,
        cells: Any = None,
        priority: Priority | None = None,
        timeout: float | None = None,
        **options: Any,
    ) -> Asked:
        deadline = self._deadline(timeout)
        read = read_cells(
            Cells(gene_counts, protein_counts, batch, categorical_covariates, continuous_covariates, cells)
        )
        asked = read_options(**options)
        asked = dataclasses.replace(
            asked, genes=asked.genes or read.genes, proteins=asked.proteins or (read.proteins or None)
        )
        return Asked(read, asked, _checked_priority(priority) or self._priority, deadline)

    def _stream(self, options: Options, priority: Priority | None, sha256: str | None = None) -> Stream:
        return Stream(self._session, options, _checked_priority(priority) or self._priority or "bulk", sha256)


def version_text(version: str | int | None) -> str | None:
    """A version as the server writes it."""
    return None if version is None else str(version)


def checked_timeout(timeout: float | None) -> float | None:
    """Seconds that both transports can say; None: no end.

    Raises:
        InputError: they are no time.
    """
    if timeout is None:
        return None
    if not timeout > 0:
        raise InputError("timeout must be a number of seconds above 0")
    return None if timeout == float("inf") else min(float(timeout), _LONGEST_TIMEOUT_S)


def _checked_priority(priority: str | None) -> str | None:
    if priority not in _PRIORITIES:
        raise InputError("priority must be interactive or bulk")
    return priority


def check_in_flight(in_flight: int) -> None:
    """Refuse a number of calls at a time that is none.

    Raises:
        InputError: it is below 1.
    """
    if in_flight < 1:
        raise InputError("in_flight must be 1 or more")
