"""The whole service in this process, without sockets: tens of thousands of calls in a minute, and all of it is real."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import urllib.parse
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Self

import grpc
from google.rpc import code_pb2, status_pb2

from service.assembly import build_service
from service.core.engine import Engine
from service.core.messages import Limits
from service.rpc.encoder_servicer import EncoderServicer
from service.rpc.open_inference_servicer import OpenInferenceServicer
from service.settings import DeviceSettings, LimitSettings, Settings

PATIENCE_S = 30.0
"""A call that takes longer hangs."""

LIMITS = {"max_request_bytes": 1 << 20, "max_request_cells": 256, "max_samples": 20, "max_sample_values": 100_000}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a call came to.

    Attributes:
        status: HTTP status, or gRPC's number.
        body: the answer or its problem; of a gRPC refusal the serialised status.
        headers: of an HTTP answer, names in lower case.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Errors(logging.Handler):
    """Keeps what the service complains of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.told.append(self.format(record))


class InProcess:
    """A ready service of a models directory, as a context manager."""

    def __init__(self, models: Path) -> None:
        self._models = models

    def __enter__(self) -> Self:
        """Build it, load the models and start the worker."""
        self._runner = asyncio.Runner()
        self._runner.get_loop()
        self.errors = Errors()
        logging.getLogger("service").addHandler(self.errors)
        self.run(self._start())
        return self

    async def _start(self) -> None:
        settings = Settings(self._models, device=DeviceSettings("cpu", threads=1), limits=LimitSettings(**LIMITS))
        self._service = build_service(settings, post=asyncio.get_running_loop().call_soon_threadsafe)
        await asyncio.to_thread(self._service.load)
        self._service.health.mark_ready()
        service = self._service
        engine = Engine(
            service.catalog,
            service.batcher,
            limits=Limits(**LIMITS),
            health=service.health,
            recorder=service.recorder,
        )
        self._methods = {
            f"/{name}/{method}": handler
            for name, handlers in (
                ("totalvi.v1.EncoderService", EncoderServicer(engine).method_handlers()),
                ("inference.GRPCInferenceService", OpenInferenceServicer(engine).method_handlers()),
            )
            for method, handler in handlers.items()
        }

    def __exit__(self, *_: object) -> None:
        """End the worker and the loop."""
        assert self._service.finish(PATIENCE_S)
        self._runner.close()
        logging.getLogger("service").removeHandler(self.errors)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something on the service's loop; what hangs raises `TimeoutError`."""
        return self._runner.run(asyncio.wait_for(work, PATIENCE_S))

    def assert_unharmed(self) -> None:
        """Nothing is under way or waits, nothing was complained of, and the worker lives."""
        batcher = self._service.batcher
        assert (self._service.n_calls, batcher.n_waiting_cells, batcher.n_waiting_bytes) == (0, 0, 0)
        assert self._service.health.ready and self._service.health.live
        assert self.errors.told == []

    def http(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Call the callers' HTTP application."""
        return self.run(_asgi(self._service.http_app, method, target, headers, body))

    def grpc(self, path: str, *bodies: bytes) -> Answer:
        """Call a gRPC method with a message, or a stream with several."""
        return self.run(_servicer(self._methods[path], bodies))


async def _asgi(app: Callable[..., Any], method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": urllib.parse.unquote(path),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    incoming = [{"type": "http.request", "body": body, "more_body": False}]
    left, sent = asyncio.Event(), []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    found = {name.decode().lower(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]), found)


class _Aborted(Exception):
    pass


class _Context:
    """What a servicer sees of a call."""

    def __init__(self) -> None:
        self.status: tuple[grpc.StatusCode, bytes] | None = None
        self.written: list[bytes] = []

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> float | None:
        return None

    def set_trailing_metadata(self, metadata: object) -> None:
        pass

    async def write(self, body: bytes) -> None:
        self.written.append(body)

    async def abort(self, code: grpc.StatusCode, details: str, metadata: Any) -> None:
        # What would not go through HTTP/2 must fail here, too.
        details.encode()
        self.status = (code, dict(metadata)["grpc-status-details-bin"])
        raise _Aborted


async def _servicer(handler: Any, bodies: tuple[bytes, ...]) -> Answer:
    context = _Context()
    try:
        if handler.request_streaming:

            async def incoming() -> Any:
                for body in bodies:
                    yield body

            await handler.stream_stream(incoming(), context)
            return Answer(0, b"".join(context.written))
        return Answer(0, await handler.unary_unary(bodies[0], context))
    except _Aborted:
        assert context.status is not None
        code, details = context.status
        status = status_pb2.Status.FromString(details)
        assert status.code == code.value[0] == getattr(code_pb2, code.name)
        return Answer(status.code, details)
