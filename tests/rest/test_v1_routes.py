import asyncio
import dataclasses
import gzip
import hashlib
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
import uvicorn
import zstandard
from fastapi import FastAPI
from starlette.types import Message

from service.core.activity import INTERVAL_S, N_INTERVALS
from service.core.admission import ByteGate
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import EncodeRequest, Limits
from service.core.priority import Priority
from service.core.recent import Recent
from service.core.recorder import PHASES, Call
from service.rest import json_codec
from service.rest.activity_schemas import ServiceActivity
from service.version import installed_version

from .calling import CONTENT, PATH, VALIDATE, assert_problem, post
from .fake_engine import CARD, FakeEngine

ETAG = f'"{hashlib.sha256(orjson.dumps(json_codec.card_fields(CARD))).hexdigest()}"'

PATIENCE_S = 20.0
"""Only ever waited in full by a test that fails."""


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v1/encode", None, None),
        ("/v1/models/pbmc/encode", "pbmc", None),
        ("/v1/models/pb%20mc/versions/1/encode", "pb mc", "1"),
    ],
)
async def test_encode(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, model: str | None, version: str | None
) -> None:
    answer = await post(client, path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model": model or "pbmc",
        "model_version": version or "2",
        "n_cells": 2,
        "cells": ["a", "b"],
        "qz": {"mean": [[0.0, 0.0]] * 2, "variance": [[1.0, 1.0]] * 2},
        "warnings": [{"code": "missing_genes", "detail": "12 genes are missing", "count": 12, "examples": ["CD8A"]}],
    }
    ((request, *asked),) = engine.requests
    assert (request.n_cells, asked) == (2, [model, version])
    (call,) = engine.calls
    assert (call.transport, call.operation, call.outcome) == ("rest", "encode", "ok")
    assert call.request_id == answer.headers["x-request-id"]
    assert call.deadline_s is None
    timing = answer.headers["server-timing"]
    assert re.fullmatch(r"decode;dur=[\d.]+, queue;dur=[\d.]+, encode;dur=[\d.]+", timing)


@pytest.mark.parametrize(
    ("path", "model", "version"),
    [
        ("/v1/validate", None, None),
        ("/v1/models/pbmc/validate", "pbmc", None),
        ("/v1/models/pb%20mc/versions/1/validate", "pb mc", "1"),
    ],
)
async def test_validate(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, model: str | None, version: str | None
) -> None:
    answer = await post(client, path, gzip.compress(CONTENT), content_encoding="gzip")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "model": model or "pbmc",
        "model_version": version or "2",
        "n_cells": 2,
        "genes": {"given": 5, "known": 3, "missing": 12, "extra": 2, "coverage": 0.2},
        "proteins": {"given": 0, "known": 0, "missing": 4, "extra": 0, "coverage": 0.0},
        "warnings": [{"code": "missing_genes", "detail": "12 genes are missing", "count": 12, "examples": ["CD8A"]}],
    }
    ((request, *asked),) = engine.requests
    assert (request.n_cells, asked) == (2, [model, version])
    (call,) = engine.calls
    assert (call.transport, call.operation, call.outcome) == ("rest", "validate", "ok")
    assert (call.request_id, call.n_bytes) == (answer.headers["x-request-id"], len(CONTENT))
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}", answer.headers["server-timing"])


@pytest.mark.parametrize("given", ["a", "trace-1/2", "x" * 128])
async def test_a_sane_request_id_is_echoed(client: httpx.AsyncClient, engine: FakeEngine, given: str) -> None:
    for answer in (await post(client, x_request_id=given), await client.get("/no", headers={"x-request-id": given})):
        assert answer.headers.get_list("x-request-id") == [given]
    assert engine.calls[0].request_id == given


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "é", "a\tb", "a\r\nX-Evil: 1", "\x7f"])
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.get("/v1/limits", headers=[(b"x-request-id", given.encode())])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert "x-evil" not in answer.headers


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("gzip", gzip.compress(CONTENT)),
        ("X-GZIP", gzip.compress(CONTENT)),
        ("zstd", zstandard.compress(CONTENT)),
        ("identity", CONTENT),
        ("", CONTENT),
    ],
)
async def test_content_encodings(client: httpx.AsyncClient, engine: FakeEngine, encoding: str, content: bytes) -> None:
    answer = await post(client, content=content, content_encoding=encoding)
    assert answer.status_code == 200
    assert engine.calls[0].n_bytes == len(CONTENT)


