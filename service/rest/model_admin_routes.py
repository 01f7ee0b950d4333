"""The operators' calls that change which models are served; each needs the operators' token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.core.messages import ModelState
from service.core.repository import Repository
from service.rest.admin_call import AdminToken, answer_admin


def model_admin_routes(repository: Repository, token: AdminToken | None) -> list[Route]:
    """`/admin/models` and what is below it.

    Args:
        repository: that is told and changed.
        token: that every call must bear; None: every call is refused.
    """

    async def list_models(request: Request) -> Response:
        async def work() -> dict[str, list[ModelState]]:
            return {"models": repository.index()}

        return await answer_admin(request, token, work)

    def changing(change: Callable[[str], Awaitable[None]]) -> Callable[[Request], Awaitable[Response]]:
        async def change_model(request: Request) -> Response:
            name = request.path_params["name"]

            async def work() -> dict[str, list[ModelState]]:
                await change(name)
                return {"models": [state for state in repository.index() if state.name == name]}

            return await answer_admin(request, token, work)

        return change_model

    return [
        Route("/admin/models", list_models, methods=["GET"]),
        Route("/admin/models/{name}/load", changing(repository.load), methods=["POST"]),
        Route("/admin/models/{name}/unload", changing(repository.unload), methods=["POST"]),
    ]
