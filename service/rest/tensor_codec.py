"""The bodies of `/v2/…/infer`: JSON, and behind it the bytes of the tensors that are sent or wanted in binary.

The numbers of JSON's `data` go from text straight into arrays, as those of `/v1` do.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import simdjson

from service.core.alignment import shown_key
from service.core.errors import ServiceError, malformed
from service.core.inference_options import Parameter
from service.core.messages import Limits
from service.core.named_tensors import (
    BYTES,
    Declared,
    NamedTensor,
    declare,
    from_numbers,
    from_raw,
    from_texts,
    narrowed,
    to_raw,
)
from service.core.open_inference import MOST_INPUTS, InferReply, InferRequest, check_number_of_inputs, infer_request
from service.rest.json_codec import dumps, json_array, members
from service.rest.number_text import PIECE_BYTES, ListText, NumberReader, cut_every_list
from service.rest.parsed_numbers import parsed

_BODY = ("id", "model_name", "model_version", "parameters", "inputs", "outputs")
_INPUT = ("name", "shape", "datatype", "parameters", "data")
_OUTPUT = ("name", "parameters")
_MOST_AXES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class BinaryOutputs:
    """Which outputs are wanted in binary.

    Attributes:
        all: those of which nothing is said.
        named: what is said of some.
    """

    all: bool
    named: dict[str, bool]

    def __contains__(self, name: str) -> bool:
        """Whether an output is."""
        return self.named.get(name, self.all)


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A decoded body.

    Attributes:
        request: what is asked.
        binary: how the answer is wanted.
        model: that the body names; None: it names none.
        version: of the model, likewise.
    """

    request: InferRequest
    binary: BinaryOutputs
    model: str | None
    version: str | None


def decode_request(body: bytes | bytearray, header_length: int | None, limits: Limits) -> Asked:
    """What a body asks; arrays may be views on it.

    Args:
        body: as it came, decompressed.
        header_length: bytes of the JSON before the binary data; None: all of it.
        limits: on lists.

    Raises:
        ServiceError: `malformed` for what is not JSON, not a known member, of a wrong type, or of another size than it
            says; besides what `infer_request` raises.
    """
    if header_length is not None and header_length > len(body):
        malformed(f"Inference-Header-Content-Length is {header_length}, but the body has {len(body)} bytes")
    text = body if header_length is None else bytes(memoryview(body)[:header_length])
    document, texts = _parsed(text)
    if not isinstance(document, simdjson.Object):
        malformed("the body must be a JSON object")
    fields = members(document, "", _BODY)
    binary = None if header_length is None else memoryview(body)[header_length:]
    reader = _TensorReader(texts, binary, limits)
    inputs = _list(fields.get("inputs"), "inputs")
    check_number_of_inputs(len(inputs))
    tensors = [reader.tensor(item, index) for index, item in enumerate(inputs)]
    reader.check_end()
    parameters = _parameters(fields.get("parameters"))
    everywhere = parameters.pop("binary_data_output", False)
    if not isinstance(everywhere, bool):
        malformed("the parameter binary_data_output must be true or false", field="parameters.binary_data_output")
    outputs = _outputs(fields.get("outputs"))
    request = infer_request(
        tensors, outputs=[name for name, _ in outputs], parameters=parameters, request_id=_text(fields, "id")
    )
    said = {name: binary for name, binary in outputs if binary is not None}
    return Asked(request, BinaryOutputs(everywhere, said), _text(fields, "model_name"), _text(fields, "model_version"))


def encode_reply(reply: InferReply, binary: BinaryOutputs) -> tuple[bytes, int | None]:
    """The body of an answer, and the bytes of its JSON where binary data follow; outputs are flat, row-major."""
    outputs, tail = [], []
    for name, values in reply.outputs.items():
        output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": values.shape}
        if name in binary:
            tail.append(to_raw(values))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = json_array(np.ascontiguousarray(values).reshape(-1))
        outputs.append(output)
    body: dict[str, Any] = {"model_name": reply.model, "model_version": reply.model_version}
    if reply.id is not None:
        body["id"] = reply.id
    if reply.parameters:
        body["parameters"] = reply.parameters
    head = dumps(body | {"outputs": outputs})
    return (b"".join([head, *tail]), len(head)) if tail else (head, None)


def _parsed(text: bytes | bytearray) -> tuple[Any, dict[int, ListText]]:
    skeleton, texts = cut_every_list(text, "data", MOST_INPUTS)
    try:
        return parsed(simdjson.Parser(), skeleton, "the body"), texts
    except ServiceError:
        if len(text) > PIECE_BYTES:
            raise
        # There may be text among the numbers: the whole is read again, to say where.
        return parsed(simdjson.Parser(), text, "the body"), {}


