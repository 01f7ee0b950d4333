"""The id under which a call is answered and logged."""

from __future__ import annotations

import itertools
import re
import uuid

# Unique among processes by the first part, and within one by the second; a uuid would ask the kernel for each.
_PROCESS = uuid.uuid4().hex[:24]
_numbers = itertools.count()

_SANE = re.compile(r"[!-~]{1,128}")


def request_id_from(given: str) -> str:
    """The caller's id where it is 1 to 128 visible ASCII characters, else a new one."""
    return given if _SANE.fullmatch(given) else f"{_PROCESS}{next(_numbers):08x}"
