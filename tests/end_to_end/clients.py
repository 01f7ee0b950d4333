"""Minimal callers of both transports: numpy in, numpy out, nothing of the service but its generated stubs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, Self

import grpc
import httpx
import numpy as np
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from tests.end_to_end.asking import Answer, Array, Ask, Csr, Label, Refused
from tests.end_to_end.server import PATIENCE_S

DTYPES = {
    np.dtype("u1"): pb.Tensor.U8,
    np.dtype("u2"): pb.Tensor.U16,
    np.dtype("u4"): pb.Tensor.U32,
    np.dtype("i4"): pb.Tensor.I32,
    np.dtype("i8"): pb.Tensor.I64,
    np.dtype("f4"): pb.Tensor.F32,
    np.dtype("f8"): pb.Tensor.F64,
}


JSON = "application/json"
PROTOBUF = "application/x-protobuf"


class RestCaller:
    """Calls `/v1` with JSON."""

    media_type = JSON

    def __init__(self, port: int, timeout_s: float = PATIENCE_S) -> None:
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def encode(self, ask: Ask, headers: Mapping[str, str] | None = None) -> Answer:
        """Encode, or raise `Refused` or what httpx raises."""
        return self.send("POST", rest_path(ask), json.dumps(json_body(ask)).encode(), headers)

    def send(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a body as it is, of the caller's own type if the headers do not say otherwise."""
        request_headers = {"Content-Type": self.media_type} | dict(headers or {})
        response = self._client.request(method, path, content=body, headers=request_headers)
        if response.status_code != 200:
            raise _rest_refusal(response)
        return self.answer(response)

    def answer(self, response: httpx.Response) -> Answer:
        """What a response answers, in either media type."""
        if response.headers["content-type"] == PROTOBUF:
            return _grpc_answer(pb.EncodeResponse.FromString(response.content), dict(response.headers))
        return _rest_answer(response)


