"""Good requests of every kind, which the fuzzers then damage."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

import numpy as np
from google.protobuf.message import Message

from service.protobuf.stubs import open_inference_pb2 as oip
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Csr
from tests.end_to_end.clients import json_body, message
from tests.end_to_end.triton import tensors

CELLS = synthetic.cells(3, seed=21)
SAMPLED = CELLS.but(outputs=None, options={"n_samples": 2, "seed": 5, "first_cell": 7}, cells=["a", "b", "b"])
NAME = synthetic.NAME

V1 = "/totalvi.v1.EncoderService/"
V2 = "/inference.GRPCInferenceService/"
LENGTH = "inference-header-content-length"

_DATATYPES = {"u1": "UINT8", "u2": "UINT16", "u4": "UINT32", "i4": "INT32", "i8": "INT64", "f4": "FP32", "f8": "FP64"}


@dataclasses.dataclass(frozen=True)
class Binary:
    """A request of the binary tensor extension: its JSON, and the bytes behind."""

    head: dict[str, Any]
    tail: bytes

    def body(self) -> tuple[bytes, int]:
        """The body and how much of it is JSON."""
        head = json.dumps(self.head).encode()
        return head + self.tail, len(head)


def encode_requests() -> list[pb.EncodeRequest]:
    """Dense and sparse, named and not, with and without samples."""
    asks = (CELLS, CELLS.sparse(), SAMPLED, SAMPLED.sparse(), CELLS.but(genes=None, proteins=None, model=None))
    return [message(ask) for ask in asks]


def messages() -> list[tuple[str, Message]]:
    """A gRPC method and a good message for it."""
    parameters = {"n_samples": oip.InferParameter(int64_param=2), "seed": oip.InferParameter(int64_param=3)}
    requests = encode_requests()
    return [
        *((V1 + "Encode", request) for request in requests),
        *((V1 + "Validate", request) for request in requests[:2]),
        *((V1 + "EncodeStream", request) for request in requests[:4]),
        (V1 + "GetModel", pb.GetModelRequest(model=NAME, model_version="1")),
        (V1 + "ListModels", pb.ListModelsRequest()),
        *((V2 + "ModelInfer", infer_request(sparse=sparse, raw=raw)) for sparse in (0, 1) for raw in (0, 1)),
        (V2 + "ModelInfer", infer_request(sparse=0, raw=1, parameters=parameters)),
        (V2 + "ModelReady", oip.ModelReadyRequest(name=NAME, version="1")),
        (V2 + "ModelMetadata", oip.ModelMetadataRequest(name=NAME)),
        (V2 + "RepositoryIndex", oip.RepositoryIndexRequest(ready=True)),
        (V2 + "RepositoryModelLoad", oip.RepositoryModelLoadRequest(model_name=NAME)),
        (V2 + "ServerMetadata", oip.ServerMetadataRequest()),
    ]


def named_tensors(*, sparse: bool) -> dict[str, tuple[str, list[int], Any]]:
    """Datatype, shape and values of each tensor of the protocol; texts are lists."""
    found = {}
    counts = Csr.of(CELLS.gene_counts) if sparse else CELLS.gene_counts
    for name, values in tensors(CELLS.but(gene_counts=counts)).items():
        if values.dtype == object:
            found[name] = ("BYTES", [len(values)], [text.decode() for text in values])
        else:
            found[name] = (_DATATYPES[values.dtype.str[1:]], list(values.shape), values)
    return found


def raw(values: Any) -> bytes:
    """A tensor's bytes on the wire."""
    if isinstance(values, list):
        return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in values)
    content: bytes = np.ascontiguousarray(values).tobytes()
    return content


def infer_request(
    *, sparse: bool | int, raw: bool | int, parameters: dict[str, oip.InferParameter] | None = None
) -> oip.ModelInferRequest:
    """A gRPC request of the protocol, with its tensors raw or as typed contents."""
    request = oip.ModelInferRequest(model_name=NAME, id="42")
    for key, parameter in (parameters or {}).items():
        request.parameters[key].CopyFrom(parameter)
    members = {"UINT": "uint_contents", "INT3": "int_contents", "INT6": "int64_contents"}
    members |= {"FP32": "fp32_contents", "FP64": "fp64_contents", "BYTE": "bytes_contents"}
    for name, (datatype, shape, values) in named_tensors(sparse=bool(sparse)).items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
        if raw:
            request.raw_input_contents.append(_raw(values))
        elif isinstance(values, list):
            tensor.contents.bytes_contents.extend(text.encode() for text in values)
        else:
            getattr(tensor.contents, members[datatype[:4]]).extend(np.ravel(values).tolist())
    return request


_raw = raw


def infer_json(*, sparse: bool) -> dict[str, Any]:
    """A JSON request of the protocol."""
    inputs = [
        {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "data": values if isinstance(values, list) else np.ravel(values).tolist(),
        }
        for name, (datatype, shape, values) in named_tensors(sparse=sparse).items()
    ]
    return {"id": "42", "inputs": inputs, "outputs": [{"name": "z"}], "parameters": {"n_samples": 1, "seed": 3}}


def infer_binary(*, sparse: bool) -> Binary:
    """A request of the binary extension, whose answer is to be binary too."""
    head, tail = infer_json(sparse=sparse), []
    for item, (_, _, values) in zip(head["inputs"], named_tensors(sparse=sparse).values(), strict=True):
        tail.append(raw(values))
        del item["data"]
        item["parameters"] = {"binary_data_size": len(tail[-1])}
    head["outputs"] = [{"name": "z", "parameters": {"binary_data": True}}]
    return Binary(head, b"".join(tail))


def encode_bodies() -> list[dict[str, Any]]:
    """JSON requests of `/v1`."""
    return [json_body(ask) for ask in (CELLS, CELLS.sparse(), SAMPLED)]
