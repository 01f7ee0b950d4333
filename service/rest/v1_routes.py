"""Our own REST routes, `/v1/**`: read, decode, ask the engine, encode."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import orjson
from fastapi import APIRouter, Request, Response

from service.core.activity import Activity
from service.core.engine import Engine
from service.core.errors import ErrorKind
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.recorder import Call
from service.rest import headers, json_codec
from service.rest.activity_schemas import ServiceActivity
from service.rest.call import answer_call, check_named, with_body
from service.rest.errors import documented, problem
from service.rest.media_types import CODECS, Asked, Codec
from service.rest.schemas import Card, CardList, EncodeAnswer, PublishedLimits, ValidateAnswer, message_schema
from service.version import installed_version

CellWork: TypeAlias = Callable[[Engine, Asked, Call, Codec], Awaitable[bytes]]
"""What is done with what is asked: the answer, as a body that the codec wrote."""


_READ_ANSWERS = {200: {"headers": headers.described()}} | documented(
    ErrorKind.UNAUTHENTICATED, ErrorKind.FORBIDDEN, ErrorKind.NOT_FOUND, ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE
)
_CARD_ANSWERS = _READ_ANSWERS | {
    200: {"headers": headers.described("ETag")},
    304: {"description": "The caller has this card", "headers": headers.described("ETag")},
}
_CARD_DOCS = {
    "parameters": [headers.parameter("If-None-Match", "ETags of the cards that the caller has.", {"type": "string"})]
}


_OF_CELLS = ("Server-Timing", "traceresponse")
"""The headers of an answer to a request with cells, as far as it came."""


def _answered(message: str, *refusals: ErrorKind) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` of a route with cells; of the answer FastAPI adds the JSON."""
    content = {headers.PROTOBUF: {"schema": message_schema(message)}}
    answer = {"headers": headers.described(*_OF_CELLS), "content": content}
    return {200: answer} | documented(*refusals, headers=_OF_CELLS)


_REFUSALS = [kind for kind in ErrorKind if kind is not ErrorKind.CANCELLED]
_ENCODE_ANSWERS = _answered("EncodeResponse", *_REFUSALS)
# Whatever encoding refuses but for a full queue, which is not asked.
_VALIDATE_ANSWERS = _answered("ValidateResponse", *(kind for kind in _REFUSALS if kind is not ErrorKind.OVERLOADED))
# FastAPI is not told of the body, since it would parse it; this is what it would have written.
_CELLS_DOCS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "JSON, or the message of gRPC, whose `model` and `model_version`, where set, may not be others "
        "than the path names. `Accept` chooses the type of the answer; left out, it is the request's.",
        "content": {
            headers.JSON: {"schema": {"$ref": "#/components/schemas/EncodeBody"}},
            headers.PROTOBUF: {"schema": message_schema("EncodeRequest")},
        },
    },
    "parameters": headers.OF_CELLS,
}


def v1_router(engine: Engine) -> APIRouter:
    """The `/v1` routes over one engine."""
    router = APIRouter(prefix="/v1", tags=["v1"])
    answer = functools.partial(answer_call, engine, problem)

    async def answer_cells(
        operation: str, work: CellWork, request: Request, model: str | None = None, version: str | None = None
    ) -> Response:
        async def walk(call: Call) -> Response:
            return await _walk(engine, request, call, work, model, version)

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
            cards = [json_codec.card_fields(card) for card in engine.cards()]
            return _json(orjson.dumps({"models": cards, "server_version": installed_version()}))

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

    @router.get("/stats", response_model=ServiceActivity, responses=_READ_ANSWERS)
    async def get_stats() -> Response:
        """Tell what the service does now, and did over the last ten minutes."""
        told = {"server_version": installed_version(), **_fields(engine.activity())}
        return _json(orjson.dumps(told), {"Cache-Control": "no-store"})

    return router


async def _encode(engine: Engine, asked: Asked, call: Call, codec: Codec) -> bytes:
    reply = await engine.encode(asked.cells, call, model=asked.model, version=asked.version)
    with call.phase("encode"):
        return await off_loop_if(reply.nbytes > HEAVY_BYTES, codec.encode_reply, reply)


async def _validate(engine: Engine, asked: Asked, call: Call, codec: Codec) -> bytes:
    report = await engine.validate(asked.cells, call, model=asked.model, version=asked.version)
    return codec.encode_report(report)


async def _walk(
    engine: Engine, request: Request, call: Call, work: CellWork, model: str | None, version: str | None
) -> Response:
    """The walk of one call with cells, to the model and version of its path: a body in, what `work` makes of it out."""
    body_type = headers.body_type(request.headers)
    answer_type = headers.answer_type(request.headers, own=body_type)

    async def answer(content: bytes | bytearray) -> Response:
        if work is _encode:
            engine.refuse_if_full(call)
        with call.phase("decode"):
            heavy = len(content) > HEAVY_BYTES
            asked = await off_loop_if(heavy, CODECS[body_type].decode_request, content, engine.limits)
        answered = await work(engine, _addressed(asked, model, version), call, CODECS[answer_type])
        return Response(answered, media_type=answer_type)

    return await with_body(engine, request, call, answer)


def _addressed(asked: Asked, model: str | None, version: str | None) -> Asked:
    """What is asked, of the model and version that the path names; what it leaves open the body may name.

    Raises:
        ServiceError: `invalid` where the body names another one than the path.
    """
    check_named("model", model, asked.model)
    check_named("model_version", version, asked.version)
    return dataclasses.replace(asked, model=model or asked.model, version=version or asked.version)


def _fields(activity: Activity) -> dict[str, Any]:
    # Not `asdict`, which would copy every number.
    return {field.name: getattr(activity, field.name) for field in dataclasses.fields(activity)}


def _json(body: bytes, extra: dict[str, str] | None = None) -> Response:
    return Response(body, headers=extra, media_type=headers.JSON)


def _tagged(request: Request, body: bytes) -> Response:
    """The body with its digest as a tag, or 304 where the caller has it."""
    etag = f'"{hashlib.sha256(body).hexdigest()}"'
    if headers.holds(request.headers, etag):
        return Response(status_code=304, headers={"ETag": etag})
    return _json(body, {"ETag": etag})
