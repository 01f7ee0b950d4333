"""How cells are spelt in each media type, and the answers to them: one codec for each, none knows of HTTP."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from service.core.messages import EncodeReply, EncodeRequest, Limits, ValidationReport
from service.protobuf import message_codec
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.rest import json_codec
from service.rest.headers import JSON, PROTOBUF


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """A decoded body.

    Attributes:
        cells: what is asked.
        model: that the body names; None: it names none.
        version: of the model, likewise.
    """

    cells: EncodeRequest
    model: str | None = None
    version: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Codec:
    """One media type.

    Attributes:
        decode_request: a body to what it asks; raises `ServiceError` as the function below it does.
        encode_reply: an answer of `encode` to a body.
        encode_report: an answer of `validate` to a body.
    """

    decode_request: Callable[[bytes | bytearray, Limits], Asked]
    encode_reply: Callable[[EncodeReply], bytes]
    encode_report: Callable[[ValidationReport], bytes]


def _asked_in_json(body: bytes | bytearray, limits: Limits) -> Asked:
    return Asked(json_codec.decode_request(body, limits))


def _asked_in_protobuf(body: bytes | bytearray, limits: Limits) -> Asked:
    message = message_codec.parse(pb.EncodeRequest, body)
    cells = message_codec.decode_request(message, limits)
    return Asked(cells, *message_codec.named_model(message))


CODECS: Mapping[str, Codec] = {
    JSON: Codec(_asked_in_json, json_codec.encode_reply, json_codec.encode_report),
    PROTOBUF: Codec(
        _asked_in_protobuf,
        lambda reply: message_codec.encode_reply(reply).SerializeToString(),
        lambda report: message_codec.encode_report(report).SerializeToString(),
    ),
}
"""Media type → its codec."""
