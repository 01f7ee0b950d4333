"""An unmodified tritonclient lists, describes and runs the model, and gets what `/v1` gives, bit for bit."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from service.protobuf.stubs import open_inference_pb2 as pb
from tests.end_to_end import synthetic, triton
from tests.end_to_end.asking import Answer
from tests.end_to_end.bad_input import GOOD
from tests.end_to_end.clients import RestCaller
from tests.end_to_end.server import RunningServer
from tests.end_to_end.synthetic import assert_same_bits
from tests.end_to_end.triton import Sent

ASK = GOOD.but(
    continuous={"age": GOOD.continuous["age"].astype(np.float32)},
    outputs=["qz", "ql", "z", "library", "samples"],
    options={"n_samples": 3, "seed": 2**62 + 1, "first_cell": 5},
)
ALL = [name for names in triton.OUTPUTS.values() for name in names]

WAYS = {
    "http binary": Sent("http"),
    "http JSON": Sent("http", binary=False),
    "http gzip": Sent("http", compression="gzip"),
    "grpc": Sent("grpc"),
}

CELLS = {
    "dense, named": ASK,
    "sparse, named": ASK.but(gene_counts=ASK.sparse().gene_counts),
    "dense, in order": ASK.but(genes=None, proteins=None),
    "sparse, in order": ASK.but(genes=None, proteins=None, gene_counts=ASK.sparse().gene_counts),
    "dense, float": ASK.but(gene_counts=ASK.gene_counts.astype(np.float32)),
    "no protein": ASK.but(protein_counts=None, proteins=None),
    "one cell": ASK.part(slice(0, 1)),
    "one label for all": ASK.but(
        batch="b1", categorical={"donor": "d1", "lane": 2}, continuous={"age": np.float32(0.5)}
    ),
    "a version": ASK.but(version="1"),
}


@pytest.fixture(scope="module")
def in_triton() -> Iterator[Callable[..., Any]]:
    with triton.process() as call:
        yield call


def port(server: RunningServer, sent: Sent) -> int:
    return server.http_port if sent.transport == "http" else server.grpc_port


@pytest.fixture(scope="module")
def right(rest: RestCaller) -> dict[str, Answer]:
    return {name: rest.encode(ask) for name, ask in CELLS.items()}


@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("way", WAYS)
def test_it_gets_what_v1_gives(
    server: RunningServer, in_triton: Callable[..., Any], right: dict[str, Answer], way: str, cells: str
) -> None:
    ask, sent = CELLS[cells], WAYS[way]
    result = in_triton(triton.infer, port(server, sent), ask, sent, None, "id-1")

    assert list(result.arrays) == ALL
    assert_same_bits(Answer(result.arrays, {}, [], {}), right[cells])
    assert result.facts["model_name"] == synthetic.NAME
    assert result.facts["model_version"] == (ask.version or "2")
    assert result.facts["id"] == "id-1"


def test_it_lists_and_describes_the_model(server: RunningServer, in_triton: Callable[..., Any]) -> None:
    def http(method: str, *arguments: Any) -> Any:
        return in_triton(triton.ask_http, server.http_port, method, *arguments)

    def grpc(method: str, *arguments: Any) -> Any:
        return in_triton(triton.ask_grpc, server.grpc_port, method, *arguments)

    for ask in (http, grpc):
        assert ask("is_server_live") and ask("is_server_ready") and ask("is_model_ready", synthetic.NAME)
        assert ask("is_model_ready", synthetic.NAME, "1")
        assert ask("get_server_metadata")["name"] == "totalvi-serve"
    index = http("get_model_repository_index")
    assert {(entry["name"], entry["version"], entry["state"]) for entry in index} >= {
        (synthetic.NAME, "1", "READY"),
        (synthetic.NAME, "2", "READY"),
        ("twin", "1", "READY"),
    }
    told = [{"reason": ""} | entry for entry in grpc("get_model_repository_index")["models"]]
    assert told == index

    described = http("get_model_metadata", synthetic.NAME)
    inputs = {tensor["name"]: (tensor["datatype"], tensor["shape"]) for tensor in described["inputs"]}
    assert inputs["gene_counts"] == ("FP32", [-1, 40])
    assert {"gene_counts.data", "gene_counts.indices", "gene_counts.indptr", "covariate.age"} < inputs.keys()
    assert [tensor["name"] for tensor in described["outputs"]] == ALL
    by_grpc = grpc("get_model_metadata", synthetic.NAME, "2")
    assert by_grpc["versions"] == described["versions"] == ["1", "2"]
    for kind in ("inputs", "outputs"):
        # As JSON, protobuf writes 64-bit numbers as text.
        assert [tensor | {"shape": list(map(int, tensor["shape"]))} for tensor in by_grpc[kind]] == described[kind]


@pytest.mark.parametrize("way", ["http binary", "http JSON", "grpc"])
def test_it_is_told_what_is_wrong(server: RunningServer, in_triton: Callable[..., Any], way: str) -> None:
    sent = WAYS[way]
    for ask, words in (
        (ASK.but(batch="other"), "batch 'other' is unknown to the model; allowed: 'b0', 'b1'"),
        (ASK.but(model="other"), "there is no such model"),
        (ASK.but(options={"n_samples": 1001}), "max_samples"),
        (ASK.but(options={"n_samples": "1"}), "the parameter n_samples must be a whole number"),
    ):
        with pytest.raises(RuntimeError, match=re.escape(words)):
            in_triton(triton.infer, port(server, sent), ask, sent)


def test_it_may_not_load_models(server: RunningServer, in_triton: Callable[..., Any]) -> None:
    for method in ("load_model", "unload_model"):
        for ask, at in ((triton.ask_http, server.http_port), (triton.ask_grpc, server.grpc_port)):
            with pytest.raises(RuntimeError, match="callers may not load or unload models here"):
                in_triton(ask, at, method, synthetic.NAME)


def test_it_loads_and_unloads_where_it_may(synthetic_models: Path, in_triton: Callable[..., Any]) -> None:
    with RunningServer(synthetic_models, "--repository-api", "on", "--drain-delay-s", "0") as server:
        server.wait_until_ready()
        for ask, at in ((triton.ask_http, server.http_port), (triton.ask_grpc, server.grpc_port)):
            in_triton(ask, at, "unload_model", synthetic.NAME)
            assert not in_triton(ask, at, "is_model_ready", synthetic.NAME)
            (entry,) = in_triton(triton.ask_http, server.http_port, "get_model_repository_index")
            assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "by request")
            in_triton(ask, at, "load_model", synthetic.NAME)
            assert in_triton(ask, at, "is_model_ready", synthetic.NAME)
            with pytest.raises(RuntimeError, match="no version of model 'other'"):
                in_triton(ask, at, "load_model", "other")


def test_names_and_numbers_are_those_of_the_protocol(in_triton: Callable[..., Any]) -> None:
    theirs = descriptor_pb2.FileDescriptorProto.FromString(in_triton(triton.descriptor))
    ours = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(ours)
    assert ours.package == theirs.package
    assert ours.name != theirs.name
    known = {message.name: message for message in theirs.message_type}
    for message in ours.message_type:
        assert fields(message) == fields(known[message.name]), message.name
    (their_service,), (our_service,) = theirs.service, ours.service
    assert our_service.name == their_service.name
    methods = {method.name: (method.input_type, method.output_type) for method in their_service.method}
    for method in our_service.method:
        assert methods[method.name] == (method.input_type, method.output_type)


def fields(message: descriptor_pb2.DescriptorProto) -> dict[str, object]:
    """Name → number, type and label of every field, nested messages included."""
    own: dict[str, object] = {
        field.name: (field.number, field.type, field.label, field.type_name) for field in message.field
    }
    return own | {nested.name: fields(nested) for nested in message.nested_type}
