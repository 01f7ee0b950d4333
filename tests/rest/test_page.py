"""The page for people: its files as they are, to everybody, and nothing else to anybody without a token."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
import math
import os
import urllib.parse
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Message, Scope

from service.core.errors import ErrorKind
from service.rest import page as page_module
from service.rest.app import build_app
from service.rest.page import FOLDER, Page, read_page
from service.rest.page_routes import OVER_TLS, SECURITY
from tests.bearers import GOOD, accepted_tokens

from .calling import assert_problem
from .fake_engine import FakeEngine

INDEX = b"<!doctype html><title>made up</title>"
SCRIPT = b"export const cells = 1;\n" * 10_000
NOISE = os.urandom(5000)
"""That gzip only makes longer."""
FILES = {
    "index-D77KbISL.js": SCRIPT,
    "cells-AbC_e-12.h5ad": NOISE,
    "licenses.md": b"# MIT\n" * 50,
    "a-AAAAAAAA.svg": b"",
}
SCRIPT_PATH = "/page/index-D77KbISL.js"

PATIENCE_S = 60.0
"""Only ever waited in full by a test that fails."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    built = tmp_path / "page_files"
    (built / "page" / "deeper").mkdir(parents=True)
    (built / "index.html").write_bytes(INDEX)
    (built / "stray.html").write_bytes(b"not of the page")
    (built / "page" / "deeper" / "stray.js").write_bytes(b"not of the page")
    for name, content in FILES.items():
        (built / "page" / name).write_bytes(content)
    (tmp_path / "secret.js").write_bytes(b"secret")
    return built


@pytest.fixture
def page(folder: Path) -> Page:
    return read_page(folder)


@pytest.fixture
def app(engine: FakeEngine, page: Page) -> FastAPI:
    return build_app(engine, page=page)


