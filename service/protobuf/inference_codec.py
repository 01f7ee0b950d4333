"""The messages of `open_inference.proto`, to and from the named tensors of the core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from service.core.alignment import shown_key
from service.core.errors import invalid, malformed
from service.core.inference_models import ModelMetadata, TensorMetadata
from service.core.inference_options import Parameter
from service.core.messages import Limits
from service.core.named_tensors import BYTES, Declared, NamedTensor, declare, from_numbers, from_raw, from_texts, to_raw
from service.core.open_inference import InferReply, InferRequest, check_number_of_inputs, infer_request
from service.protobuf.stubs import open_inference_pb2 as pb

CONTENTS: Final[Mapping[str, str]] = {
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    BYTES: "bytes_contents",
}
"""The field of `InferTensorContents` for each datatype; FP16 has none."""

_WIRE_DTYPES: Final[Mapping[str, type[np.generic]]] = {
    "uint_contents": np.uint32,
    "uint64_contents": np.uint64,
    "int_contents": np.int32,
    "int64_contents": np.int64,
    "fp32_contents": np.float32,
    "fp64_contents": np.float64,
}

# Made or read in one go: some milliseconds in which nobody else has the interpreter.
_PIECE_VALUES = 1 << 16


def decode_request(message: pb.ModelInferRequest, limits: Limits) -> InferRequest:
    """What a message asks; raw tensors are views on its bytes.

    Raises:
        ServiceError: `malformed` for contents that are not what their tensor says, or come in both forms; besides what
            `infer_request` raises.
    """
    check_number_of_inputs(len(message.inputs))
    check_number_of_inputs(len(message.outputs))
    outputs = []
    for index, output in enumerate(message.outputs):
        _check_no_parameters(output.parameters, f"outputs[{index}]")
        outputs.append(output.name)
    return infer_request(
        list(_tensors(message, limits)),
        outputs=outputs,
        parameters=_decode_parameters(message.parameters),
        request_id=message.id or None,
    )


def encode_reply(reply: InferReply, *, raw: bool) -> pb.ModelInferResponse:
    """The message of an answer.

    Args:
        reply: of the engine.
        raw: whether its outputs go as bytes, as the request's inputs came.
    """
    response = pb.ModelInferResponse(
        model_name=reply.model, model_version=reply.model_version, id=reply.id or "", outputs=[]
    )
    for name, value in reply.parameters.items():
        _encode_parameter(value, response.parameters[name])
    for name, values in reply.outputs.items():
        output = response.outputs.add(name=name, datatype="FP32", shape=values.shape)
        if raw:
            response.raw_output_contents.append(to_raw(values))
        else:
            flat = values.reshape(-1)
            for start in range(0, flat.size, _PIECE_VALUES):
                output.contents.fp32_contents.extend(flat[start : start + _PIECE_VALUES].tolist())
    return response


def encode_metadata(metadata: ModelMetadata) -> pb.ModelMetadataResponse:
    """The message of a model's metadata."""
    return pb.ModelMetadataResponse(
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=map(_encode_tensor_metadata, metadata.inputs),
        outputs=map(_encode_tensor_metadata, metadata.outputs),
    )


def _encode_tensor_metadata(tensor: TensorMetadata) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _tensors(message: pb.ModelInferRequest, limits: Limits) -> Iterator[NamedTensor]:
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        malformed(
            f"there are {len(raw)} raw_input_contents for {len(message.inputs)} inputs", field="raw_input_contents"
        )
    for index, tensor in enumerate(message.inputs):
        _check_no_parameters(tensor.parameters, f"inputs[{index}]")
        declared = declare(tensor.name, tensor.datatype, tensor.shape, limits)
        given = [field.name for field, _ in tensor.contents.ListFields()]
        if raw and given:
            field = shown_key(tensor.name)
            malformed(f"{field} has contents beside raw_input_contents; send one of them", field=field)
        yield from_raw(declared, raw[index]) if raw else _typed(declared, tensor.contents, given)


def _typed(declared: Declared, contents: pb.InferTensorContents, given: list[str]) -> NamedTensor:
    field, wanted = shown_key(declared.name), CONTENTS.get(declared.datatype)
    if wanted is None:
        malformed(f"{field}: {declared.datatype} has no typed contents; send raw_input_contents", field=field)
    if given not in ([], [wanted]):
        malformed(f"{field}: the contents of {declared.datatype} are {wanted} alone", field=field)
    values = getattr(contents, wanted)
    if declared.datatype == BYTES:
        return from_texts(declared, values)
    array = np.empty(len(values), _WIRE_DTYPES[wanted])
    for start in range(0, len(values), _PIECE_VALUES):
        array[start : start + _PIECE_VALUES] = values[start : start + _PIECE_VALUES]
    return from_numbers(declared, array)


def _decode_parameters(parameters: Mapping[str, pb.InferParameter]) -> dict[str, Parameter]:
    decoded = {}
    for name, parameter in parameters.items():
        form = parameter.WhichOneof("parameter_choice")
        if form is None:
            field = f"parameters.{shown_key(name)}"
            malformed(f"{field} has no value", field=field)
        decoded[name] = getattr(parameter, form)
    return decoded


def _encode_parameter(value: Parameter, parameter: pb.InferParameter) -> None:
    match value:
        case bool():  # before int, which it also is
            parameter.bool_param = value
        case int() if value < 1 << 63:
            parameter.int64_param = value
        case int():
            parameter.uint64_param = value
        case float():
            parameter.double_param = value
        case str():
            parameter.string_param = value


def _check_no_parameters(parameters: Mapping[str, Any], path: str) -> None:
    for name in parameters:
        invalid(f"{path} has no parameter {shown_key(name)}", field=f"{path}.parameters")
