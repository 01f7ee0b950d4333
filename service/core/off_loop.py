"""Where work runs: small work between two awaits, large work in a thread, so that the event loop stays quick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

HEAVY_BYTES = 1 << 18
"""Work on more bytes than this takes longer than a hop to a thread and back."""


async def off_loop_if(heavy: bool, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call `function`, in a thread if that is `heavy`."""
    return await asyncio.to_thread(function, *args, **kwargs) if heavy else function(*args, **kwargs)
