"""The operators' calls that tell and change from which severity on is logged."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.core.errors import invalid, malformed, too_large
from service.rest.admin_call import AdminToken, answer_admin

MOST_BYTES: Final = 1024

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class LogLevel:
    """What the log is set to.

    Attributes:
        levels: that there are, ascending.
        read: the one now.
        change: sets another.
    """

    levels: Sequence[str]
    read: Callable[[], str]
    change: Callable[[str], None]

    def set(self, level: str) -> None:
        """Change it, and log that while the lower of the two holds, so that it is seen."""
        before = self.read()
        rises = self.levels.index(level) > self.levels.index(before)
        if not rises:
            self.change(level)
        if level != before:
            log.warning("the log level is %s from here on; it was %s", level, before)
        if rises:
            self.change(level)


def log_admin_routes(log_level: LogLevel, token: AdminToken | None) -> list[Route]:
    """`/admin/log-level`.

    Args:
        log_level: that is told and changed, until the process ends.
        token: that every call must bear; None: every call is refused.
    """

    async def read_level(request: Request) -> Response:
        async def work() -> dict[str, str]:
            return {"level": log_level.read()}

        return await answer_admin(request, token, work)

    async def change_level(request: Request) -> Response:
        async def work() -> dict[str, str]:
            log_level.set(_asked(await _body(request), log_level.levels))
            return {"level": log_level.read()}

        return await answer_admin(request, token, work)

    path = "/admin/log-level"
    return [Route(path, read_level, methods=["GET"]), Route(path, change_level, methods=["PUT"])]


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            too_large(f"the body may have {MOST_BYTES} bytes")
    return body


def _asked(body: bytes, levels: Sequence[str]) -> str:
    try:
        asked: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        malformed('the body is no JSON; it is to be like {"level": "debug"}')
    level = asked.get("level") if isinstance(asked, dict) else None
    if level not in levels:
        invalid(f"level must be one of {', '.join(levels)}", field="level")
    return str(level)
