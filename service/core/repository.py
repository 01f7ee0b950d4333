"""Loading and unloading while the service runs: off the event loop, one at a time."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
from collections.abc import Callable

from service.core.catalog import Catalog
from service.core.errors import ErrorKind, ServiceError
from service.core.health import Health
from service.core.messages import ModelState

MAX_WAITING = 32
"""Changes that may wait for the one under way; each takes about a second."""


class Repository:
    """The changes of a catalog, for the event loop.

    Args:
        catalog: of the served models.
        health: changes are made only while the service is ready.
    """

    def __init__(self, catalog: Catalog, health: Health) -> None:
        self._catalog = catalog
        self._health = health
        # A thread of its own: those of the loop are for callers. A change that has begun ends, whoever asked may leave.
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "model-loader")
        self._n_waiting = 0

    def index(self, ready: bool = False) -> list[ModelState]:
        """Every version that is served or was tried; `ready`: only those that are served."""
        return self._catalog.index(ready)

    async def load(self, name: str) -> None:
        """Load a model's versions afresh and switch to them.

        Raises:
            ServiceError: as `Catalog.load`; UNAVAILABLE while the service starts or stops; OVERLOADED.
        """
        await self._change(functools.partial(self._catalog.load, name))

    async def unload(self, name: str) -> None:
        """Serve a model no more.

        Raises:
            ServiceError: as `Catalog.unload`; UNAVAILABLE while the service starts or stops; OVERLOADED.
        """
        await self._change(functools.partial(self._catalog.unload, name))

    async def _change(self, change: Callable[[], None]) -> None:
        if not self._health.ready:
            text = f"models cannot be changed now: {self._health.state.value}"
            raise ServiceError(ErrorKind.UNAVAILABLE, text, retry_after_s=1.0)
        if self._n_waiting > MAX_WAITING:
            text = f"{MAX_WAITING} loads and unloads wait already; try again later"
            raise ServiceError(ErrorKind.OVERLOADED, text, retry_after_s=1.0, bound="model_changes")
        self._n_waiting += 1
        changing = asyncio.get_running_loop().run_in_executor(self._thread, change)
        changing.add_done_callback(self._changed)
        await asyncio.shield(changing)

    def _changed(self, _: object) -> None:
        self._n_waiting -= 1