class RestProtobufCaller(RestCaller):
    """Calls `/v1` with the messages of gRPC; what a `GrpcCaller` is told to send it sends too."""

    media_type = PROTOBUF
    stub = SimpleNamespace(Encode="Encode", Validate="Validate")

    def encode(self, ask: Ask, headers: Mapping[str, str] | None = None) -> Answer:
        """Encode, or raise `Refused` or what httpx raises."""
        return self.call(self.stub.Encode, message(ask), headers)

    def call(self, method: str, request: pb.EncodeRequest, headers: Mapping[str, str] | None = None) -> Answer:
        """Post a message, which itself names the model."""
        return self.send_bytes(method, request.SerializeToString(), headers)

    def send_bytes(self, method: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        """Post a message that is serialised already where that method is."""
        return self.send("POST", f"/v1/{method.lower()}", body, headers)


class GrpcCaller:
    """Calls `totalvi.v1.EncoderService`."""

    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{port}",
            options=[
                ("grpc.max_send_message_length", -1),
                ("grpc.max_receive_message_length", -1),
                ("grpc.enable_http_proxy", 0),
                # Callers in one process would otherwise share a connection.
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )
        self.stub = EncoderServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def encode(self, ask: Ask, timeout_s: float = PATIENCE_S) -> Answer:
        """Encode, or raise `Refused`."""
        return self.call(self.stub.Encode, message(ask), timeout_s)

    def encode_stream(self, messages: Iterable[pb.EncodeRequest], timeout_s: float = PATIENCE_S) -> Iterator[Answer]:
        """The answers to a stream, as they come; the end may raise `Refused`."""
        try:
            for response in self.stub.EncodeStream(iter(messages), timeout=timeout_s):
                yield _grpc_answer(response, {})
        except grpc.RpcError as error:
            raise grpc_refusal(error) from None

    def send_bytes(self, method: str, body: bytes, timeout_s: float = PATIENCE_S) -> Answer:
        """Send a message that is serialised already."""
        path = f"/totalvi.v1.EncoderService/{method}"
        call = self.channel.unary_unary(path, response_deserializer=pb.EncodeResponse.FromString)
        return self.call(call, body, timeout_s)

    def call(self, method: Any, request: Any, timeout_s: float = PATIENCE_S, **options: Any) -> Answer:
        """Call a method that answers like `Encode`."""
        try:
            response, call = method.with_call(request, timeout=timeout_s, **options)
        except grpc.RpcError as error:
            raise grpc_refusal(error) from None
        return _grpc_answer(response, _texts(call.trailing_metadata()))


def rest_path(ask: Ask) -> str:
    """Where an ask is posted."""
    model = "" if ask.model is None else f"/models/{ask.model}"
    return f"/v1{model}{'' if ask.version is None else f'/versions/{ask.version}'}/encode"


def json_body(ask: Ask) -> dict[str, Any]:
    """An ask as the members of its JSON body."""
    fields = {
        "gene_counts": _json_counts(ask.gene_counts),
        "protein_counts": _json_counts(ask.protein_counts),
        "genes": ask.genes,
        "proteins": ask.proteins,
        "cells": ask.cells,
        "batch": ask.batch,
        "categorical_covariates": ask.categorical or None,
        "continuous_covariates": {key: np.asarray(numbers).tolist() for key, numbers in ask.continuous.items()} or None,
        "outputs": ask.outputs,
    }
    return {name: value for name, value in fields.items() if value is not None} | dict(ask.options)


def message(ask: Ask) -> pb.EncodeRequest:
    """An ask as a message."""
    return pb.EncodeRequest(
        model=ask.model or "",
        model_version=ask.version or "",
        gene_counts=_grpc_counts(ask.gene_counts),
        protein_counts=_grpc_counts(ask.protein_counts),
        genes=ask.genes,
        proteins=ask.proteins,
        cells=ask.cells,
        batch=None if ask.batch is None else labels(ask.batch),
        categorical_covariates={key: labels(values) for key, values in ask.categorical.items()},
        continuous_covariates={key: tensor(np.asarray(numbers)) for key, numbers in ask.continuous.items()},
        outputs=[pb.Output.Value(f"OUTPUT_{name.upper()}") for name in ask.outputs or ()],
        **ask.options,
    )


def stream_messages(ask: Ask, ends: Sequence[int], *, sparse: bool = False) -> list[pb.EncodeRequest]:
    """An ask of dense counts as the messages of a stream, cut before the cells `ends`."""
    slices = [ask.part(slice(start, stop)) for start, stop in zip([0, *ends], [*ends, None], strict=True)]
    slices[1:] = [
        part.but(model=None, version=None, genes=None, proteins=None, outputs=None, options={}) for part in slices[1:]
    ]
    return [message(part.sparse() if sparse else part) for part in slices]


def tensor(values: Array) -> pb.Tensor:
    """An array on the wire."""
    return pb.Tensor(dtype=DTYPES[values.dtype], shape=values.shape, data=values.tobytes())


def labels(values: Label | Sequence[Label]) -> pb.Labels:
    """One label for all cells, or one for each."""
    if isinstance(values, str | int | float):
        return pb.Labels(categories=[_label(values)])
    distinct = list(dict.fromkeys((type(value), value) for value in values))
    codes = np.array([distinct.index((type(value), value)) for value in values], dtype=np.uint8)
    return pb.Labels(categories=[_label(value) for _, value in distinct], codes=tensor(codes))


def _label(value: Label) -> pb.Label:
    names = {str: "string_value", int: "int_value", float: "double_value", bool: "bool_value"}
    return pb.Label(**{names[type(value)]: value})


def _json_counts(counts: Array | Csr | None) -> Any:
    if isinstance(counts, Csr):
        return {name: _numbers(values) for name, values in vars(counts).items()}
    return None if counts is None else _numbers(counts)


def _numbers(values: Array) -> list[Any]:
    """As Python numbers; whole ones without a point, as a caller of integer counts would send them."""
    whole = values.dtype.kind == "f" and np.isfinite(values).all() and np.array_equal(values, np.floor(values))
    return (values.astype(np.int64) if whole and np.abs(values).max(initial=0) < 2**53 else values).tolist()


def _grpc_counts(counts: Array | Csr | None) -> pb.Counts | None:
    if counts is None:
        return None
    if isinstance(counts, Csr):
        return pb.Counts(csr=pb.CsrCounts(**{name: tensor(values) for name, values in vars(counts).items()}))
    return pb.Counts(dense=tensor(counts))


def _rest_answer(response: httpx.Response) -> Answer:
    body = response.json()
    arrays, facts = {}, {}
    for name, value in body.items():
        match name:
            case "qz" | "ql" | "library":
                arrays |= {f"{name}_{part}": numbers for part, numbers in value.items()}
            case "z":
                arrays["z"] = value
            case "samples":
                facts["seed"] = value["seed"]
                for space in ("latent", "untran_latent"):
                    arrays |= {f"{space}_{part}": numbers for part, numbers in value[space].items()}
            case _:
                facts[name] = value
    numbers = {name: np.array(values, dtype=np.float32) for name, values in arrays.items()}
    return Answer(numbers, facts, facts.pop("warnings", []), dict(response.headers))


def _grpc_answer(response: Any, headers: dict[str, str]) -> Answer:
    if not isinstance(response, pb.EncodeResponse):
        return Answer({}, {}, [], headers)
    found = {
        "qz_mean": response.qz.mean,
        "qz_variance": response.qz.variance,
        "ql_mean": response.ql.mean,
        "ql_variance": response.ql.variance,
        "z": response.z,
        "library_observed": response.library.observed,
        "library_latent": response.library.latent,
        "latent_z": response.samples.latent.z,
        "latent_l": response.samples.latent.l,
        "untran_latent_z": response.samples.untran_latent.z,
        "untran_latent_l": response.samples.untran_latent.l,
    }
    arrays = {}
    for name, wire in found.items():
        if wire.dtype:
            assert wire.dtype == pb.Tensor.F32, name
            arrays[name] = np.frombuffer(wire.data, "<f4").reshape(wire.shape)
    facts: dict[str, Any] = {name: getattr(response, name) for name in ("model", "model_version", "n_cells")}
    if response.cells:
        facts["cells"] = list(response.cells)
    if response.HasField("samples"):
        facts["seed"] = response.samples.seed
    names = ("code", "detail", "count", "examples")
    warnings = [{name: getattr(warning, name) for name in names} for warning in response.warnings]
    return Answer(arrays, facts, [warning | {"examples": list(warning["examples"])} for warning in warnings], headers)


def _rest_refusal(response: httpx.Response) -> Refused:
    assert response.headers["content-type"] == "application/problem+json", response.text
    body = response.json()
    refused = Refused(response.status_code, body["detail"], response.headers, response.text)
    refused.code, refused.field, refused.index = body["code"], body.get("field"), body.get("index")
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:totalvi-serve:error:{refused.code}"
    assert body["title"]
    assert body["request_id"] == response.headers["x-request-id"]
    return refused


def grpc_refusal(error: grpc.RpcError) -> Refused:
    """The error of a call."""
    headers = _texts(error.trailing_metadata() or ())
    status = rpc_status.from_call(error)
    refused = Refused(error.code(), error.details() or "", headers, f"{error.details()} {headers} {status}")
    if status is None:
        return refused
    details = {detail.type_url.rpartition(".")[2]: detail for detail in status.details}
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
    assert details["ErrorInfo"].Unpack(info)
    assert details["RequestInfo"].Unpack(request)
    assert info.domain == "totalvi-serve"
    assert request.request_id == headers["x-request-id"]
    refused.code, refused.field = info.reason, info.metadata.get("field")
    refused.index = int(info.metadata["index"]) if "index" in info.metadata else None
    return refused


def _texts(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata if isinstance(value, str)}
