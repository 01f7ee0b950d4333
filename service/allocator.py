"""Keeps the C library from giving the memory of every large array back, only to ask for it again."""

from __future__ import annotations

import contextlib
import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h

KEPT_BYTES = 128 << 20
"""Freed memory at the end of an arena that stays with the process."""

_LARGEST_ARRAY = 32 << 20  # the most that glibc takes
_MOST_ARENAS = 4


def keep_freed_memory() -> None:
    """Let arrays up to 32 MiB come from memory that stays; without effect where the C library is not glibc.

    Else each array over 128 KiB is mapped and unmapped, and the kernel clears its pages every time: for requests of
    1,024 cells a quarter of the processor time. At most four arenas keep some, so the price is bounded.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGEST_ARRAY)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_ARENA_MAX, _MOST_ARENAS)
