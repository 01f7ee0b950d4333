"""What the batcher keeps of an item until it is answered, and of a batch until it has ended."""

from __future__ import annotations

import dataclasses
from typing import Any, Generic

from service.core.batch import In, Out
from service.core.fair_queue import FairQueue, Queued
from service.core.ticket import Ticket


@dataclasses.dataclass(slots=True, eq=False)
class Job(Queued[In], Generic[In, Out]):
    """An admitted item.

    Attributes:
        queue: that it waits in.
        ticket: of its caller.
        number: of the ticket.
        n_bytes: of the item.
        n_running: slices that were taken and have not ended.
        outputs: those of its slices that have ended, by their first cells.
    """

    queue: FairQueue[Job[In, Out]]
    ticket: Ticket[Out]
    number: int
    n_bytes: int
    n_running: int = 0
    outputs: dict[int, Any] = dataclasses.field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all of its cells were taken, and all slices have ended."""
        return self.n_running == 0 and self.next_cell == self.n_cells

    def in_order(self) -> list[Any]:
        """The outputs in the order of the cells."""
        outputs = self.outputs
        return list(outputs.values()) if len(outputs) == 1 else [outputs[start] for start in sorted(outputs)]


@dataclasses.dataclass(slots=True)
class Running(Generic[In, Out]):
    """When a batch was taken, and the jobs of its slices, in order."""

    started_s: float
    jobs: list[Job[In, Out]]
