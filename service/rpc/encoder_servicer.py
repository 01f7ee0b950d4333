"""`totalvi.v1.EncoderService`: each method decodes, asks the engine and encodes."""

from __future__ import annotations

from typing import Final

import grpc

from service.core.engine import Engine
from service.core.messages import EncodeReply, EncodeRequest, Limits
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.recorder import Call
from service.protobuf.message_codec import decode_request, encode_card, encode_reply, encode_report, parse
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.rpc.call import unary_method

SERVICE_NAME: Final[str] = pb.DESCRIPTOR.services_by_name["EncoderService"].full_name


class EncoderServicer:
    """The methods of the service over one engine, from serialised messages to serialised messages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def method_handlers(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """What `grpc.method_handlers_generic_handler` takes, by the name of the method."""
        return {
            "Encode": unary_method(self._engine, "encode", self.encode),
            "Validate": unary_method(self._engine, "validate", self.validate),
            "GetModel": unary_method(self._engine, "get_model", self.get_model),
            "ListModels": unary_method(self._engine, "list_models", self.list_models),
        }

    async def encode(self, body: bytes, call: Call) -> bytes:
        """`EncodeRequest` → `EncodeResponse`."""
        request, model, version = await self._decode(body, call)
        reply = await self._engine.encode(request, call, model=model, version=version)
        with call.phase("encode"):
            return await off_loop_if(reply.nbytes > HEAVY_BYTES, _encode, reply)

    async def validate(self, body: bytes, call: Call) -> bytes:
        """`EncodeRequest` → `ValidateResponse`."""
        request, model, version = await self._decode(body, call)
        report = await self._engine.validate(request, call, model=model, version=version)
        return encode_report(report).SerializeToString()

    async def get_model(self, body: bytes, call: Call) -> bytes:
        """`GetModelRequest` → `ModelCard`."""
        message = parse(pb.GetModelRequest, body)
        return encode_card(self._engine.card(message.model, message.model_version or None)).SerializeToString()

    async def list_models(self, body: bytes, call: Call) -> bytes:
        """`ListModelsRequest` → `ListModelsResponse`."""
        parse(pb.ListModelsRequest, body)
        return pb.ListModelsResponse(models=map(encode_card, self._engine.cards())).SerializeToString()

    async def _decode(self, body: bytes, call: Call) -> tuple[EncodeRequest, str | None, str | None]:
        with call.phase("decode"):
            return await off_loop_if(call.n_bytes > HEAVY_BYTES, _decode, body, self._engine.limits)


def _decode(body: bytes, limits: Limits) -> tuple[EncodeRequest, str | None, str | None]:
    """The request that a message is, with the model and the version that it names."""
    message = parse(pb.EncodeRequest, body)
    return decode_request(message, limits), message.model or None, message.model_version or None


def _encode(reply: EncodeReply) -> bytes:
    return encode_reply(reply).SerializeToString()
