"""How the text of a setting is read: each reader raises a `ValueError` that says what to give instead."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Read: TypeAlias = Callable[[str], Any]


def whole(low: int, high: int) -> Read:
    """Read a whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def number(low: float, high: float) -> Read:
    """Read a finite number from `low` to `high`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def size(low: int, high: int) -> Read:
    """Read a number of bytes: `67108864`, `64M` or `64MiB` (powers of two all)."""

    def read(text: str) -> int:
        match = re.fullmatch(r"(\d{1,15})(?:([KMG])(?:iB)?)?", text, re.ASCII | re.IGNORECASE)
        scale = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
        value = int(match[1]) * scale[(match[2] or "").lower()] if match else -1
        if not low <= value <= high:
            raise ValueError(f"a size from {low} to {high} bytes, like 64MiB")
        return value

    return read


def one_of(*words: str) -> Read:
    """Read one of `words`."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(" or ".join(words))
        return text

    return read


def switch(text: str) -> bool:
    """Read `on` or `off`."""
    if text not in ("on", "off"):
        raise ValueError("on or off")
    return text == "on"


def matching(pattern: str, wanted: str, make: Callable[[str], Any] = str) -> Read:
    """Read text that matches `pattern`; `wanted` says so in words."""

    def read(text: str) -> Any:
        if not re.fullmatch(pattern, text):
            raise ValueError(wanted)
        return make(text)

    return read


a_file = matching(r".+", "a file", Path)
"""Read the path of a file."""
