"""The routes of the Open Inference Protocol, `/v2/**`: read, decode, ask the engine, encode."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from service.core.engine import Engine
from service.core.errors import ErrorKind
from service.core.inference_models import EXTENSIONS, model_metadata, model_ready
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.open_inference import infer
from service.core.recorder import Call
from service.rest import headers, tensor_codec
from service.rest.call import answer_call, check_named, with_body
from service.rest.errors import documented_open_inference, open_inference_error
from service.rest.open_inference_schemas import (
    InferAnswer,
    ModelDescription,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
)
from service.version import DISTRIBUTION, installed_version

_NO_ANSWER = documented_open_inference(
    ErrorKind.UNAUTHENTICATED, ErrorKind.NOT_FOUND, ErrorKind.INTERNAL, ErrorKind.UNAVAILABLE
)
_READ_DOCS: dict[str, Any] = {"responses": {200: {"headers": headers.described()}} | _NO_ANSWER}
_NOT_YET = {"description": "Not now", "headers": headers.described()}
_PROBE_DOCS: dict[str, Any] = {
    "responses": {200: {"headers": headers.described()}, 503: _NOT_YET}
    | documented_open_inference(ErrorKind.UNAUTHENTICATED)
}
_BINARY: dict[str, Any] = {
    "schema": {"type": "string", "format": "binary", "description": "The JSON, and behind it the binary data."}
}
_INFER_ERRORS = [kind for kind in ErrorKind if kind is not ErrorKind.CANCELLED]
_INFER_DOCS: dict[str, Any] = {
    "response_model": InferAnswer,
    "responses": {
        200: {
            "headers": headers.described("Server-Timing", "traceresponse", headers.INFERENCE_HEADER_LENGTH),
            "content": {headers.OCTETS: _BINARY},
        }
    }
    | documented_open_inference(*_INFER_ERRORS, headers=("Server-Timing", "traceresponse")),
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "description": "JSON, with or without binary data behind it. `Content-Type` is not looked at.",
            "content": {
                headers.JSON: {"schema": {"$ref": "#/components/schemas/InferBody"}},
                headers.OCTETS: _BINARY,
            },
        },
        "parameters": [
            headers.parameter(
                headers.INFERENCE_HEADER_LENGTH,
                "Bytes of the JSON, where binary data follow it.",
                {"type": "integer", "minimum": 0},
            ),
            *headers.OF_CELLS,
        ],
    },
}


def open_inference_router(engine: Engine) -> APIRouter:
    """The `/v2` routes over one engine."""
    router = APIRouter(prefix="/v2", tags=["v2"])
    answer = functools.partial(answer_call, engine, open_inference_error)

    async def answer_infer(request: Request, model: str, version: str | None = None) -> Response:
        return await answer(request, "infer", lambda call: _infer(engine, request, call, model, version))

    async def answer_metadata(request: Request, model: str, version: str | None = None) -> Response:
        async def read(call: Call) -> Response:
            return _json(dataclasses.asdict(model_metadata(engine.card(model, version))))

        return await answer(request, "model_metadata", read)

    async def answer_model_ready(request: Request, model: str, version: str | None = None) -> Response:
        async def ask(call: Call) -> Response:
            ready = model_ready(engine, model, version)
            return _probe({"name": model, "ready": ready}, ready)

        return await answer(request, "model_ready", ask)

    @router.get("", response_model=ServerMetadata, **_READ_DOCS)
    async def describe_server(request: Request) -> Response:
        """Tell which server this is, and its extensions of the protocol."""
        return _json({"name": DISTRIBUTION, "version": installed_version(), "extensions": EXTENSIONS})

    @router.get("/health/live", response_model=ServerLive, **_PROBE_DOCS)
    async def server_is_live(request: Request) -> Response:
        """Tell whether the process is worth keeping."""
        return _probe({"live": engine.health.live}, engine.health.live)

    @router.get("/health/ready", response_model=ServerReady, **_PROBE_DOCS)
    async def server_is_ready(request: Request) -> Response:
        """Tell whether new requests should be sent here."""
        return _probe({"ready": engine.health.ready}, engine.health.ready)

    @router.get("/models/{model}", response_model=ModelDescription, **_READ_DOCS)
    async def describe_model(request: Request, model: str) -> Response:
        """Describe the tensors of a model's default version."""
        return await answer_metadata(request, model)

    @router.get("/models/{model}/versions/{version}", response_model=ModelDescription, **_READ_DOCS)
    async def describe_model_version(request: Request, model: str, version: str) -> Response:
        """Describe the tensors of one version of a model."""
        return await answer_metadata(request, model, version)

    @router.get("/models/{model}/ready", response_model=ModelReady, **_READ_DOCS)
    async def model_is_ready(request: Request, model: str) -> Response:
        """Tell whether a model answers."""
        return await answer_model_ready(request, model)

    @router.get("/models/{model}/versions/{version}/ready", response_model=ModelReady, **_READ_DOCS)
    async def model_version_is_ready(request: Request, model: str, version: str) -> Response:
        """Tell whether one version of a model answers."""
        return await answer_model_ready(request, model, version)

    @router.post("/models/{model}/infer", **_INFER_DOCS)
    async def infer_with_model(request: Request, model: str) -> Response:
        """Encode cells with a model's default version."""
        return await answer_infer(request, model)

    @router.post("/models/{model}/versions/{version}/infer", **_INFER_DOCS)
    async def infer_with_version(request: Request, model: str, version: str) -> Response:
        """Encode cells with one version of a model."""
        return await answer_infer(request, model, version)

    return router


async def _infer(engine: Engine, request: Request, call: Call, model: str, version: str | None) -> Response:
    """The walk of one call with cells: a body in, the model's answer out."""
    header_length = headers.inference_header_length(request.headers)

    async def walk(content: bytes | bytearray) -> Response:
        with call.phase("decode"):
            heavy = len(content) > HEAVY_BYTES
            asked = await off_loop_if(heavy, tensor_codec.decode_request, content, header_length, engine.limits)
            check_named("model_name", model, asked.model)
            check_named("model_version", version, asked.version)
        reply = await infer(engine, asked.request, call, model=model, version=version)
        with call.phase("encode"):
            heavy = reply.nbytes > HEAVY_BYTES
            answered, json_bytes = await off_loop_if(heavy, tensor_codec.encode_reply, reply, asked.binary)
        if json_bytes is None:
            return Response(answered, media_type=headers.JSON)
        return Response(answered, headers={headers.INFERENCE_HEADER_LENGTH: str(json_bytes)}, media_type=headers.OCTETS)

    return await with_body(engine, request, call, walk)


def _json(body: Any) -> Response:
    return Response(orjson.dumps(body), media_type=headers.JSON)


def _probe(body: dict[str, Any], holds: bool) -> Response:
    return Response(orjson.dumps(body), 200 if holds else 503, media_type=headers.JSON)