class _TensorReader:
    """Reads the tensors of one body in their order, binary ones off its tail."""

    def __init__(self, texts: dict[int, ListText], binary: memoryview | None, limits: Limits) -> None:
        self._texts = texts
        self._binary = binary
        self._at = 0
        self._limits = limits
        self._numbers = NumberReader(limits)

    def tensor(self, item: object, index: int) -> NamedTensor:
        """One member of `inputs`."""
        path = f"inputs[{index}]"
        fields = members(_object(item, path), path, _INPUT)
        name, datatype = (_required(fields, key, path) for key in ("name", "datatype"))
        declared = declare(name, datatype, _shape(fields.get("shape"), path), self._limits)
        size = _binary_size(fields.get("parameters"), path)
        if (size is None) == (fields.get("data") is None):
            field = shown_key(name)
            malformed(f"{field} must have either data or the parameter binary_data_size", field=field)
        return self._of_json(declared, fields["data"]) if size is None else from_raw(declared, self._raw(name, size))

    def check_end(self) -> None:
        """Refuse binary data that belong to no tensor."""
        left = 0 if self._binary is None else len(self._binary) - self._at
        if left:
            malformed(f"{left} bytes follow the binary data of the last input")

    def _raw(self, name: str, size: int) -> memoryview:
        field = shown_key(name)
        if self._binary is None:
            malformed(f"{field} has a binary_data_size, but Inference-Header-Content-Length is missing", field=field)
        left = len(self._binary) - self._at
        if size > left:
            malformed(f"{field}: binary_data_size is {size}, but {left} bytes are left", field=field)
        self._at += size
        return self._binary[self._at - size : self._at]

    def _of_json(self, declared: Declared, data: object) -> NamedTensor:
        field = shown_key(declared.name)
        if isinstance(data, simdjson.Array):
            mini: Any = data.mini  # its stub says str
            text: ListText | None = ListText(mini, 0, len(mini))
        else:
            text = self._texts.get(data) if type(data) is int else None
        if text is None:
            malformed(f"{field}: data must be a list", field=field)
        if declared.datatype == BYTES:
            return from_texts(declared, _texts(text, declared, field))
        narrow = functools.partial(narrowed, declared)
        if len(declared.shape) == 2 and _is_nested(text):
            rows = self._numbers.dense(text, field, narrow)
            if rows.shape != declared.shape:
                malformed(f"{field}: data has {rows.shape[0]} rows of {rows.shape[1]}, not the shape", field=field)
            return from_numbers(declared, rows.reshape(-1))
        whole = declared.dtype.kind in "iu"
        return from_numbers(declared, self._numbers.vector(text, field, "i" if whole else "d", narrow))


def _is_nested(text: ListText) -> bool:
    """Whether the list begins with a list."""
    return bytes(text.body[text.start + 1 : min(text.start + 64, text.stop)]).lstrip(b" \t\r\n").startswith(b"[")


def _texts(text: ListText, declared: Declared, field: str) -> list[str]:
    data = parsed(simdjson.Parser(), bytes(text.body[text.start : text.stop]), field)
    if len(data) != declared.size:
        malformed(f"{field}: the shape makes {declared.size} values, but there are {len(data)}", field=field)
    texts: list[Any] = list(data)
    for index, item in enumerate(texts):
        if type(item) is not str:
            malformed(f"{field}: data must hold text alone; item {index} is none", field=field, index=index)
    return texts


def _outputs(value: object) -> list[tuple[str, bool | None]]:
    """Name of each requested output, and whether it is wanted in binary; None: nothing is said."""
    outputs: list[tuple[str, bool | None]] = []
    items = [] if value is None else _list(value, "outputs")
    check_number_of_inputs(len(items))
    for index, item in enumerate(items):
        path = f"outputs[{index}]"
        fields = members(_object(item, path), path, _OUTPUT)
        binary = _own_parameter(fields.get("parameters"), path, "binary_data")
        if not isinstance(binary, bool | None):
            malformed(f"{path}.parameters.binary_data must be true or false", field=f"{path}.parameters.binary_data")
        outputs.append((_required(fields, "name", path), binary))
    return outputs


def _parameters(value: object) -> dict[str, Parameter]:
    if value is None:
        return {}
    parameters = members(_object(value, "parameters"), "parameters", None)
    for name, given in parameters.items():
        if type(given) not in (bool, int, float, str):
            malformed("a parameter must be text, a number, true or false", field=f"parameters.{shown_key(name)}")
    return parameters


def _own_parameter(value: object, path: str, name: str) -> Any:
    """The one parameter that a tensor may have."""
    if value is None:
        return None
    return members(_object(value, f"{path}.parameters"), f"{path}.parameters", (name,)).get(name)


def _binary_size(value: object, path: str) -> int | None:
    size = _own_parameter(value, path, "binary_data_size")
    if size is not None and (type(size) is not int or size < 0):
        malformed(f"{path}: binary_data_size must be a number of bytes", field=path)
    return size


def _shape(value: object, path: str) -> list[int]:
    if not isinstance(value, simdjson.Array) or len(value) > _MOST_AXES:
        malformed(f"{path}.shape must be a list of at most {_MOST_AXES} whole numbers", field=f"{path}.shape")
    shape: list[Any] = list(value)
    if any(type(length) is not int for length in shape):
        malformed(f"{path}.shape must hold whole numbers alone", field=f"{path}.shape")
    return shape


def _list(value: object, field: str) -> simdjson.Array:
    if not isinstance(value, simdjson.Array):
        malformed(f"{field} must be a list of objects", field=field)
    return value


def _object(value: object, path: str) -> simdjson.Object:
    if not isinstance(value, simdjson.Object):
        malformed(f"{path} must be an object", field=path)
    return value


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and type(value) is not str:
        malformed(f"{name} must be text", field=name)
    return value


def _required(fields: dict[str, Any], name: str, path: str) -> str:
    value = _text(fields, name)
    if value is None:
        malformed(f"{path} has no {name}", field=f"{path}.{name}")
    return value
