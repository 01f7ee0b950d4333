"""The id under which a call is answered and logged."""

from __future__ import annotations

import re
import uuid

_SANE = re.compile(r"[!-~]{1,128}")


def request_id_from(given: str) -> str:
    """The caller's id where it is 1 to 128 visible ASCII characters, else a new one."""
    return given if _SANE.fullmatch(given) else uuid.uuid4().hex
