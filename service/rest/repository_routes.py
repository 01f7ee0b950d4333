"""The model repository extension of the Open Inference Protocol, `/v2/repository/**`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from service.core.engine import Engine
from service.core.errors import ErrorKind, malformed
from service.core.inference_models import check_load_parameters, check_unload_parameters, repository_index
from service.core.recorder import Call
from service.rest import headers
from service.rest.call import answer_call
from service.rest.errors import documented_open_inference, open_inference_error
from service.rest.limits import read_body
from service.rest.open_inference_schemas import IndexedModel

_MAX_BODY_BYTES = 1 << 16

_KINDS = (
    ErrorKind.MALFORMED,
    ErrorKind.UNAUTHENTICATED,
    ErrorKind.FORBIDDEN,
    ErrorKind.TOO_LARGE,
    ErrorKind.INTERNAL,
    ErrorKind.UNAVAILABLE,
)
_INDEX_ANSWERS = {200: {"headers": headers.described()}} | documented_open_inference(*_KINDS)
_CHANGE_ANSWERS = {200: {"headers": headers.described()}} | documented_open_inference(
    *_KINDS, ErrorKind.NOT_FOUND, ErrorKind.OVERLOADED
)


def repository_router(engine: Engine) -> APIRouter:
    """The routes over one engine; it refuses changes unless the operator allows them here."""
    router = APIRouter(prefix="/v2/repository", tags=["v2"])
    answer = functools.partial(answer_call, engine, open_inference_error)

    async def answer_change(
        request: Request, operation: str, check: Callable[[Iterable[str]], None], change: Callable[[], Awaitable[None]]
    ) -> Response:
        async def work(call: Call) -> Response:
            check((await _members(request, "parameters")).get("parameters") or {})
            await change()
            return Response(b"{}", media_type=headers.JSON)

        return await answer(request, operation, work)

    @router.post(
        "/index", response_model=list[IndexedModel], responses=_INDEX_ANSWERS, openapi_extra=_body("IndexBody")
    )
    async def index_repository(request: Request) -> Response:
        """List every version of every model, served or not."""

        async def work(call: Call) -> Response:
            ready = (await _members(request, "ready")).get("ready", False)
            if not isinstance(ready, bool):
                malformed("ready must be true or false", field="ready")
            entries = repository_index(engine, ready=ready)
            return Response(orjson.dumps([dataclasses.asdict(entry) for entry in entries]), media_type=headers.JSON)

        return await answer(request, "repository_index", work)

    @router.post("/models/{model}/load", responses=_CHANGE_ANSWERS, openapi_extra=_body("RepositoryBody"))
    async def load_model(request: Request, model: str) -> Response:
        """Load a model, or load it anew."""
        return await answer_change(request, "load_model", check_load_parameters, lambda: engine.load_model(model))

    @router.post("/models/{model}/unload", responses=_CHANGE_ANSWERS, openapi_extra=_body("RepositoryBody"))
    async def unload_model(request: Request, model: str) -> Response:
        """Drain and unload a model."""
        return await answer_change(request, "unload_model", check_unload_parameters, lambda: engine.unload_model(model))

    return router


def _body(schema: str) -> dict[str, Any]:
    return {
        "requestBody": {
            "required": False,
            "content": {headers.JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
    }


async def _members(request: Request, known: str) -> dict[str, Any]:
    """The members of a small JSON body, of which one is known; an empty body has none."""
    body = await read_body(request, _MAX_BODY_BYTES)
    try:
        members = orjson.loads(body) if body else {}
    except orjson.JSONDecodeError:
        malformed("the body is not valid JSON")
    if not isinstance(members, dict) or not set(members) <= {known}:
        malformed(f"the body must be a JSON object with at most the member {known}")
    if known == "parameters" and not isinstance(members.get(known, {}), dict | None):
        malformed("parameters must be an object", field=known)
    return members
