"""Whose call the running task answers."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""The name of the caller's token; empty where no token was asked for. Every call is answered in a task of its own."""
