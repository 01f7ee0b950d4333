"""The operators' calls that change which models are served; each needs the operators' token."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import ModelState
from service.core.repository import Repository
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


def model_admin_routes(repository: Repository, token: AdminToken | None) -> list[Route]:
    """`/admin/models` and what is below it.

    Args:
        repository: that is told and changed.
        token: that every call must bear; None: every call is refused.
    """

    async def answer(request: Request, work: Callable[[], Awaitable[list[ModelState]]]) -> Response:
        request_id = request_id_from(request.headers.get("x-request-id", ""))
        try:
            _admit(request, token)
            return _states(await work(), request_id)
        except Exception as error:
            if not isinstance(error, ServiceError) or error.kind is ErrorKind.INTERNAL:
                log.exception("an admin call failed", extra={"request_id": request_id})
            return problem(error, request_id)

    async def list_models(request: Request) -> Response:
        async def work() -> list[ModelState]:
            return repository.index()

        return await answer(request, work)

    def changing(change: Callable[[str], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def change_model(request: Request) -> Response:
            name = request.path_params["name"]

            async def work() -> list[ModelState]:
                await change(name)
                return [state for state in repository.index() if state.name == name]

            return await answer(request, work)

        return change_model

    return [
        Route("/admin/models", list_models, methods=["GET"]),
        Route("/admin/models/{name}/load", changing(repository.load), methods=["POST"]),
        Route("/admin/models/{name}/unload", changing(repository.unload), methods=["POST"]),
    ]


def _admit(request: Request, token: AdminToken | None) -> None:
    if token is None:
        raise ServiceError(ErrorKind.FORBIDDEN, "the admin calls are off; --admin-token-file turns them on")
    if not token.admits(request):
        raise ServiceError(ErrorKind.UNAUTHENTICATED, "this call needs the operators' token: Authorization: Bearer …")


def _states(states: list[ModelState], request_id: str) -> Response:
    return Response(orjson.dumps({"models": states}), headers={"X-Request-Id": request_id}, media_type=JSON)
