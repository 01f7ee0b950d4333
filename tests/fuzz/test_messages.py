"""Damaged protobuf messages and binary bodies: every one gets an answer or a refusal that is documented."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.end_to_end.operators import assert_idle
from tests.end_to_end.server import RunningServer
from tests.fuzz import corpus
from tests.fuzz.conftest import good
from tests.fuzz.counts import share_of
from tests.fuzz.in_process import LIMITS, Answer, InProcess
from tests.fuzz.mutations import damaged, mutated, mutated_json
from tests.fuzz.over_sockets import OverSockets

DOCUMENTED_HTTP = {200, 400, 404, 403, 413, 415, 422}
DOCUMENTED_GRPC = {0, 3, 5, 7, 8, 12}
"""OK, INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNIMPLEMENTED."""

JSON, PROTOBUF = "application/json", "application/x-protobuf"

Send = Callable[[Any], Answer]
"""Sends a case `InProcess` or `OverSockets`."""

Cases = Callable[[random.Random], Iterator[tuple[str, Send]]]


def documented(path: str) -> set[int]:
    """The statuses that a call of this path may end with."""
    return DOCUMENTED_GRPC if path.startswith((corpus.V1, corpus.V2)) else DOCUMENTED_HTTP


def grpc_cases(rng: random.Random) -> Iterator[tuple[str, Send]]:
    """A message whose fields or bytes were changed, as the one message of a call or among those of a stream."""
    sources = corpus.messages()
    serialised = [message.SerializeToString() for _, message in sources]
    while True:
        at = rng.randrange(len(sources))
        path, message = sources[at]
        body = mutated(message, rng).SerializeToString() if rng.random() < 0.6 else serialised[at]
        if body is serialised[at] or rng.random() < 0.2:
            body = damaged(body, rng, serialised)
        bodies = (body,)
        if path.endswith("EncodeStream"):
            bodies = tuple(rng.sample([serialised[at], body, body], k=rng.choice((1, 2, 3))))
        yield path, lambda service, path=path, bodies=bodies: service.grpc(path, *bodies)


def protobuf_cases(rng: random.Random) -> Iterator[tuple[str, Send]]:
    """The same messages on the REST paths."""
    sources = corpus.encode_requests()
    serialised = [message.SerializeToString() for message in sources]
    while True:
        path = rng.choice(("/v1/encode", f"/v1/models/{corpus.NAME}/encode", "/v1/validate"))
        body = mutated(rng.choice(sources), rng).SerializeToString()
        if rng.random() < 0.4:
            body = damaged(rng.choice(serialised), rng, serialised)
        headers = {"content-type": PROTOBUF, "accept": rng.choice((PROTOBUF, JSON, "*/*"))}
        yield path, lambda service, path=path, body=body, headers=headers: service.http("POST", path, headers, body)


def inference_cases(rng: random.Random) -> Iterator[tuple[str, Send]]:
    """Bodies of the binary extension: the JSON, the tensors or the length between them is wrong."""
    sources = [corpus.infer_binary(sparse=sparse) for sparse in (False, True)]
    path = f"/v2/models/{corpus.NAME}/infer"
    while True:
        source = rng.choice(sources)
        head, tail = source.head, source.tail
        if rng.random() < 0.6:
            head = mutated_json(head, rng)
        if rng.random() < 0.4:
            tail = damaged(tail, rng)
        body, length = corpus.Binary(head, tail).body()
        if rng.random() < 0.2:
            body = damaged(body, rng)
        if rng.random() < 0.2:
            length = rng.choice((0, -1, length - 1, length + 1, len(body), len(body) + 1, 1 << 63))
        headers = {corpus.LENGTH: rng.choice((str(length),) * 30 + ("abc", "", "1e3", "٣"[:0]))}
        yield path, lambda service, body=body, headers=headers: service.http("POST", path, headers, body)


def json_cases(rng: random.Random) -> Iterator[tuple[str, Send]]:
    """JSON of both protocols whose members or bytes were changed, at times compressed."""
    sources = [("/v1/encode", body) for body in corpus.encode_bodies()]
    sources += [(f"/v2/models/{corpus.NAME}/infer", corpus.infer_json(sparse=sparse)) for sparse in (False, True)]
    pack = {"identity": bytes, "gzip": gzip.compress, "zstd": zstandard.compress}
    while True:
        path, fields = rng.choice(sources)
        body = json.dumps(mutated_json(fields, rng)).encode()
        if rng.random() < 0.4:
            body = damaged(json.dumps(fields).encode(), rng)
        encoding = rng.choice(("identity",) * 6 + ("gzip", "zstd"))
        body = pack[encoding](body)
        if encoding != "identity" and rng.random() < 0.5:
            body = damaged(body, rng)
        headers = {"content-type": JSON, "content-encoding": encoding}
        yield path, lambda service, path=path, body=body, headers=headers: service.http("POST", path, headers, body)


def test_what_is_damaged_was_good(service: InProcess) -> None:
    """Else most damage would fall on what nobody looks at."""
    for path, message in corpus.messages():
        if not path.endswith("Load"):
            assert service.grpc(path, message.SerializeToString()).status == 0, path
    infer = f"/v2/models/{corpus.NAME}/infer"
    for sparse in (False, True):
        body, length = corpus.infer_binary(sparse=sparse).body()
        assert service.http("POST", infer, {corpus.LENGTH: str(length)}, body).status == 200
        assert service.http("POST", infer, {}, json.dumps(corpus.infer_json(sparse=sparse)).encode()).status == 200
    for fields in corpus.encode_bodies():
        assert service.http("POST", "/v1/encode", {"content-type": JSON}, json.dumps(fields).encode()).status == 200


CASES = [(grpc_cases, 12_000), (protobuf_cases, 4_000), (inference_cases, 6_000), (json_cases, 6_000)]
IDS = ["grpc", "rest-protobuf", "inference-binary", "json"]


@pytest.mark.parametrize(("cases", "full"), CASES, ids=IDS)
def test_damaged_messages(service: InProcess, cases: Cases, full: int) -> None:
    """What is answered is documented, whatever came before; no bug shows."""
    outcomes: Counter[int] = Counter()
    for number, (path, send) in zip(range(share_of(full)), cases(random.Random(20_26)), strict=False):
        try:
            answer = send(service)
        except Exception as error:
            raise AssertionError(f"case {number} at {path} broke the service") from error
        assert answer.status in documented(path), (number, path, answer, service.errors.told)
        assert service.errors.told == [], (number, path, answer)
        outcomes[answer.status] += 1

    # The damage goes deep: some is still a good request, and most is refused for what it says.
    assert len(outcomes) >= 2, outcomes


def test_damaged_messages_over_sockets(models: Path) -> None:
    """Fewer, and others, to a real process; it goes on answering, and complains of nothing."""
    limits = [text for name, value in LIMITS.items() for text in (f"--{name.replace('_', '-')}", value)]
    with RunningServer(models, "--drain-delay-s", 0, *limits) as server:
        server.wait_until_ready()
        with OverSockets(server) as caller:
            right = good(caller).body
            for cases, full in CASES:
                for number, (path, send) in zip(range(share_of(full) // 4), cases(random.Random(7)), strict=False):
                    answer = send(caller)
                    assert answer.status in documented(path), (number, path, answer)
            assert good(caller).body == right
        assert_idle(server)
        assert server.stop() == 0
        assert [record for record in server.records if record["level"] not in ("debug", "info")] == []
        assert [line for line in server.lines if not line.startswith("{")] == []
