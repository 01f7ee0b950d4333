import dataclasses
import gzip
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard

from service.core.errors import ErrorKind, ServiceError
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.rest import media_types
from service.rest.headers import JSON, MEDIA_TYPES, PROTOBUF
from service.rest.media_types import CODECS

from .calling import CONTENT, PATH, VALIDATE, assert_problem, post
from .fake_engine import FakeEngine

WARNING = {"code": "missing_genes", "detail": "12 genes are missing", "count": 12, "examples": ["CD8A"]}
COUNTS = pb.Counts(dense=pb.Tensor(dtype=pb.Tensor.U8, shape=[2, 2], data=bytes([1, 2, 3, 4])))


def message(**fields: Any) -> bytes:
    """The cells of `CONTENT`."""
    return pb.EncodeRequest(gene_counts=COUNTS, cells=["a", "b"], **fields).SerializeToString()


BODIES = {JSON: CONTENT, PROTOBUF: message()}
LARGE = {JSON: CONTENT.ljust(300_000), PROTOBUF: message(genes=["g" * 300_000])}


def test_every_media_type_has_a_codec() -> None:
    assert tuple(CODECS) == MEDIA_TYPES


def fields(answer: httpx.Response, kind: type[pb.EncodeResponse | pb.ValidateResponse]) -> Any:
    """What the answer says, as a message whichever type it has."""
    if answer.headers["content-type"] == PROTOBUF:
        return kind.FromString(answer.content)
    assert answer.headers["content-type"] == JSON
    body = answer.json()
    if "qz" in body:
        body["qz"] = {part: tensor(values) for part, values in body["qz"].items()}
    return kind(**body)


def tensor(values: Any) -> pb.Tensor:
    array = np.asarray(values, "<f4")
    return pb.Tensor(dtype=pb.Tensor.F32, shape=array.shape, data=array.tobytes())


@pytest.mark.parametrize("accept", [None, *MEDIA_TYPES])
@pytest.mark.parametrize("sent", MEDIA_TYPES)
async def test_encode_takes_and_gives_either(
    client: httpx.AsyncClient, engine: FakeEngine, sent: str, accept: str | None
) -> None:
    answer = await post(client, PATH, BODIES[sent], content_type=sent, accept=accept or "*/*", x_request_id="id-1")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (accept or sent)
    assert answer.headers["x-request-id"] == "id-1"
    assert re.fullmatch(r"decode;dur=[\d.]+, queue;dur=[\d.]+, encode;dur=[\d.]+", answer.headers["server-timing"])
    assert fields(answer, pb.EncodeResponse) == pb.EncodeResponse(
        model="pbmc",
        model_version="2",
        n_cells=2,
        cells=["a", "b"],
        qz=pb.NormalParams(mean=tensor(np.zeros((2, 2))), variance=tensor(np.ones((2, 2)))),
        warnings=[pb.Warning(**WARNING)],
    )
    ((request, *asked),) = engine.requests
    assert (request.n_cells, request.cells, asked) == (2, ("a", "b"), [None, None])
    (call,) = engine.calls
    assert (call.transport, call.operation, call.outcome) == ("rest", "encode", "ok")
    assert (call.n_bytes, call.request_id) == (len(BODIES[sent]), "id-1")


@pytest.mark.parametrize("accept", [None, *MEDIA_TYPES])
@pytest.mark.parametrize("sent", MEDIA_TYPES)
async def test_validate_takes_and_gives_either(
    client: httpx.AsyncClient, engine: FakeEngine, sent: str, accept: str | None
) -> None:
    answer = await post(client, VALIDATE, BODIES[sent], content_type=sent, accept=accept or "*/*")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == (accept or sent)
    assert fields(answer, pb.ValidateResponse) == pb.ValidateResponse(
        model="pbmc",
        model_version="2",
        n_cells=2,
        genes=pb.Coverage(given=5, known=3, missing=12, extra=2, coverage=0.2),
        proteins=pb.Coverage(missing=4),
        warnings=[pb.Warning(**WARNING)],
    )
    assert re.fullmatch(r"decode;dur=\d+\.\d{3}", answer.headers["server-timing"])


