"""The service with a leak: four kibibytes of each call are kept. What looks for leaks must find this one.

Arguments are those of `python -m service`.
"""

from __future__ import annotations

import sys
from typing import Any

from service.cli import main
from service.core.engine import Engine

KEPT_BYTES = 4096


def leak() -> None:
    """Have the engine keep something of every request."""
    kept: list[bytes] = []
    encode = Engine.encode

    async def leaking(self: Engine, *arguments: Any, **options: Any) -> Any:
        kept.append(bytes([len(kept) % 256]) * KEPT_BYTES)
        return await encode(self, *arguments, **options)

    Engine.encode = leaking  # type: ignore[method-assign]


if __name__ == "__main__":
    leak()
    sys.exit(main())
