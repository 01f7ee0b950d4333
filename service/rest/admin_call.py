"""One call of the operators, from its token to its answer: what all calls of `/admin` share."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from service.core.errors import ErrorKind, ServiceError
from service.core.request_id import request_id_from
from service.core.tokens import bearer_token, digest_of
from service.rest.errors import problem
from service.rest.headers import JSON

log = logging.getLogger(__name__)


class AdminToken:
    """A secret that is compared in constant time and kept as its digest, so that nothing can print it."""

    def __init__(self, text: str) -> None:
        self._digest = digest_of(text)

    def admits(self, request: Request) -> bool:
        """Whether the request bears it."""
        given = bearer_token(request.headers.getlist("authorization"))
        return given is not None and hmac.compare_digest(digest_of(given), self._digest)


async def answer_admin(request: Request, token: AdminToken | None, work: Callable[[], Awaitable[Any]]) -> Response:
    """Do what an operator asks for.

    Args:
        request: being answered.
        token: that it must bear; None: every call is refused.
        work: what is done; its result is the answer, as JSON.
    """
    request_id = request_id_from(request.headers.get("x-request-id", ""))
    try:
        _admit(request, token)
        return Response(orjson.dumps(await work()), headers={"X-Request-Id": request_id}, media_type=JSON)
    except Exception as error:
        if not isinstance(error, ServiceError) or error.kind is ErrorKind.INTERNAL:
            log.exception("an admin call failed", extra={"request_id": request_id})
        return problem(error, request_id)


def _admit(request: Request, token: AdminToken | None) -> None:
    if token is None:
        raise ServiceError(ErrorKind.FORBIDDEN, "the admin calls are off; --admin-token-file turns them on")
    if not token.admits(request):
        raise ServiceError(ErrorKind.UNAUTHENTICATED, "this call needs the operators' token: Authorization: Bearer …")