@pytest.mark.parametrize(
    ("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress), ("identity", bytes)]
)
async def test_compressed_messages(
    client: httpx.AsyncClient, engine: FakeEngine, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    answer = await post(
        client, content=compress(BODIES[PROTOBUF]), content_type=PROTOBUF, content_encoding=encoding, accept=JSON
    )
    assert (answer.status_code, answer.json()["cells"]) == (200, ["a", "b"])
    assert engine.calls[0].n_bytes == len(BODIES[PROTOBUF])


@pytest.mark.parametrize(
    ("path", "named", "model", "version"),
    [
        ("", {}, None, None),
        ("", {"model": "pbmc"}, "pbmc", None),
        ("", {"model": "pbmc", "model_version": "1"}, "pbmc", "1"),
        ("", {"model_version": "1"}, None, "1"),
        ("/models/pb%20mc", {}, "pb mc", None),
        ("/models/pb%20mc", {"model": "pb mc", "model_version": "1"}, "pb mc", "1"),
        ("/models/pbmc/versions/1", {}, "pbmc", "1"),
        ("/models/pbmc/versions/1", {"model": "pbmc", "model_version": "1"}, "pbmc", "1"),
    ],
)
@pytest.mark.parametrize("operation", ["encode", "validate"])
async def test_the_message_may_name_what_the_path_leaves_open(
    client: httpx.AsyncClient,
    engine: FakeEngine,
    operation: str,
    path: str,
    named: dict[str, str],
    model: str | None,
    version: str | None,
) -> None:
    answer = await post(client, f"/v1{path}/{operation}", message(**named), content_type=PROTOBUF)
    assert answer.status_code == 200
    ((_, *asked),) = engine.requests
    assert asked == [model, version]


@pytest.mark.parametrize(
    ("path", "named", "field"),
    [
        ("/models/pbmc", {"model": "other"}, "model"),
        ("/models/pbmc", {"model": "PBMC", "model_version": "1"}, "model"),
        ("/models/pbmc/versions/1", {"model": "other", "model_version": "2"}, "model"),
        ("/models/pbmc/versions/1", {"model": "pbmc", "model_version": "2"}, "model_version"),
        ("/models/pbmc/versions/1", {"model_version": "01"}, "model_version"),
    ],
)
@pytest.mark.parametrize("operation", ["encode", "validate"])
async def test_the_message_may_not_name_another_than_the_path(
    client: httpx.AsyncClient, engine: FakeEngine, operation: str, path: str, named: dict[str, str], field: str
) -> None:
    answer = await post(client, f"/v1{path}/{operation}", message(**named), content_type=PROTOBUF)
    body = assert_problem(answer, ErrorKind.INVALID, 422)
    assert body["field"] == field
    assert engine.requests == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "field"),
    [
        (b"\xff", ErrorKind.MALFORMED, 400, None),
        (CONTENT, ErrorKind.MALFORMED, 400, None),
        (message()[:-1], ErrorKind.MALFORMED, 400, None),
        (b"", ErrorKind.INVALID, 422, "gene_counts"),
        (message(outputs=[99]), ErrorKind.INVALID, 422, "outputs"),
        (message(batch=pb.Labels(categories=[pb.Label()])), ErrorKind.MALFORMED, 400, "batch.categories"),
        (message().ljust(2_000_001), ErrorKind.TOO_LARGE, 413, None),
    ],
)
@pytest.mark.parametrize("accept", MEDIA_TYPES)
@pytest.mark.parametrize("path", [PATH, VALIDATE])
async def test_a_bad_message_is_a_problem_in_json(
    client: httpx.AsyncClient,
    engine: FakeEngine,
    path: str,
    accept: str,
    content: bytes,
    kind: ErrorKind,
    status: int,
    field: str | None,
) -> None:
    answer = await post(client, path, content, content_type=PROTOBUF, accept=accept)
    assert assert_problem(answer, kind, status).get("field") == field
    assert [call.outcome for call in engine.calls] == [kind.value]


async def test_what_the_engine_refuses_is_a_problem_in_json(client: httpx.AsyncClient, engine: FakeEngine) -> None:
    engine.error = ServiceError(ErrorKind.OVERLOADED, "the queue is full", retry_after_s=1.2)
    answer = await post(client, content=message(), content_type=PROTOBUF)
    assert_problem(answer, ErrorKind.OVERLOADED, 429)
    assert answer.headers["retry-after"] == "2"


@pytest.mark.parametrize("step", ["decode_request", "encode_reply"])
@pytest.mark.parametrize("media_type", MEDIA_TYPES)
async def test_large_bodies_are_worked_on_off_the_loop(
    client: httpx.AsyncClient, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, media_type: str, step: str
) -> None:
    on_the_loop = []

    def watched(*arguments: Any) -> Any:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return original(*arguments)

    codec = CODECS[media_type]
    original = getattr(codec, step)
    monkeypatch.setitem(CODECS, media_type, dataclasses.replace(codec, **{step: watched}))
    for content, engine.n_latent in ((BODIES[media_type], 2), (LARGE[media_type], 30_000)):
        assert (await post(client, content=content, content_type=media_type)).status_code == 200
    assert on_the_loop == [True, False]


async def test_a_large_message_is_read_where_it_lies(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []

    def parse(kind: Any, body: bytearray) -> Any:
        kinds.append(type(body))
        return original(kind, body)

    original = media_types.message_codec.parse
    monkeypatch.setattr(media_types.message_codec, "parse", parse)
    assert (await post(client, content=LARGE[PROTOBUF], content_type=PROTOBUF)).status_code == 200
    assert kinds == [bytearray]


async def test_json_bodies_name_no_model(client: httpx.AsyncClient) -> None:
    content = json.dumps(json.loads(CONTENT) | {"model": "pbmc"}).encode()
    assert_problem(await post(client, content=content), ErrorKind.MALFORMED, 400)
