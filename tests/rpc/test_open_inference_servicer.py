"""The conformance table of the Open Inference Protocol over gRPC: calls, errors, both forms of contents, parameters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from service.core.messages import Limits
from service.core.open_inference import OUTPUTS
from service.protobuf.inference_codec import CONTENTS
from service.protobuf.stubs import open_inference_pb2 as pb
from service.protobuf.stubs.open_inference_pb2_grpc import GRPCInferenceServiceStub
from service.rpc.server import build_server
from tests.fakes import Gate
from tests.inference_model import COUNTS, CSR, SPARSE, SPEC, TENSORS, encoder, raw
from tests.running_core import Core

INVALID = grpc.StatusCode.INVALID_ARGUMENT
SERVICE = "inference.GRPCInferenceService"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    core = Core(tmp_path, encoder(), request_limits=Limits(max_request_bytes=1 << 20, max_request_cells=50))
    yield core
    await core.close()


@pytest.fixture
async def channel(core: Core) -> AsyncIterator[grpc.aio.Channel]:
    server = build_server(core.engine, max_message_bytes=1 << 20)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Any:
    return GRPCInferenceServiceStub(channel)


def typed(tensors: dict[str, tuple[str, Any]] = TENSORS, **parameters: Any) -> pb.ModelInferRequest:
    """A request with typed contents."""
    request = empty(tensors, **parameters)
    for tensor, (datatype, values) in zip(request.inputs, tensors.values(), strict=True):
        elements = [text.encode() for text in values] if isinstance(values, list) else values.reshape(-1).tolist()
        getattr(tensor.contents, CONTENTS[datatype]).extend(elements)
    return request


def of_raw(tensors: dict[str, tuple[str, Any]] = TENSORS, **parameters: Any) -> pb.ModelInferRequest:
    """A request with raw contents."""
    request = empty(tensors, **parameters)
    request.raw_input_contents.extend(raw(values) for _, values in tensors.values())
    return request


def empty(tensors: dict[str, tuple[str, Any]], **parameters: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="m")
    for name, (datatype, values) in tensors.items():
        shape = [len(values)] if isinstance(values, list) else values.shape
        request.inputs.add(name=name, datatype=datatype, shape=shape)
    for name, value in parameters.items():
        form = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}[type(value)]
        request.parameters[name].CopyFrom(pb.InferParameter(**{form: value}))
    return request


def arrays(response: pb.ModelInferResponse) -> dict[str, np.ndarray]:
    """The outputs of an answer, whichever way they came."""
    found = {}
    for index, output in enumerate(response.outputs):
        assert output.datatype == "FP32"
        if response.raw_output_contents:
            assert not output.HasField("contents")
            values = np.frombuffer(response.raw_output_contents[index], "<f4")
        else:
            values = np.array(output.contents.fp32_contents, dtype=np.float32)
        found[output.name] = values.reshape(output.shape)
    return found


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


async def assert_well(stub: Any) -> None:
    """After whatever came before, a good request gets its answer."""
    answer = arrays(await stub.ModelInfer(typed()))
    mark = np.array([3 + 3 + 10 + 1000 + 0.75 + 10_000 * (0 + 2 * 2), 14 + 1600 + 1 + 10_000 * (1 + 2 * 2 + 3)])
    assert np.array_equal(answer["qz_mean"][:, 0], mark.astype(np.float32))


async def test_the_server_and_its_health(core: Core, stub: Any) -> None:
    about = await stub.ServerMetadata(pb.ServerMetadataRequest())
    assert about.name == "totalvi-serve" and about.version
    assert list(about.extensions) == ["binary_tensor_data", "model_repository", "parameters"]
    model = pb.ModelReadyRequest(name="m")
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert (await stub.ModelReady(model)).ready
    assert (await stub.ModelReady(pb.ModelReadyRequest(name="m", version="1"))).ready

    core.health.mark_draining()
    assert (await stub.ServerLive(pb.ServerLiveRequest())).live
    assert not (await stub.ServerReady(pb.ServerReadyRequest())).ready
    assert not (await stub.ModelReady(model)).ready
    core.health.mark_failed("gone")
    assert not (await stub.ServerLive(pb.ServerLiveRequest())).live


async def test_a_model_is_described(stub: Any) -> None:
    for version in ("", "1"):
        said = await stub.ModelMetadata(pb.ModelMetadataRequest(name="m", version=version))
        assert (said.name, list(said.versions), said.platform) == ("m", ["1"], "pytorch_torchscript")
        inputs = {item.name: (item.datatype, list(item.shape)) for item in said.inputs}
        assert inputs.keys() == TENSORS.keys() | CSR.keys() | {"genes", "proteins"}
        assert inputs["gene_counts"] == ("FP32", [-1, 5])
        assert inputs["gene_counts.indptr"] == ("INT32", [-1])
        assert [item.name for item in said.outputs] == list(OUTPUTS)
        assert {item.name: list(item.shape) for item in said.outputs}["latent_z"] == [-1, -1, SPEC.n_latent]


@pytest.mark.parametrize("version", ["", "9"])
async def test_what_is_not_there(stub: Any, version: str) -> None:
    name = "m" if version else "other"
    for call in (
        stub.ModelReady(pb.ModelReadyRequest(name=name, version=version)),
        stub.ModelMetadata(pb.ModelMetadataRequest(name=name, version=version)),
        stub.ModelInfer(pb.ModelInferRequest(model_name=name, model_version=version, inputs=typed().inputs)),
        stub.ModelInfer(pb.ModelInferRequest(inputs=typed().inputs)),
    ):
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "served: " in error.details()
    await assert_well(stub)


METHODS = ["ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"]
METHODS += ["RepositoryIndex", "RepositoryModelLoad", "RepositoryModelUnload"]


@pytest.mark.parametrize("method", METHODS)
async def test_no_message(channel: grpc.aio.Channel, stub: Any, method: str) -> None:
    error = await refusal(channel.unary_unary(f"/{SERVICE}/{method}")(b"\xff"))
    assert error.code() is INVALID
    assert "the message is not a serialised inference." in error.details()
    await assert_well(stub)


async def test_other_calls_of_triton_are_unimplemented(channel: grpc.aio.Channel) -> None:
    error = await refusal(channel.unary_unary(f"/{SERVICE}/ModelConfig")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("form", ["dense", "sparse"])
async def test_an_answer_comes_in_the_form_of_its_request(core: Core, stub: Any, form: str) -> None:
    tensors = {"dense": TENSORS, "sparse": SPARSE}[form]
    answers = []
    for make, is_raw in ((typed, False), (of_raw, True)):
        request = make(tensors, n_samples=2)
        request.parameters["seed"].uint64_param = 2**64 - 1
        request.id = "a\nü" * 3000
        answer = await stub.ModelInfer(request)
        assert bool(answer.raw_output_contents) is is_raw
        assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", request.id)
        assert answer.parameters["seed"].uint64_param == 2**64 - 1
        answers.append(arrays(answer))
    assert list(answers[0]) == list(answers[1]) == list(OUTPUTS)
    assert all(np.array_equal(answers[0][name], answers[1][name]) for name in OUTPUTS)
    assert core.recorder.outcomes == {"ok": 2}


@pytest.mark.parametrize("datatype", [name for name in CONTENTS if name != "BYTES"] + ["FP16"])
async def test_every_datatype_of_counts(stub: Any, datatype: str) -> None:
    dtype = {"U": "u", "I": "i", "F": "f"}[datatype[0]] + str(int("".join(filter(str.isdigit, datatype))) // 8)
    tensors = TENSORS | {"gene_counts": (datatype, COUNTS.astype(dtype))}
    right = arrays(await stub.ModelInfer(of_raw()))
    for make in (of_raw,) if datatype == "FP16" else (of_raw, typed):
        found = arrays(await stub.ModelInfer(make(tensors)))
        assert all(np.array_equal(found[name], right[name]) for name in right)


async def test_what_is_asked_for_comes_in_its_order(stub: Any) -> None:
    names = ["library_latent", "latent_l", "qz_mean"]
    for make in (typed, of_raw):
        request = make(seed=3)
        for name in names:
            request.outputs.add(name=name)
        answer = await stub.ModelInfer(request)
        assert list(arrays(answer)) == names
        assert arrays(answer)["latent_l"].shape == (1, 2)
        assert answer.parameters["seed"].int64_param == 3


async def test_warnings_are_told(stub: Any) -> None:
    tensors = {name: tensor for name, tensor in TENSORS.items() if name != "protein_counts"}
    answer = await stub.ModelInfer(typed(tensors))
    assert "missing_proteins" in answer.parameters["warnings"].string_param


def changed(change: Callable[[pb.ModelInferRequest], Any], **parameters: Any) -> Callable[[], pb.ModelInferRequest]:
    def make() -> pb.ModelInferRequest:
        request = typed(**parameters)
        change(request)
        return request

    return make


def of_genes(**fields: Any) -> Callable[[], pb.ModelInferRequest]:
    def change(request: pb.ModelInferRequest) -> None:
        tensor = request.inputs[0]
        for name in fields:
            tensor.ClearField(name)
        tensor.MergeFrom(pb.ModelInferRequest.InferInputTensor(**fields))

    return changed(change)


def contents(**fields: Any) -> Callable[[], pb.ModelInferRequest]:
    return of_genes(contents=pb.InferTensorContents(**fields))


def raw_changed(change: Callable[[pb.ModelInferRequest], Any]) -> Callable[[], pb.ModelInferRequest]:
    def make() -> pb.ModelInferRequest:
        request = of_raw()
        change(request)
        return request

    return make


def raw_item(index: int, data: bytes) -> Callable[[], pb.ModelInferRequest]:
    return raw_changed(lambda request: request.raw_input_contents.__setitem__(index, data))


def given(**parameters: Any) -> Callable[[], pb.ModelInferRequest]:
    return lambda: typed(**parameters)


BAD: dict[str, tuple[Callable[[], pb.ModelInferRequest], str]] = {
    "no input at all": (lambda: pb.ModelInferRequest(model_name="m"), "gene_counts is missing"),
    "given twice": (changed(lambda request: request.inputs.append(request.inputs[0])), "gene_counts is given twice"),
    "unknown input": (of_genes(name="counts"), "there is no input counts"),
    "no name": (of_genes(name=""), "there is no input"),
    "no datatype": (of_genes(datatype=""), "gene_counts: the datatype must be one of"),
    "unknown datatype": (of_genes(datatype="BF16"), "gene_counts: the datatype must be one of"),
    "no shape": (of_genes(shape=[]), "gene_counts: the shape must have 2 axes, not 0"),
    "wrong rank": (of_genes(shape=[10]), "gene_counts: the shape must have 2 axes, not 1"),
    "negative shape": (of_genes(shape=[-2, -5]), "each axis of the shape must be from 0"),
    "axis of 2^31": (of_genes(shape=[2**31, 0]), "each axis of the shape must be from 0"),
    "axis of 2^62": (of_genes(shape=[2**62, 2**62]), "each axis of the shape must be from 0"),
    "overflowing shape": (of_genes(shape=[2**31 - 1, 2**31 - 1]), "values, but there are 10"),
    "parameter of an input": (
        changed(lambda request: request.inputs[0].parameters["shared_memory_region"].SetInParent()),
        "inputs[0] has no parameter shared_memory_region",
    ),
    "parameter of an output": (
        changed(lambda request: request.outputs.add(name="z").parameters["classification"].SetInParent()),
        "outputs[0] has no parameter classification",
    ),
    "unknown output": (changed(lambda request: request.outputs.add(name="qz")), "there is no output qz"),
    "output twice": (
        changed(lambda request: [request.outputs.add(name="z") for _ in range(2)]),
        "z is asked for twice",
    ),
    "no contents": (contents(), "the shape makes 10 values, but there are 0"),
    "short contents": (contents(uint_contents=[1] * 9), "the shape makes 10 values, but there are 9"),
    "long contents": (contents(uint_contents=[1] * 11), "the shape makes 10 values, but there are 11"),
    "contents of another type": (contents(fp32_contents=[1] * 10), "the contents of UINT16 are uint_contents alone"),
    "contents of two types": (
        contents(uint_contents=[1] * 10, fp32_contents=[1] * 10),
        "the contents of UINT16 are uint_contents alone",
    ),
    "over the type": (contents(uint_contents=[65536] * 10), "gene_counts holds a number that is no UINT16"),
    "typed FP16": (of_genes(datatype="FP16"), "FP16 has no typed contents"),
    "both forms": (
        raw_changed(lambda request: request.inputs[0].contents.uint_contents.extend([1] * 10)),
        "gene_counts has contents beside raw_input_contents",
    ),
    "a raw one too few": (raw_changed(lambda request: request.raw_input_contents.pop()), "5 raw_input_contents for 6"),
    "a raw one too many": (
        raw_changed(lambda request: request.raw_input_contents.append(b"")),
        "7 raw_input_contents for 6",
    ),
    "a raw byte too few": (raw_item(0, bytes(19)), "shape and datatype make 20 bytes, but there are 19"),
    "a raw byte too many": (raw_item(0, bytes(21)), "shape and datatype make 20 bytes, but there are 21"),
    "raw text cut short": (raw_item(2, b"\x01\0\0\0a\x01\0\0\0"), "batch: an element is longer than"),
    "raw text of too few": (raw_item(2, b"\x01\0\0\0a"), "batch: the shape makes 2 values, but there are 1"),
    "raw text that is none": (raw_item(2, b"\x01\0\0\0a\x01\0\0\0\xff"), "batch: an element is not valid UTF-8"),
    "dense and sparse": (lambda: typed(TENSORS | CSR), "gene_counts is given both dense and sparse"),
    "no indices": (
        lambda: typed({name: tensor for name, tensor in SPARSE.items() if name != "gene_counts.indices"}),
        "gene_counts.indices is missing",
    ),
    "unknown label": (
        lambda: typed(TENSORS | {"covariate.lane": ("BYTES", ["1.0"])}),
        "covariate.lane '1.0' is unknown to the model; allowed: 1, 2, 3",
    ),
    "unknown parameter": (given(binary_data_output=True), "there is no parameter binary_data_output"),
    "empty parameter": (
        changed(lambda request: request.parameters["seed"].SetInParent()),
        "parameters.seed has no value",
    ),
    "n_samples as text": (given(n_samples="3"), "the parameter n_samples must be a whole number"),
    "n_samples as a fraction": (given(n_samples=3.0), "the parameter n_samples must be a whole number"),
    "n_samples as true": (given(n_samples=True), "the parameter n_samples must be a whole number"),
    "negative n_samples": (given(n_samples=-1), "n_samples is negative"),
    "negative seed": (given(seed=-1), "seed is not in 0 to 2^64 - 1"),
    "negative first_cell": (given(first_cell=-1), "first_cell is not in"),
    "coverage that is no number": (given(min_gene_coverage=float("nan")), "min_gene_coverage is not in 0 to 1"),
    "negative timeout": (given(timeout=-1), "timeout is not in 0"),
    "negative priority": (given(priority=-1), "priority is not in 0"),
}


@pytest.mark.parametrize("case", BAD)
async def test_bad_requests(core: Core, stub: Any, case: str) -> None:
    make, fragment = BAD[case]
    error = await refusal(stub.ModelInfer(make()))
    assert (error.code(), fragment in error.details()) == (INVALID, True), error.details()
    assert core.encoder.batch_sizes == []
    await assert_well(stub)


async def test_limits(stub: Any) -> None:
    for request, fragment in (
        (typed(TENSORS | {"gene_counts": ("UINT8", np.zeros((51, 5), np.uint8))}), "max_request_cells"),
        (typed(n_samples=1001), "max_samples"),
        (pb.ModelInferRequest(model_name="m", inputs=[typed().inputs[0]] * 1001), "1001 inputs"),
        (pb.ModelInferRequest(inputs=[{"name": "genes", "datatype": "BYTES", "shape": [200_001]}]), "200001 elements"),
    ):
        error = await refusal(stub.ModelInfer(request))
        assert (error.code(), fragment in error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
    await assert_well(stub)


async def test_deadlines(stub: Any) -> None:
    for timeout in (0, 60_000_000):
        assert arrays(await stub.ModelInfer(typed(timeout=timeout)))
    error = await refusal(stub.ModelInfer(typed(timeout=1)))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await assert_well(stub)


async def test_a_caller_that_leaves_withdraws_its_cells(core: Core, stub: Any) -> None:
    core.encoder.gate = Gate()
    first, second = stub.ModelInfer(typed()), stub.ModelInfer(typed())
    await asyncio.to_thread(core.encoder.gate.wait_entered)
    second.cancel()
    core.encoder.gate.open()
    await first
    await assert_well(stub)


async def test_the_repository(stub: Any) -> None:
    for ready in (False, True):
        (entry,) = (await stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready))).models
        assert (entry.name, entry.version, entry.state, entry.reason) == ("m", "1", "READY", "")
    parameter = {"config": pb.ModelRepositoryParameter(string_param="{}")}
    for call, kind in (
        (stub.RepositoryModelLoad, pb.RepositoryModelLoadRequest),
        (stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest),
    ):
        error = await refusal(call(kind(model_name="m")))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        error = await refusal(call(kind(model_name="m", parameters=parameter)))
        assert (error.code(), "has no parameter config" in error.details()) == (INVALID, True)
        error = await refusal(call(kind(model_name="m", repository_name="x")))
        assert (error.code(), "one repository, without a name" in error.details()) == (INVALID, True)
    error = await refusal(stub.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="x")))
    assert error.code() is INVALID
    dependents = {"unload_dependents": pb.ModelRepositoryParameter(bool_param=True)}
    error = await refusal(
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="m", parameters=dependents))
    )
    assert error.code() is grpc.StatusCode.PERMISSION_DENIED
    await assert_well(stub)
