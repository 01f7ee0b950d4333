"""What the page of the service is told of it: what it does now, and did over the last minutes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final, TypeAlias

from service.core.health import ServingState
from service.core.recorder import PHASES

INTERVAL_S: Final = 5.0
N_INTERVALS: Final = 120
"""Ten minutes, the running interval among them."""

TIMED: Final = (*PHASES, "total")

Number: TypeAlias = float | None
Row: TypeAlias = tuple[Number, ...]
"""The counts of an interval in the order of `Intervals`, then mean, median, 95th percentile and maximum by phase."""


@dataclasses.dataclass(frozen=True, slots=True)
class Times:
    """Milliseconds of one phase, by interval; None where no call was timed.

    Attributes:
        mean_ms: mean, exact.
        p50_ms: median, at most 9.1 % off (under 10 us more).
        p95_ms: 95 of a hundred took no longer; likewise.
        max_ms: the longest, exact.
    """

    mean_ms: tuple[Number, ...]
    p50_ms: tuple[Number, ...]
    p95_ms: tuple[Number, ...]
    max_ms: tuple[Number, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Intervals:
    """Numbers by interval, the oldest first; the last interval still runs.

    Attributes:
        ended_s_ago: seconds since its end; of the running one negative, as its end is yet to come.
        cells: of calls that were answered well; those of a stream count when it has ended.
        calls: that were answered well.
        refused: as overload.
        failed: by a fault of ours, or because we took too long.
        rejected: by a fault of the caller's.
        left: whose callers did not wait for the answer.
        batches: that the worker computed.
        batch_cells: in these.
        busy_s: seconds that these took; they count when they end, so it may exceed the interval.
        queue_cells_max: most cells that waited, of both priorities.
        phases: times of calls that were answered well, streams left out, by phase; `total` from arrival to answer.
    """

    ended_s_ago: tuple[Number, ...]
    cells: tuple[Number, ...]
    calls: tuple[Number, ...]
    refused: tuple[Number, ...]
    failed: tuple[Number, ...]
    rejected: tuple[Number, ...]
    left: tuple[Number, ...]
    batches: tuple[Number, ...]
    batch_cells: tuple[Number, ...]
    busy_s: tuple[Number, ...]
    queue_cells_max: tuple[Number, ...]
    phases: dict[str, Times]


@dataclasses.dataclass(frozen=True, slots=True)
class Queue:
    """What waits now, of both priorities.

    Attributes:
        cells: that wait.
        limit_cells: most cells of each priority.
        bytes: of the calls that wait.
        limit_bytes: most bytes of each priority.
    """

    cells: int
    limit_cells: int
    bytes: int
    limit_bytes: int


@dataclasses.dataclass(frozen=True, slots=True)
class Activity:
    """What the service does now and did over the last minutes.

    Attributes:
        instance: of this process, 8 random hexadecimal digits.
        uptime_s: seconds since it began.
        state: of its health.
        interval_s: seconds of an interval.
        running_s: seconds that the last interval has run.
        queue: what waits.
        in_flight: calls for latents that are not yet answered.
        intervals: at most `N_INTERVALS`, fewer in a young process.
    """

    instance: str
    uptime_s: float
    state: ServingState
    interval_s: float
    running_s: float
    queue: Queue
    in_flight: int
    intervals: Intervals


_COUNTS: Final = tuple(field.name for field in dataclasses.fields(Intervals)[1:-1])


def columns(rows: Sequence[Row], running_s: float) -> Intervals:
    """Rows by interval, the oldest first → columns; the last one has run for so many seconds."""
    ages = tuple(round(running_s + (n_after - 1) * INTERVAL_S, 3) for n_after in reversed(range(len(rows))))
    by_column = iter(zip(*rows, strict=True))
    counts = dict(zip(_COUNTS, by_column, strict=False))
    phases = {phase: Times(*(next(by_column) for _ in range(4))) for phase in TIMED}
    return Intervals(ended_s_ago=ages, phases=phases, **counts)