@pytest.fixture
async def stranger(engine: FakeEngine, page: Page) -> AsyncIterator[httpx.AsyncClient]:
    """Without a token, where one is asked for."""
    transport = httpx.ASGITransport(build_app(engine, accepted_tokens(), page), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client


async def get(client: httpx.AsyncClient, path: str, accept_encoding: str = "", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get(path, headers={"accept-encoding": accept_encoding, **named})


def assert_safe(answer: httpx.Response) -> None:
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY


def test_it_has_the_files_of_its_folder_and_no_others(page: Page) -> None:
    assert set(page.files) == {"/", *(f"/page/{name}" for name in FILES)}


@pytest.mark.parametrize(("path", "content"), [("/", INDEX), *((f"/page/{name}", FILES[name]) for name in FILES)])
async def test_each_file_is_answered_as_it_is(client: httpx.AsyncClient, path: str, content: bytes) -> None:
    answer = await get(client, path)
    assert (answer.status_code, answer.content) == (200, content)
    assert answer.headers["content-length"] == str(len(content))
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in answer.headers
    assert_safe(answer)


@pytest.mark.parametrize(
    ("path", "media_type", "kept"),
    [
        ("/", "text/html; charset=utf-8", False),
        (SCRIPT_PATH, "text/javascript; charset=utf-8", True),
        ("/page/cells-AbC_e-12.h5ad", "application/octet-stream", True),
        ("/page/a-AAAAAAAA.svg", "image/svg+xml", True),
        ("/page/licenses.md", "text/plain; charset=utf-8", False),
    ],
)
async def test_types_and_how_long_they_are_kept(
    client: httpx.AsyncClient, path: str, media_type: str, kept: bool
) -> None:
    answer = await get(client, path)
    assert answer.headers["content-type"] == media_type
    assert answer.headers["cache-control"] == ("public, max-age=31536000, immutable" if kept else "no-cache")


async def test_scripts_may_run_that_are_the_pages_own_alone(client: httpx.AsyncClient) -> None:
    """Workers go by the policy of their own answer."""
    for path in ("/", SCRIPT_PATH):
        policy = (await get(client, path)).headers["content-security-policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
        assert rules["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert rules["connect-src"] == rules["worker-src"] == rules["style-src"] == "'self'"


@pytest.mark.parametrize(
    ("path", "held", "status"), [("/", "", 200), (SCRIPT_PATH, "*", 304), ("/page/nothing.js", "", 404)]
)
async def test_what_browsers_complain_of_without_tls_is_sent_with_it_alone(
    client: httpx.AsyncClient, path: str, held: str, status: int
) -> None:
    for scheme, told in (("http", dict.fromkeys(OVER_TLS)), ("https", OVER_TLS)):
        answer = await get(client, f"{scheme}://service{path}", if_none_match=held)
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in OVER_TLS} == told
        assert_safe(answer)


async def test_a_host_that_is_none_is_no_fault(client: httpx.AsyncClient) -> None:
    assert (await get(client, "/", host="[")).status_code == 200


async def test_who_accepts_gzip_gets_it(client: httpx.AsyncClient) -> None:
    answer = await get(client, SCRIPT_PATH, "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.content == SCRIPT
    assert int(answer.headers["content-length"]) < len(SCRIPT) / 10
    plain = await get(client, SCRIPT_PATH, "gzip;q=0, *")
    assert "content-encoding" not in plain.headers
    assert plain.headers["etag"] != answer.headers["etag"], "a strong tag is one of bytes"
    assert_safe(answer)


async def test_what_gzip_makes_longer_is_sent_as_it_is(client: httpx.AsyncClient) -> None:
    answer = await get(client, "/page/cells-AbC_e-12.h5ad", "gzip")
    assert answer.content == NOISE
    assert "content-encoding" not in answer.headers


async def test_a_file_is_compressed_once_and_not_on_the_loop(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_loop, really = [], gzip.compress

    def compress(content: bytes, **options: int) -> bytes:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            on_loop.append(False)
        else:
            on_loop.append(True)
        return really(content, **options)

    monkeypatch.setattr(page_module.gzip, "compress", compress)
    answers = await asyncio.gather(*(get(client, SCRIPT_PATH, "gzip") for _ in range(20)))
    assert {answer.content for answer in answers} == {SCRIPT}
    assert on_loop == [False]


async def test_a_browser_that_leaves_does_not_take_the_compressed_file_with_it(page: Page) -> None:
    file = page.files[SCRIPT_PATH]
    first = asyncio.create_task(file.packed())
    await asyncio.sleep(0)
    first.cancel()
    packed = await file.packed()
    assert packed is not None and gzip.decompress(packed) == SCRIPT
    assert first.cancelled()


async def test_a_failed_compression_is_tried_again_and_meanwhile_the_file_is_sent_as_it_is(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = []

    def fail(content: bytes, **options: int) -> bytes:
        failed.append(len(content))
        raise MemoryError

    with monkeypatch.context() as short_of_memory, caplog.at_level(logging.WARNING):
        short_of_memory.setattr(page_module.gzip, "compress", fail)
        answers = await asyncio.gather(*(get(client, SCRIPT_PATH, "gzip") for _ in range(20)))
    for answer in answers:
        assert (answer.status_code, answer.content) == (200, SCRIPT)
        assert answer.headers["etag"] == f'"{hashlib.sha256(SCRIPT).hexdigest()}"'
        assert "content-encoding" not in answer.headers
    assert failed == [len(SCRIPT)], "those who ask at the same time wait for the same work"
    assert ["could not be compressed" in record.message for record in caplog.records] == [True]

    answer = await get(client, SCRIPT_PATH, "gzip")
    assert (answer.headers["content-encoding"], answer.content) == ("gzip", SCRIPT)


@pytest.mark.parametrize("accept_encoding", ["", "gzip"])
@pytest.mark.parametrize("path", ["/", SCRIPT_PATH])
async def test_who_has_a_file_is_not_sent_it_again(client: httpx.AsyncClient, path: str, accept_encoding: str) -> None:
    given = await get(client, path, accept_encoding)
    etag = given.headers["etag"]
    for held in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = await get(client, path, accept_encoding, if_none_match=held)
        assert (answer.status_code, answer.content) == (304, b"")
        kept = {name: given.headers[name] for name in ("etag", "cache-control", "vary")}
        assert {name: answer.headers[name] for name in kept} == kept
        assert not {"content-type", "content-length", "content-encoding"} & set(answer.headers)
        assert_safe(answer)
    assert (await get(client, path, accept_encoding, if_none_match='"other"')).status_code == 200


@pytest.mark.parametrize("accept_encoding", ["", "gzip"])
@pytest.mark.parametrize("path", ["/", SCRIPT_PATH])
async def test_head_is_get_without_the_body(client: httpx.AsyncClient, path: str, accept_encoding: str) -> None:
    got = await get(client, path, accept_encoding)
    answer = await client.head(path, headers={"accept-encoding": accept_encoding})
    assert (answer.status_code, answer.content) == (200, b"")
    apart = {"x-request-id"}
    assert {**answer.headers, **dict.fromkeys(apart)} == {**got.headers, **dict.fromkeys(apart)}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
@pytest.mark.parametrize("path", ["/", SCRIPT_PATH])
async def test_other_methods_are_told_which_there_are(client: httpx.AsyncClient, path: str, method: str) -> None:
    answer = await client.request(method, path)
    assert_problem(answer, ErrorKind.UNSUPPORTED, 405)
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_a_file_of_another_version_is_not_there_and_no_cache_keeps_that(client: httpx.AsyncClient) -> None:
    answer = await client.get("/page/index-Older123.js")
    assert "load the page again" in assert_problem(answer, ErrorKind.NOT_FOUND, 404)["detail"]
    assert answer.headers["cache-control"] == "no-store"
    assert_safe(answer)


OUTSIDE = [
    "/page/",
    "/page/..",
    "/page/../secret.js",
    "/page/../../secret.js",
    "/page/%2e%2e/secret.js",
    "/page/..%2fsecret.js",
    "/page/%2e%2e%2f%2e%2e%2fsecret.js",
    "/page/..\\secret.js",
    "/page/%00",
    "/page/deeper/stray.js",
    "/page/deeper%2fstray.js",
    "/page/deeper",
    "/page//index-D77KbISL.js",
    "//page/index-D77KbISL.js",
    "/page/INDEX-D77KbISL.JS",
    "/page/index-D77KbISL.js/",
    "/page",
    "/stray.html",
    "/index.html",
    "/page/index.html",
    "/page_files/index.html",
]
APART = [
    "//",
    "//v1/models",
    "/page/../v1/models",
    "/page/%2e%2e/v1/models",
    "/page/..%2fv1%2fmodels",
    "/v1/models#/page/",
]


async def ask(app: FastAPI, method: str, target: str) -> tuple[int, dict[bytes, bytes]]:
    """Ask as the server would, for what no client sends as it is."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": urllib.parse.unquote(target),
        "raw_path": target.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [],
        "app": app,
    }
    await app(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("target", OUTSIDE)
async def test_no_path_leads_out_of_the_page(app: FastAPI, target: str) -> None:
    status, _ = await ask(app, "GET", target)
    assert status == 404


@pytest.mark.parametrize("path", ["/", *(f"/page/{name}" for name in FILES)])
async def test_a_stranger_may_see_the_page(stranger: httpx.AsyncClient, engine: FakeEngine, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = await stranger.request(method, path)
        assert answer.status_code == 200
        assert_safe(answer)
    wrong = await stranger.get(path, headers={"Authorization": "Bearer wrong"})
    assert wrong.status_code == 200
    assert not engine.calls


@pytest.mark.parametrize(
    "target", [*OUTSIDE, *APART, "/v1/models", "/v1/stats", "/v1/limits", "/docs", "/openapi.json"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
async def test_a_stranger_sees_nothing_else(engine: FakeEngine, page: Page, method: str, target: str) -> None:
    status, headers = await ask(build_app(engine, accepted_tokens(), page), method, target)
    assert (status, headers[b"www-authenticate"]) == (401, b"Bearer")
    assert not engine.requests


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "TRACE"])
@pytest.mark.parametrize("path", ["/", SCRIPT_PATH])
async def test_a_stranger_does_nothing_else(engine: FakeEngine, page: Page, method: str, path: str) -> None:
    status, _ = await ask(build_app(engine, accepted_tokens(), page), method, path)
    assert status == 401


async def test_with_a_token_the_rest_is_there_too(stranger: httpx.AsyncClient) -> None:
    header = {"Authorization": f"Bearer {GOOD}"}
    assert (await stranger.get("/v1/stats", headers=header)).status_code == 200
    assert (await stranger.post("/", headers=header)).status_code == 405


async def test_a_page_is_no_call(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    for path in ("/", "/page/nothing.js"):
        await client.get(path)
    assert not engine.calls


def scope_of(path: str) -> Scope:
    return {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": ""}


async def test_a_long_file_is_sent_in_pieces(app: FastAPI) -> None:
    """Or the server would hold all of it for each stranger that does not read."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope_of(SCRIPT_PATH), None, send)
    pieces = [message["body"] for message in sent[1:]]
    assert b"".join(pieces) == SCRIPT
    assert max(map(len, pieces)) <= 1 << 16
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(pieces) - 1) + [False]


async def test_many_files_are_sent_at_a_piece_for_each_turn_of_the_loop(app: FastAPI) -> None:
    """Or calls would wait for all that the sockets of all strangers take."""
    turns, turn_of_piece = 0, []

    async def send(message: Message) -> None:
        if message.get("body"):
            turn_of_piece.append(turns)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await asyncio.gather(*(app(scope_of(SCRIPT_PATH), None, send) for _ in range(20)))
    counting.cancel()
    assert len(turn_of_piece) == 20 * math.ceil(len(SCRIPT) / (1 << 16))
    assert len(set(turn_of_piece)) == len(turn_of_piece)


async def test_nobody_waits_for_a_stranger_that_does_not_read(app: FastAPI, client: httpx.AsyncClient) -> None:
    full = asyncio.Event()

    async def send(message: Message) -> None:
        if message.get("body"):
            full.set()
            await asyncio.Event().wait()

    strangers = [asyncio.create_task(app(scope_of(SCRIPT_PATH), None, send)) for _ in range(20)]
    await full.wait()
    async with asyncio.timeout(PATIENCE_S):
        assert (await get(client, SCRIPT_PATH)).content == SCRIPT
    for stranger in strangers:
        assert not stranger.done()
        stranger.cancel()


def test_the_page_is_no_part_of_the_document(app: FastAPI) -> None:
    assert app.openapi() == build_app(FakeEngine()).openapi()


async def test_without_a_page_there_is_nothing(engine: FakeEngine) -> None:
    for tokens, status in ((None, 404), (accepted_tokens(), 401)):
        app = build_app(engine, tokens)
        assert {(await ask(app, "GET", path))[0] for path in ("/", SCRIPT_PATH)} == {status}


@pytest.mark.parametrize("made", [(), ("page",), ("page/x.js",)])
async def test_a_page_that_was_not_built_is_told_of(
    tmp_path: Path, engine: FakeEngine, caplog: pytest.LogCaptureFixture, made: tuple[str, ...]
) -> None:
    for name in made:
        (tmp_path / "page").mkdir()
        if name != "page":
            (tmp_path / name).touch()
    with caplog.at_level(logging.WARNING):
        page = read_page(tmp_path)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    transport = httpx.ASGITransport(build_app(engine, page=page))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        assert "was not built" in assert_problem(await client.get("/"), ErrorKind.NOT_FOUND, 404)["detail"]
        assert (await client.get("/v1/models")).status_code == 200


async def test_a_page_that_was_not_built_opens_nothing(engine: FakeEngine) -> None:
    assert (await ask(build_app(engine, accepted_tokens(), Page({})), "GET", "/"))[0] == 401


def test_the_pages_own_folder_is_beside_the_code() -> None:
    assert Path(page_module.__file__).parent / "page_files" == FOLDER
