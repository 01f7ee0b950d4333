"""Our own REST routes, `/v1/**`: read, decode, ask the engine, encode."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from starlette.types import Receive

from service.core.engine import Engine
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import EncodeRequest
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.recorder import Call
from service.rest import headers, json_codec
from service.rest.errors import HTTP_STATUS, documented, problem
from service.rest.limits import decompress, read_body
from service.rest.schemas import Card, CardList, EncodeAnswer, PublishedLimits, ValidateAnswer

T = TypeVar("T")

CellWork: TypeAlias = Callable[[Engine, EncodeRequest, Call, str | None, str | None], Awaitable[bytes]]
"""What is done with a decoded request for a model and a version of it: the body of the answer."""


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"in": "header", "name": name, "description": description, "required": False, "schema": schema}


_READ_ANSWERS = {200: {"headers": headers.described()}} | documented(
    ErrorKind.UNAUTHENTICATED, ErrorKind.FORBIDDEN, ErrorKind.NOT_FOUND, ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE
)
_CARD_ANSWERS = _READ_ANSWERS | {
    200: {"headers": headers.described("ETag")},
    304: {"description": "The caller has this card", "headers": headers.described("ETag")},
}
_CARD_DOCS = {"parameters": [_header("If-None-Match", "ETags of the cards that the caller has.", {"type": "string"})]}

_ENCODE_ANSWERS = {200: {"headers": headers.described("Server-Timing")}} | documented(
    *(kind for kind in ErrorKind if kind is not ErrorKind.CANCELLED), headers=("Server-Timing",)
)
# Whatever encoding refuses but for a full queue, which is not asked.
_VALIDATE_ANSWERS = {
    status: answer for status, answer in _ENCODE_ANSWERS.items() if status != HTTP_STATUS[ErrorKind.OVERLOADED][0]
}
# FastAPI is not told of the body, since it would parse it; this is what it would have written.
_CELLS_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {headers.JSON: {"schema": {"$ref": "#/components/schemas/EncodeBody"}}},
    },
    "parameters": [
        _header("Content-Encoding", "How the body is compressed.", {"enum": ["identity", "gzip", "zstd"]}),
        _header("X-Request-Id", "Echoed and logged; made where absent.", {"type": "string", "maxLength": 128}),
        _header("X-Request-Timeout-Ms", "The deadline, in milliseconds from arrival.", {"type": "number"}),
    ],
}


def v1_router(engine: Engine) -> APIRouter:
    """The `/v1` routes over one engine."""
    router = APIRouter(prefix="/v1", tags=["v1"])

    async def answer(request: Request, operation: str, work: Callable[[Call], Awaitable[Response]]) -> Response:
        """Run one call inside its record; whatever it raises becomes a problem, and either way its phases are told."""
        request_id = request.state.request_id
        try:
            with engine.call(transport="rest", operation=operation, request_id=request_id) as call:
                response = await work(call)
        except Exception as error:
            response = problem(error, request_id)
        if timing := call.server_timing:
            response.headers["Server-Timing"] = timing
        return response

    async def answer_cells(
        operation: str, work: CellWork, request: Request, model: str | None = None, version: str | None = None
    ) -> Response:
        async def walk(call: Call) -> Response:
            return await _walk(engine, request, call, lambda cells: work(engine, cells, call, model, version))

        return await answer(request, operation, walk)

    answer_encode = functools.partial(answer_cells, "encode", _encode)
    answer_validate = functools.partial(answer_cells, "validate", _validate)

    async def answer_card(request: Request, model: str, version: str | None = None) -> Response:
        async def read(call: Call) -> Response:
            return _tagged(request, orjson.dumps(json_codec.card_fields(engine.card(model, version))))

        return await answer(request, "get_model", read)

    encode_docs: dict[str, Any] = {
        "response_model": EncodeAnswer,
        "responses": _ENCODE_ANSWERS,
        "openapi_extra": _CELLS_DOCS,
    }
    validate_docs: dict[str, Any] = {
        "response_model": ValidateAnswer,
        "responses": _VALIDATE_ANSWERS,
        "openapi_extra": _CELLS_DOCS,
    }

    @router.post("/encode", **encode_docs)
    async def encode(request: Request) -> Response:
        """Encode cells with the default model."""
        return await answer_encode(request)

    @router.post("/models/{model}/encode", **encode_docs)
    async def encode_with_model(request: Request, model: str) -> Response:
        """Encode cells with a model's default version."""
        return await answer_encode(request, model)

    @router.post("/models/{model}/versions/{version}/encode", **encode_docs)
    async def encode_with_version(request: Request, model: str, version: str) -> Response:
        """Encode cells with one version of a model."""
        return await answer_encode(request, model, version)

    @router.post("/validate", **validate_docs)
    async def validate(request: Request) -> Response:
        """Check cells against the default model, as encoding would, without computing them."""
        return await answer_validate(request)

    @router.post("/models/{model}/validate", **validate_docs)
    async def validate_with_model(request: Request, model: str) -> Response:
        """Check cells against a model's default version."""
        return await answer_validate(request, model)

    @router.post("/models/{model}/versions/{version}/validate", **validate_docs)
    async def validate_with_version(request: Request, model: str, version: str) -> Response:
        """Check cells against one version of a model."""
        return await answer_validate(request, model, version)

    @router.get("/models", response_model=CardList, responses=_READ_ANSWERS)
    async def list_models(request: Request) -> Response:
        """List the served models."""

        async def read(call: Call) -> Response:
            return _json(orjson.dumps({"models": [json_codec.card_fields(card) for card in engine.cards()]}))

        return await answer(request, "list_models", read)

    card_docs: dict[str, Any] = {"response_model": Card, "responses": _CARD_ANSWERS, "openapi_extra": _CARD_DOCS}

    @router.get("/models/{model}", **card_docs)
    async def get_model(request: Request, model: str) -> Response:
        """Describe a model's default version."""
        return await answer_card(request, model)

    @router.get("/models/{model}/versions/{version}", **card_docs)
    async def get_model_version(request: Request, model: str, version: str) -> Response:
        """Describe one version of a model."""
        return await answer_card(request, model, version)

    @router.get("/limits", response_model=PublishedLimits, responses=_READ_ANSWERS)
    async def get_limits() -> Response:
        """Tell what one request may ask for."""
        return _json(orjson.dumps(dataclasses.asdict(engine.limits)))

    return router


