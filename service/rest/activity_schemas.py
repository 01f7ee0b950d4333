"""The JSON of `/v1/stats` as pydantic models, which describe it to OpenAPI; nothing is checked against them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import BaseModel, Field

from service.core.activity import INTERVAL_S, N_INTERVALS
from service.core.health import ServingState

Counts: TypeAlias = list[int]
Milliseconds: TypeAlias = list[float | None]


class WaitingCells(BaseModel):
    """What waits now, of both priorities."""

    cells: Annotated[int, Field(description="Cells that wait.")]
    limit_cells: Annotated[int, Field(description="Cells of each priority that may wait (`--max-queue-cells`).")]
    bytes: Annotated[int, Field(description="Memory of the calls that wait.")]
    limit_bytes: Annotated[int, Field(description="Memory of each priority (`--max-queue-bytes`).")]


class PhaseTimes(BaseModel):
    """Times of one phase by interval; null where no call was timed."""

    mean_ms: Annotated[Milliseconds, Field(description="Mean.")]
    p50_ms: Annotated[Milliseconds, Field(description="Median: of times above 0.01 ms at most 9.1 % off.")]
    p95_ms: Annotated[Milliseconds, Field(description="95 of a hundred took no longer: likewise.")]
    max_ms: Annotated[Milliseconds, Field(description="The longest.")]


class PhasesTimed(BaseModel):
    """Times of calls that were answered well, but for those of streams."""

    decode: PhaseTimes
    queue: PhaseTimes
    compute: PhaseTimes
    encode: PhaseTimes
    total: Annotated[PhaseTimes, Field(description="From a call's arrival to its answer.")]


class ActivityIntervals(BaseModel):
    """Numbers by interval, the oldest first; the last interval still runs. A call counts when it ends."""

    ended_s_ago: Annotated[
        list[float], Field(description="Seconds since its end; negative for the running one, whose end is yet to come.")
    ]
    cells: Annotated[Counts, Field(description="Of calls that were answered well.")]
    calls: Annotated[Counts, Field(description="Answered well.")]
    refused: Annotated[Counts, Field(description="Calls refused as `overloaded`.")]
    failed: Annotated[Counts, Field(description="Calls that ended as `internal`, `unavailable` or `deadline`.")]
    rejected: Annotated[
        Counts, Field(description="Calls refused for what they ask: `invalid`, `malformed` and others.")
    ]
    left: Annotated[Counts, Field(description="Calls whose callers did not wait for the answer.")]
    batches: Annotated[Counts, Field(description="Computed.")]
    batch_cells: Annotated[
        Counts, Field(description="In these: of a long stream they count while it goes on, `cells` at its end.")
    ]
    busy_s: Annotated[list[float], Field(description="Seconds that the batches took which ended in it.")]
    queue_cells_max: Annotated[Counts, Field(description="Most cells that waited, of both priorities.")]
    phases: PhasesTimed


class ServiceActivity(BaseModel):
    """What this process does now, and did over the last ten minutes for calls of encode and infer, gRPC's included."""

    server_version: str
    instance: Annotated[
        str, Field(pattern="^[0-9a-f]{8}$", description="Of this process: behind a balancer, which one answered.")
    ]
    uptime_s: float
    state: Annotated[ServingState, Field(description="As the probes tell it.")]
    interval_s: Annotated[float, Field(description=f"Seconds of an interval: {INTERVAL_S:g}.")]
    running_s: Annotated[float, Field(description="Seconds that the last interval has run.")]
    queue: WaitingCells
    in_flight: Annotated[int, Field(description="Calls not yet answered.")]
    intervals: Annotated[
        ActivityIntervals, Field(description=f"At most {N_INTERVALS}; as many as there were in a young process.")
    ]
