"""NVIDIA's own client, unmodified, in a process of its own.

Its stubs register the protocol's names under another file than ours do, and protobuf has one pool in a process.
tritonclient is imported when called, in the other process.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.end_to_end.asking import Array, Ask, Csr
from tests.end_to_end.server import PATIENCE_S

OUTPUTS = {
    "qz": ("qz_mean", "qz_variance"),
    "ql": ("ql_mean", "ql_variance"),
    "z": ("z",),
    "library": ("library_observed", "library_latent"),
    "samples": ("latent_z", "latent_l", "untran_latent_z", "untran_latent_l"),
}


@dataclasses.dataclass(frozen=True)
class Sent:
    """How a request goes.

    Attributes:
        transport: `http` or `grpc`.
        binary: whether tensors go in binary, both ways; gRPC's always do.
        compression: of the request: `gzip` or None.
    """

    transport: str
    binary: bool = True
    compression: str | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What came back."""

    arrays: dict[str, Array]
    facts: dict[str, Any]


@contextmanager
def process() -> Iterator[Callable[..., Any]]:
    """Calls the functions of this module in a process with tritonclient in it."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(PATIENCE_S)


def tensors(ask: Ask) -> dict[str, Array]:
    """An ask as the protocol's tensors."""
    found: dict[str, Any] = {}
    for name in ("gene_counts", "protein_counts"):
        counts = getattr(ask, name)
        if isinstance(counts, Csr):
            found |= {f"{name}.{part}": values for part, values in vars(counts).items()}
        elif counts is not None:
            found[name] = counts
    for name in ("genes", "proteins", "batch"):
        if getattr(ask, name) is not None:
            found[name] = texts(getattr(ask, name))
    found |= {f"covariate.{key}": texts(labels) for key, labels in ask.categorical.items()}
    found |= {
        f"covariate.{key}": np.atleast_1d(np.asarray(numbers, np.float32)) for key, numbers in ask.continuous.items()
    }
    return found


def texts(labels: Any) -> Array:
    """Labels as BYTES."""
    listed = labels if isinstance(labels, Sequence) and not isinstance(labels, str) else [labels]
    return np.array([str(label).encode() for label in listed], dtype=object)


def infer(port: int, ask: Ask, sent: Sent, outputs: Sequence[str] | None = None, request_id: str = "") -> Result:
    """Run a model as tritonclient does; raises `RuntimeError` with its words."""
    import tritonclient.grpc
    import tritonclient.http
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

    module = tritonclient.http if sent.transport == "http" else tritonclient.grpc
    inputs = []
    for name, values in tensors(ask).items():
        tensor = module.InferInput(name, values.shape, np_to_triton_dtype(values.dtype))
        if sent.transport == "http":
            tensor.set_data_from_numpy(values, binary_data=sent.binary)
        else:
            tensor.set_data_from_numpy(values)
        inputs.append(tensor)
    binary = {"binary_data": sent.binary} if sent.transport == "http" else {}
    if outputs is None and ask.outputs is not None:
        outputs = [name for output in ask.outputs for name in OUTPUTS[output]]
    wanted = None if outputs is None else [module.InferRequestedOutput(name, **binary) for name in outputs]
    compression = {"request_compression_algorithm": sent.compression} if sent.transport == "http" else {}
    with module.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            result = client.infer(
                ask.model or "",
                inputs,
                model_version=ask.version or "",
                outputs=wanted,
                request_id=request_id,
                parameters=dict(ask.options),
                **compression,
            )
        except InferenceServerException as error:
            raise RuntimeError(str(error)) from None
        response = result.get_response(as_json=True) if sent.transport == "grpc" else result.get_response()
        arrays = {output["name"]: result.as_numpy(output["name"]) for output in response["outputs"]}
        return Result(arrays, response)


def ask_http(port: int, method: str, *arguments: Any, **options: Any) -> Any:
    """Call a method of the HTTP client that answers plain data."""
    import tritonclient.http
    from tritonclient.utils import InferenceServerException

    with tritonclient.http.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            return getattr(client, method)(*arguments, **options)
        except InferenceServerException as error:
            raise RuntimeError(str(error)) from None


def ask_grpc(port: int, method: str, *arguments: Any) -> Any:
    """Call a method of the gRPC client; messages come back as JSON."""
    import tritonclient.grpc
    from tritonclient.utils import InferenceServerException

    plain = {} if method.startswith("is_") or method.endswith("load_model") else {"as_json": True}
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            return getattr(client, method)(*arguments, **plain)
        except InferenceServerException as error:
            raise RuntimeError(str(error)) from None


def descriptor() -> bytes:
    """The protocol as tritonclient has it: a serialised `FileDescriptorProto`."""
    from tritonclient.grpc import service_pb2

    return bytes(service_pb2.DESCRIPTOR.serialized_pb)