async def _encode(engine: Engine, cells: EncodeRequest, call: Call, model: str | None, version: str | None) -> bytes:
    reply = await engine.encode(cells, call, model=model, version=version)
    with call.phase("encode"):
        return await off_loop_if(reply.nbytes > HEAVY_BYTES, json_codec.encode_reply, reply)


async def _validate(engine: Engine, cells: EncodeRequest, call: Call, model: str | None, version: str | None) -> bytes:
    report = await engine.validate(cells, call, model=model, version=version)
    return json_codec.encode_report(report)


async def _walk(
    engine: Engine, request: Request, call: Call, work: Callable[[EncodeRequest], Awaitable[bytes]]
) -> Response:
    """The walk of one call with cells: a body in, what `work` makes of it out."""
    headers.require_json(request.headers)
    encoding = headers.content_encoding(request.headers)
    timeout_s = headers.timeout_s(request.headers)
    if timeout_s is not None:
        call.deadline_s = call.started_s + timeout_s
    try:
        async with asyncio.timeout(timeout_s):
            body = await read_body(request, engine.limits.max_request_bytes)
    except TimeoutError:
        raise ServiceError(ErrorKind.DEADLINE, "the deadline passed before the body had arrived") from None

    async def answer() -> Response:
        with call.phase("decode"):
            content = await off_loop_if(
                encoding != "identity", decompress, body, encoding, engine.limits.max_request_bytes
            )
            call.n_bytes = len(content)
            heavy = call.n_bytes > HEAVY_BYTES
            cells = await off_loop_if(heavy, json_codec.decode_request, content, engine.limits)
        return _json(await work(cells))

    return await unless_gone(request.receive, answer())


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled if the caller hangs up first.

    Args:
        receive: of a request whose body has been read, so that only its end can come.
        work: what the caller waits for.

    Raises:
        ServiceError: `cancelled`, once the cancelled work has wound up.
    """
    working = asyncio.create_task(work)
    listening = asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ServiceError(ErrorKind.CANCELLED, "the caller left before its answer was ready")
        return working.result()
    finally:
        working.cancel()
        listening.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _json(body: bytes, extra: dict[str, str] | None = None) -> Response:
    return Response(body, headers=extra, media_type=headers.JSON)


def _tagged(request: Request, body: bytes) -> Response:
    """The body with its digest as a tag, or 304 where the caller has it (RFC 9110, 13.1.2)."""
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    held = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in held or "*" in held:
        return Response(status_code=304, headers={"ETag": etag})
    return _json(body, {"ETag": etag})
