"""How much memory the container has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def memory_limit_bytes(cgroups: Path = CGROUPS) -> float | Mapping[tuple[str, ...], float]:
    """The limit of the process' control group, as a container sees it; empty where it has none."""
    for file in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            limit = int((cgroups / file).read_text())
        except (OSError, ValueError):  # not there, or `max`
            continue
        # The first version of control groups writes the largest page count there is for no limit.
        return limit if limit < 1 << 60 else {}
    return {}
