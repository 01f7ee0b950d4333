"""The REST paths take and give the messages of gRPC: the same bits, whatever request and answer are written in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
import zstandard

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer
from tests.end_to_end.bad_input import GOOD
from tests.end_to_end.clients import JSON, PROTOBUF, GrpcCaller, RestCaller, json_body, message
from tests.end_to_end.synthetic import assert_same_bits

ASK = GOOD.but(cells=[f"cell-{i}" for i in range(len(GOOD.gene_counts))], options={"n_samples": 2, "seed": 2**64 - 1})

BODIES = {
    JSON: json.dumps(json_body(ASK)).encode(),
    PROTOBUF: message(ASK.but(model=None)).SerializeToString(),
}
MODEL = f"/v1/models/{synthetic.NAME}"


@pytest.fixture(scope="module")
def right(rpc: GrpcCaller) -> Answer:
    return rpc.encode(ASK)


@pytest.mark.parametrize("accept", ["*/*", JSON, PROTOBUF])
@pytest.mark.parametrize("sent", [JSON, PROTOBUF])
@pytest.mark.parametrize("path", [MODEL, f"{MODEL}/versions/2"], ids=["model", "version"])
def test_either_is_answered_in_either(rest: RestCaller, right: Answer, path: str, sent: str, accept: str) -> None:
    answer = rest.send("POST", f"{path}/encode", BODIES[sent], {"Content-Type": sent, "Accept": accept})

    assert answer.headers["content-type"] == (sent if accept == "*/*" else accept)
    assert_same_bits(answer, right)
    assert (answer.facts, answer.warnings) == (right.facts, right.warnings)
    phases = [part.partition(";")[0] for part in answer.headers["server-timing"].split(", ")]
    assert phases == ["decode", "queue", "compute", "encode"]
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_compressed_messages(
    rest: RestCaller, right: Answer, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    headers = {"Content-Type": PROTOBUF, "Content-Encoding": encoding}
    assert_same_bits(rest.send("POST", f"{MODEL}/encode", compress(BODIES[PROTOBUF]), headers), right)