async def test_a_body_in_65537_chunks(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for byte in CONTENT.ljust(65_537):
            yield bytes((byte,))

    assert (await post(client, content=chunks())).status_code == 200


@pytest.mark.parametrize(
    ("headers", "kind", "status"),
    [
        ({"content_type": "text/plain"}, ErrorKind.UNSUPPORTED, 415),
        ({"content_type": ""}, ErrorKind.UNSUPPORTED, 415),
        ({"content_type": "application/json+x"}, ErrorKind.UNSUPPORTED, 415),
        ({"accept": "text/html"}, ErrorKind.UNSUPPORTED, 415),
        ({"accept": "*/*, application/*;q=0"}, ErrorKind.UNSUPPORTED, 415),
        ({"content_encoding": "br"}, ErrorKind.UNSUPPORTED, 415),
        ({"content_encoding": "gzip, zstd"}, ErrorKind.UNSUPPORTED, 415),
        ({"content_encoding": "gzip"}, ErrorKind.MALFORMED, 400),
        ({"content_length": "-1"}, ErrorKind.MALFORMED, 400),
        ({"content_length": "2000001"}, ErrorKind.TOO_LARGE, 413),
        ({"x_request_timeout_ms": "soon"}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": ""}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": "nan"}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": "inf"}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": "1e9"}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": "1_0"}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": "9" * 400}, ErrorKind.MALFORMED, 400),
        ({"x_request_priority": "urgent"}, ErrorKind.MALFORMED, 400),
        ({"x_request_timeout_ms": "0"}, ErrorKind.DEADLINE, 504),
        ({"x_request_timeout_ms": "-5"}, ErrorKind.DEADLINE, 504),
        ({"x_request_timeout_ms": "0.000001"}, ErrorKind.DEADLINE, 504),
    ],
)
@pytest.mark.parametrize("path", [PATH, VALIDATE])
async def test_bad_headers(
    client: httpx.AsyncClient, engine: FakeEngine, path: str, headers: dict[str, str], kind: ErrorKind, status: int
) -> None:
    assert_problem(await post(client, path, **headers), kind, status)
    assert [call.outcome for call in engine.calls] == [kind.value]


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "Application/JSON; charset=utf-8"},
        {"accept": "application/*"},
        {"accept": "text/html, */*;q=0.1"},
        {"accept": "application/json ; q=0.5"},
        {"accept": ""},
        {"x_request_timeout_ms": "60000"},
        {"x_request_timeout_ms": "60000.5"},
    ],
)
async def test_good_headers(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    assert (await post(client, **headers)).status_code == 200


async def test_a_deadline_runs_from_arrival(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await post(client, x_request_timeout_ms="1500")
    (call,) = engine.calls
    assert call.deadline_s == call.started_s + 1.5


@pytest.mark.parametrize(
    ("headers", "priority"),
    [
        ({}, Priority.INTERACTIVE),
        ({"x_request_priority": "interactive"}, Priority.INTERACTIVE),
        ({"x_request_priority": "bulk"}, Priority.BULK),
    ],
)
async def test_a_caller_says_how_urgent_it_is(
    client: httpx.AsyncClient, engine: FakeEngine, headers: dict[str, str], priority: Priority
) -> None:
    assert (await post(client, **headers)).status_code == 200
    assert [call.priority for call in engine.calls] == [priority]


@pytest.mark.parametrize("path", [PATH, VALIDATE])
async def test_a_bad_body_is_a_problem_with_its_field(client: httpx.AsyncClient, path: str) -> None:
    body = assert_problem(await post(client, path, b'{"gene_counts":[[1],[2,3]]}'), ErrorKind.INVALID, 422)
    assert (body["field"], body["index"]) == ("gene_counts", 1)
    assert_problem(await post(client, path, b""), ErrorKind.MALFORMED, 400)


@pytest.mark.parametrize("compressed", [False, True])
async def test_a_body_over_the_limit(client: httpx.AsyncClient, compressed: bool) -> None:
    content = CONTENT.ljust(2_000_001)
    answer = await (
        post(client, content=gzip.compress(content), content_encoding="gzip")
        if compressed
        else post(client, content=content)
    )
    assert "max_request_bytes" in assert_problem(answer, ErrorKind.TOO_LARGE, 413)["detail"]


@pytest.mark.parametrize("error", [RuntimeError("secret"), ServiceError(ErrorKind.INTERNAL, "secret")])
async def test_a_bug_tells_nothing(client: httpx.AsyncClient, engine: FakeEngine, error: Exception) -> None:
    engine.error = error
    for answer in (await post(client), await post(client, VALIDATE), await client.get("/v1/models/pbmc")):
        assert_problem(answer, ErrorKind.INTERNAL, 500)
        assert "secret" not in answer.text
    engine.error = None
    assert (await post(client)).status_code == 200


@pytest.mark.parametrize(
    ("content", "error", "phases"),
    [
        (b"{", None, ["decode"]),
        (CONTENT, ServiceError(ErrorKind.OVERLOADED, "the queue is full", retry_after_s=1.0), ["decode"]),
        (CONTENT, RuntimeError("bug"), ["decode"]),
    ],
)
async def test_errors_tell_the_phases_up_to_them(
    client: httpx.AsyncClient, engine: FakeEngine, content: bytes, error: Exception | None, phases: list[str]
) -> None:
    engine.error = error
    answer = await post(client, content=content)
    assert answer.status_code >= 400
    assert re.findall(r"(\w+);dur=\d+\.\d{3}", answer.headers["server-timing"]) == phases


async def test_without_a_phase_there_is_no_timing(client: httpx.AsyncClient) -> None:
    for answer in (await post(client, accept="text/html"), await client.get("/v1/models/pbmc")):
        assert "server-timing" not in answer.headers


async def test_a_bug_outside_any_call_tells_nothing(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.limits = "secret"
    answer = await client.get("/v1/limits", headers={"x-request-id": "id-1"})
    assert_problem(answer, ErrorKind.INTERNAL, 500)
    assert answer.headers["x-request-id"] == "id-1"
    assert "secret" not in answer.text


async def test_a_parameter_of_a_wrong_type_is_a_problem(app: FastAPI, client: httpx.AsyncClient) -> None:
    @app.get("/v1/number/{number}")
    async def read(number: int) -> int:
        return number

    body = assert_problem(await client.get("/v1/number/secret"), ErrorKind.MALFORMED, 400)
    assert "secret" not in body["detail"]


async def test_other_scopes_pass(app: FastAPI) -> None:
    sent: list[Message] = []
    events = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Message:
        return next(events)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_overload_says_when_to_come_back(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.error = ServiceError(ErrorKind.OVERLOADED, "the queue is full", retry_after_s=1.2)
    answer = await post(client)
    assert_problem(answer, ErrorKind.OVERLOADED, 429)
    assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/models/", "/v1/models/a/b", "/v3/models", "/V1/models"])
async def test_unknown_paths_are_problems(client: httpx.AsyncClient, path: str) -> None:
    assert_problem(await client.get(path), ErrorKind.NOT_FOUND, 404)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [("GET", PATH, "POST"), ("GET", VALIDATE, "POST"), ("DELETE", "/v1/models/pbmc", "GET")],
)
async def test_wrong_methods_are_problems(client: httpx.AsyncClient, method: str, path: str, allow: str) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, ErrorKind.UNSUPPORTED, 405)
    assert answer.headers["allow"] == allow


async def test_cards(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    card = {
        "name": "pbmc",
        "version": "2",
        "versions": ["1", "2"],
        "state": "ready",
        "sha256": CARD.sha256,
        "genes": ["CD3E", "LYZ"],
        "n_latent": 2,
    }
    assert (await client.get("/v1/models")).json() == {"models": [card], "server_version": installed_version()}
    for path in ("/v1/models/pbmc", "/v1/models/pbmc/versions/2"):
        answer = await client.get(path)
        assert answer.json() == card
        assert answer.headers["etag"] == ETAG
        assert hashlib.sha256(answer.content).hexdigest() in ETAG
    assert [call.operation for call in engine.calls] == ["list_models", "get_model", "get_model"]
    assert_problem(await client.get("/v1/models/other"), ErrorKind.NOT_FOUND, 404)
    assert_problem(await client.get("/v1/models/pbmc/versions/3"), ErrorKind.NOT_FOUND, 404)


@pytest.mark.parametrize(
    ("held", "status"), [("E", 304), ("W/E", 304), ('"x", E', 304), ("*", 304), ('"x"', 200), (ETAG.strip('"'), 200)]
)
async def test_a_card_that_the_caller_has_is_not_sent(client: httpx.AsyncClient, held: str, status: int) -> None:
    answer = await client.get("/v1/models/pbmc", headers={"if-none-match": held.replace("E", ETAG)})
    assert (answer.status_code, answer.headers["etag"]) == (status, ETAG)
    assert bool(answer.content) == (status == 200)


@pytest.mark.parametrize("change", [{"versions": ("1", "2", "3")}, {"state": "failed", "reason": "gone"}])
async def test_a_card_that_has_changed_is_sent_though_its_artifact_has_not(
    client: httpx.AsyncClient, engine: FakeEngine, change: dict[str, Any]
) -> None:
    engine.card_served = dataclasses.replace(CARD, **change)
    answer = await client.get("/v1/models/pbmc", headers={"if-none-match": ETAG})
    assert answer.status_code == 200
    assert answer.headers["etag"] != ETAG


async def test_limits(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/limits")).json() == {
        "max_request_bytes": 2_000_000,
        "max_request_cells": 65536,
        "max_samples": 1000,
        "max_sample_values": 1 << 23,
        "max_columns": 200_000,
    }


async def test_stats(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    call = Call("rest", "encode", "id", 0.0, n_cells=7, phase_s={"decode": 0.002})
    engine.recent.call_started(call)
    engine.recent.call_finished(call, 0.004)
    answer = await client.get("/v1/stats")
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    told = answer.json()
    assert ServiceActivity.model_validate_json(answer.content, strict=True).model_dump(mode="json") == told
    assert told["server_version"] == installed_version()
    assert (told["instance"], told["state"]) == (engine.recent.instance, "ready")
    assert told["queue"] == {"cells": 3, "limit_cells": 100, "bytes": 30, "limit_bytes": 1000}
    intervals = told["intervals"]
    assert (intervals["cells"], intervals["calls"], intervals["failed"]) == ([7], [1], [0])
    assert intervals["phases"]["decode"]["mean_ms"] == [2.0]
    assert intervals["phases"]["queue"]["p95_ms"] == [None]


async def test_who_asks_for_stats_is_not_in_them(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    await client.get("/v1/stats")
    assert not engine.calls
    assert (await client.get("/v1/stats")).json()["intervals"]["calls"] == [0]


async def test_the_stats_of_ten_busy_minutes_are_small(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    now_s = 0.0
    engine.recent = recent = Recent(lambda: now_s)
    for at in range(4 * N_INTERVALS):
        now_s += INTERVAL_S / 4
        spent = {phase: 1.23456 * (at + 1) for phase in PHASES}
        call = Call("rest", "encode", "id", 0.0, n_cells=65_536, phase_s=spent)
        recent.call_started(call)
        recent.call_finished(call, 98.7654 / (at + 1))
        recent.batch_computed(65_536, 1 << 22, 1.23456)
        recent.queue_changed(131_072, 1 << 30)
    answer = await client.get("/v1/stats")
    assert len(answer.json()["intervals"]["cells"]) == N_INTERVALS
    assert len(answer.content) < 40_000


class Caller:
    """One caller at the ASGI level, that sends and hangs up when the test says so."""

    def __init__(self, app: FastAPI, headers: dict[str, str] | None = None, path: str = PATH) -> None:
        sent = {"content-type": "application/json"} | (headers or {})
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
        }
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.outbox: list[Message] = []
        self._app = app

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self._app(self._scope, self._inbox.get, self._send))

    def send(self, body: bytes, *, more_body: bool = False) -> None:
        self._inbox.put_nowait({"type": "http.request", "body": body, "more_body": more_body})

    def hang_up(self) -> None:
        self._inbox.put_nowait({"type": "http.disconnect"})

    async def _send(self, message: Message) -> None:
        self.outbox.append(message)


async def assert_left(task: asyncio.Task[None], engine: FakeEngine, client: httpx.AsyncClient) -> None:
    await task
    assert [call.outcome for call in engine.calls] == ["cancelled"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    engine.gate.set()
    assert (await post(client)).status_code == 200


async def test_a_body_is_held_until_its_call_ends(app: FastAPI, engine: FakeEngine, client: httpx.AsyncClient) -> None:
    """Compressed ones twice: as they came, and as they are."""
    packed = gzip.compress(CONTENT)
    engine.bodies = ByteGate(1 << 20, 1 << 20, lambda: 0.5)
    engine.gate.clear()
    calls = [
        asyncio.create_task(post(client)),
        asyncio.create_task(post(client, content=packed, content_encoding="gzip")),
    ]
    async with asyncio.timeout(PATIENCE_S):
        while len(engine.requests) < 2:
            await asyncio.sleep(0)
    assert engine.bodies.held == 2 * len(CONTENT) + len(packed)
    engine.bodies.max_bytes = engine.bodies.held + len(CONTENT) - 1
    refused = await post(client)
    assert_problem(refused, ErrorKind.OVERLOADED, 429)
    assert refused.headers["retry-after"] == "1"
    assert_problem(await post(client, content=packed, content_encoding="gzip"), ErrorKind.OVERLOADED, 429)
    engine.gate.set()
    assert [(await call).status_code for call in calls] == [200, 200]
    assert engine.bodies.held == 0
    assert (await post(client)).status_code == 200


async def test_hang_up_while_sending(app: FastAPI, engine: FakeEngine, client: httpx.AsyncClient) -> None:
    caller = Caller(app)
    caller.send(CONTENT[:5], more_body=True)
    caller.hang_up()
    await assert_left(caller.start(), engine, client)
    assert len(engine.requests) == 1  # the good one


async def test_hang_up_while_parsing(
    app: FastAPI, engine: FakeEngine, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def decode(body: bytearray, limits: Limits) -> EncodeRequest:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return original(body, limits)

    original = json_codec.decode_request
    monkeypatch.setattr(json_codec, "decode_request", decode)
    caller = Caller(app)
    caller.send(CONTENT.ljust(300_000))
    task = caller.start()
    await begun.wait()
    caller.hang_up()
    await task  # before the parser is through
    go_on.set()
    await assert_left(task, engine, client)
    assert len(engine.requests) == 1  # the good one


@pytest.mark.parametrize("path", [PATH, VALIDATE])
async def test_hang_up_while_the_engine_works(
    app: FastAPI, engine: FakeEngine, client: httpx.AsyncClient, path: str
) -> None:
    engine.gate.clear()
    caller = Caller(app, path=path)
    caller.send(CONTENT)
    task = caller.start()
    await engine.entered.wait()
    caller.send(b"")  # some servers repeat the end of the body
    caller.hang_up()
    await assert_left(task, engine, client)
    assert engine.withdrawn == 1


async def test_hang_up_after_the_answer(app: FastAPI, engine: FakeEngine) -> None:
    caller = Caller(app)
    caller.send(CONTENT)
    await caller.start()
    caller.hang_up()
    assert [message["type"] for message in caller.outbox] == ["http.response.start", "http.response.body"]
    assert [call.outcome for call in engine.calls] == ["ok"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_hang_up_while_an_answer_is_being_written(
    app: FastAPI, engine: FakeEngine, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loop = asyncio.get_running_loop()
    engine.n_latent = 500_000  # 8 MB of text for each answer: more than the sockets hold
    request = f"POST {PATH} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {len(CONTENT)}\r\n"
    server = uvicorn.Server(uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, access_log=False))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as caller:
        serving = asyncio.create_task(server.serve([listener]))
        caller.setblocking(False)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(caller, listener.getsockname())
        # It asks twice and reads nothing: the first answer fills the connection, and the second one waits for room.
        await loop.sock_sendall(caller, (request.encode() + b"\r\n" + CONTENT) * 2)
        async with asyncio.timeout(PATIENCE_S):
            while engine.recorder.outcomes["ok"] < 2:
                await asyncio.sleep(0)
            (writing,) = server.server_state.tasks
            caller.close()
            await writing
            server.should_exit = True
            await serving
    assert engine.recorder.n_in_flight == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []
    engine.n_latent = 2
    assert (await post(client)).status_code == 200


async def test_a_cancelled_server_task_passes_the_cancellation_on(app: FastAPI, engine: FakeEngine) -> None:
    engine.gate.clear()
    caller = Caller(app)
    caller.send(CONTENT)
    task = caller.start()
    await engine.entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (engine.withdrawn, engine.calls[0].outcome) == (1, "cancelled")


async def test_a_body_that_does_not_arrive_in_time(app: FastAPI, engine: FakeEngine) -> None:
    caller = Caller(app, {"x-request-timeout-ms": "1"})
    caller.send(CONTENT[:5], more_body=True)
    await caller.start()
    assert caller.outbox[0]["status"] == 504
    assert [call.outcome for call in engine.calls] == ["deadline"]


async def test_a_full_queue_refuses_before_anything_is_decoded(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.full = ServiceError(ErrorKind.OVERLOADED, "full", retry_after_s=2)
    json = {"Content-Type": "application/json"}
    answer = await client.post("/v1/encode", content=b"no JSON at all", headers=json)
    assert assert_problem(answer, ErrorKind.OVERLOADED, 429)["detail"] == "full"
    assert answer.headers["retry-after"] == "2"
    # A check asks the queue for nothing.
    assert (await client.post("/v1/validate", content=b'{"gene_counts":[[1,2]]}', headers=json)).status_code == 200
