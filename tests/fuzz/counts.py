"""How many cases: a few seconds' worth in the ordinary suite, all of them in `make fuzz`."""

from __future__ import annotations

import os

SHARE = float(os.environ.get("FUZZ_SHARE", "0.02"))
"""Of the full numbers; `make fuzz` sets 1."""


def share_of(full: int) -> int:
    """So many of them now."""
    return max(1, round(full * SHARE))
