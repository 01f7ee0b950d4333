"""Validation says what encoding would, in the same words whatever the transport, and computes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Ask, Refused
from tests.end_to_end.bad_input import CASES, GENES, GOOD, SURE, columns
from tests.end_to_end.clients import GrpcCaller, RestCaller, RestProtobufCaller, grpc_refusal
from tests.end_to_end.mistake import Says, Send, Warns, assert_says
from tests.end_to_end.operators import Samples, assert_idle, metrics
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_right

COVERAGE = ("given", "known", "missing", "extra", "coverage")


class RestValidator(RestCaller):
    """Asks `validate` where its like asks `encode`; the report is in the facts."""

    def send(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        return super().send(method, path.replace("/encode", "/validate"), body, headers)


class RestProtobufValidator(RestValidator, RestProtobufCaller):
    """The same with messages."""

    def answer(self, response: httpx.Response) -> Answer:
        return report_answer(pb.ValidateResponse.FromString(response.content), dict(response.headers))


class GrpcValidator(GrpcCaller):
    """Asks `Validate` where its like asks `Encode`; the report is in the facts."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.stub.Encode = self.stub.Validate

    def send_bytes(self, method: str, body: bytes, timeout_s: float = PATIENCE_S) -> Answer:
        return super().send_bytes(method.replace("Encode", "Validate"), body, timeout_s)

    def call(self, method: Any, request: Any, timeout_s: float = PATIENCE_S, **options: Any) -> Answer:
        try:
            response, call = method.with_call(request, timeout=timeout_s, **options)
        except grpc.RpcError as error:
            raise grpc_refusal(error) from None
        return report_answer(response, dict(call.trailing_metadata()))


def report_answer(report: pb.ValidateResponse, headers: dict[str, str]) -> Answer:
    """A report as its JSON would say it."""
    facts = {name: getattr(report, name) for name in ("model", "model_version", "n_cells")}
    for kind in ("genes", "proteins"):
        facts[kind] = {name: getattr(getattr(report, kind), name) for name in COVERAGE}
    warnings = [
        {"code": said.code, "detail": said.detail, "count": said.count, "examples": list(said.examples)}
        for said in report.warnings
    ]
    return Answer({}, facts, warnings, headers)


WAYS = [
    pytest.param(transport, send, outcome, id=f"{transport}-{case.name}".replace(" ", "-"))
    for case in CASES
    for transport, send, outcome in case.ways()
    # Nor deadlines that gRPC itself keeps: a report may be there before them.
    if getattr(outcome, "by", "us") != "either"
]


@pytest.fixture(scope="module")
def callers(
    server: RunningServer, rest: RestCaller, rpc: GrpcCaller, rest_protobuf: RestProtobufCaller
) -> Iterator[dict[str, tuple[Any, Any]]]:
    """Of each transport the one that encodes and the one that validates."""
    with (
        RestValidator(server.http_port) as rest_validator,
        GrpcValidator(server.grpc_port) as rpc_validator,
        RestProtobufValidator(server.http_port) as protobuf_validator,
    ):
        yield {
            "rest": (rest, rest_validator),
            "grpc": (rpc, rpc_validator),
            "rest-protobuf": (rest_protobuf, protobuf_validator),
        }


@pytest.mark.parametrize(("transport", "send", "outcome"), WAYS)
def test_a_mistake_is_told_as_encode_tells_it(
    callers: dict[str, tuple[Any, Any]], transport: str, send: Send, outcome: Says | Warns
) -> None:
    encoder, validator = callers[transport]
    if isinstance(outcome, Warns):
        assert send(validator).warnings == send(encoder).warnings != []
        return
    told = []
    for caller in (encoder, validator):
        with pytest.raises(Refused) as caught:
            send(caller)
        assert_says(caught.value, outcome)
        told.append(caught.value)
    if outcome.code != "deadline":  # which part of the way it passes on is a race
        encoded, validated = ((each.status, each.code, each.field, each.index, each.detail) for each in told)
        assert validated == encoded


def report(ask: Ask, genes: tuple[float, ...], proteins: tuple[float, ...]) -> dict[str, Any]:
    """What must be in the facts."""
    return {
        "model": synthetic.NAME,
        "model_version": ask.version or "2",
        "n_cells": len(ask.gene_counts),
        "genes": dict(zip(COVERAGE, genes, strict=True)),
        "proteins": dict(zip(COVERAGE, proteins, strict=True)),
    }


NO_PROTEINS = {"proteins": None, "protein_counts": None}
RENAMED = SURE.but(
    genes=["x", *GENES[:30], "y"],
    gene_counts=np.ascontiguousarray(np.pad(GOOD.gene_counts[:, :30], ((0, 0), (1, 1)))),
    proteins=["protein-1", "other"],
    protein_counts=np.ascontiguousarray(GOOD.protein_counts[:, :2]),
)


@pytest.mark.parametrize(
    ("ask", "genes", "proteins"),
    [
        pytest.param(GOOD, (40, 40, 0, 0, 1.0), (5, 5, 0, 0, 1.0), id="all"),
        pytest.param(GOOD.but(version="1"), (40, 40, 0, 0, 1.0), (5, 5, 0, 0, 1.0), id="version"),
        pytest.param(
            GOOD.but(genes=None).sparse().but(**NO_PROTEINS), (40, 40, 0, 0, 1.0), (0, 0, 5, 0, 0.0), id="csr"
        ),
        pytest.param(columns(30), (30, 30, 10, 0, 0.75), (5, 5, 0, 0, 1.0), id="missing"),
        pytest.param(RENAMED, (32, 30, 10, 2, 0.75), (2, 1, 4, 1, 0.2), id="renamed"),
    ],
)
def test_all_report_the_coverage_and_what_encode_warns_of(
    callers: dict[str, tuple[Any, Any]], ask: Ask, genes: tuple[float, ...], proteins: tuple[float, ...]
) -> None:
    expected = report(dataclasses.replace(ask, gene_counts=GOOD.gene_counts), genes, proteins)
    for encoder, validator in callers.values():
        found = validator.encode(ask)
        assert found.facts == expected
        assert found.warnings == encoder.encode(ask).warnings
        assert [part.partition(";")[0] for part in found.headers["server-timing"].split(", ")] == ["decode"]
        assert found.headers["x-request-id"]


def computed(found: Samples) -> dict[tuple[str, ...], float]:
    """Every count of cells and batches that were computed."""
    kinds = ("totalvi_cells_total", "totalvi_batch_cells_", "totalvi_batch_entries_", "totalvi_phase_duration_seconds")
    return {
        key: value
        for key, value in found.items()
        if key[0].startswith(kinds) and not (key[0].startswith(kinds[-1]) and "decode" in key)
    }


def test_nothing_is_computed(callers: dict[str, tuple[Any, Any]], server: RunningServer) -> None:
    assert_idle(server)
    before = metrics(server)

    for _, validator in callers.values():
        validator.encode(GOOD)

    assert_idle(server)
    after = metrics(server)
    assert computed(after) == computed(before) != {}
    for transport, n_callers in (("rest", 2), ("grpc", 1)):
        key = ("totalvi_requests_total", synthetic.NAME, "validate", "ok", transport, "2")
        assert after[key] == before.get(key, 0.0) + n_callers


def test_encode_is_right_after_it(callers: dict[str, tuple[Any, Any]]) -> None:
    for encoder, validator in callers.values():
        validator.encode(GOOD)
        assert_right(encoder.encode(GOOD), synthetic.expected(GOOD))
