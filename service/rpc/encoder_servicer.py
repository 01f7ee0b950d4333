"""`totalvi.v1.EncoderService`: each method decodes, asks the engine and encodes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from typing import Final, TypeAlias, TypeVar

import grpc

from service.core.engine import AdmittedSlice, Engine
from service.core.errors import ServiceError, in_message, invalid
from service.core.messages import NO_CELLS, EncodeReply, EncodeRequest, Limits
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.recorder import Call
from service.protobuf.message_codec import (
    decode_request,
    decode_slice,
    encode_card,
    encode_reply,
    encode_report,
    named_model,
    parse,
)
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.rpc.call import Write, stream_method, unary_method
from service.rpc.stream import answer_in_order
from service.version import installed_version

T = TypeVar("T")

Asked: TypeAlias = tuple[EncodeRequest, str | None, str | None]
"""What is asked, and the model and the version that are to answer."""

SERVICE_NAME: Final[str] = pb.DESCRIPTOR.services_by_name["EncoderService"].full_name


class EncoderServicer:
    """The methods of the service over one engine, from serialised messages to serialised messages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def method_handlers(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """What `grpc.method_handlers_generic_handler` takes, by the name of the method."""
        return {
            "Encode": unary_method(self._engine, "encode", self.encode),
            "EncodeStream": stream_method(self._engine, "encode_stream", self.encode_stream),
            "Validate": unary_method(self._engine, "validate", self.validate),
            "GetModel": unary_method(self._engine, "get_model", self.get_model),
            "ListModels": unary_method(self._engine, "list_models", self.list_models),
        }

    async def encode(self, body: bytes, call: Call) -> bytes:
        """`EncodeRequest` → `EncodeResponse`."""
        self._engine.refuse_if_full(call)
        request, model, version = await self._decode(body, call, _decode_whole)
        return await _encoded(await self._engine.encode(request, call, model=model, version=version), call)

    async def encode_stream(self, bodies: AsyncIterator[bytes], write: Write, call: Call) -> None:
        """`stream EncodeRequest` → `stream EncodeResponse`, one for each message with cells.

        What is wrong with a message ends the stream, and tells its number.
        """

        async def answer(numbered: tuple[int, AdmittedSlice]) -> bytes:
            number, admitted = numbered
            with _told_of_message(number):
                return await _encoded(await self._engine.encode_slice(admitted, call), call)

        await answer_in_order(self._slices(bodies, call), answer, write)

    async def validate(self, body: bytes, call: Call) -> bytes:
        """`EncodeRequest` → `ValidateResponse`."""
        request, model, version = await self._decode(body, call, _decode_whole)
        report = await self._engine.validate(request, call, model=model, version=version)
        return encode_report(report).SerializeToString()

    async def get_model(self, body: bytes, call: Call) -> bytes:
        """`GetModelRequest` → `ModelCard`."""
        message = parse(pb.GetModelRequest, body)
        return encode_card(self._engine.card(message.model, message.model_version or None)).SerializeToString()

    async def list_models(self, body: bytes, call: Call) -> bytes:
        """`ListModelsRequest` → `ListModelsResponse`."""
        parse(pb.ListModelsRequest, body)
        cards = map(encode_card, self._engine.cards())
        return pb.ListModelsResponse(models=cards, server_version=installed_version()).SerializeToString()

    async def _slices(
        self, bodies: AsyncIterator[bytes], call: Call
    ) -> AsyncGenerator[tuple[int, AdmittedSlice], None]:
        """Read a stream: its slices, each with the number of its message, once it is in the queue."""
        stream, numbers = None, itertools.count()
        async for body in bodies:
            call.n_bytes += len(body)
            with _told_of_message(number := next(numbers)):
                if stream is None:
                    call.hold(len(body))
                    cells, model, version = await self._decode(body, call, _decode_first)
                    stream = await self._engine.open_stream(cells, call, model=model, version=version)
                    if cells.gene_counts is NO_CELLS:
                        continue
                else:
                    await self._engine.hold_message(len(body), call)
                    cells = await self._decode(body, call, _decode_later)
                admitted = await self._engine.admit_slice(stream.next(cells, n_bytes=len(body)), call)
            yield number, admitted
        if stream is None:
            invalid("the stream ended before its first message, which carries the names and the options")

    async def _decode(self, body: bytes, call: Call, decode: Callable[[bytes, Limits], T]) -> T:
        with call.phase("decode"):
            return await off_loop_if(len(body) > HEAVY_BYTES, decode, body, self._engine.limits)


def _decode_whole(body: bytes, limits: Limits) -> Asked:
    message = parse(pb.EncodeRequest, body)
    return decode_request(message, limits), *named_model(message)


def _decode_first(body: bytes, limits: Limits) -> Asked:
    message = parse(pb.EncodeRequest, body)
    return decode_request(message, limits, cells_follow=True), *named_model(message)


def _decode_later(body: bytes, limits: Limits) -> EncodeRequest:
    return decode_slice(parse(pb.EncodeRequest, body), limits)


async def _encoded(reply: EncodeReply, call: Call) -> bytes:
    with call.phase("encode"):
        return await off_loop_if(reply.nbytes > HEAVY_BYTES, _encode, reply)


def _encode(reply: EncodeReply) -> bytes:
    return encode_reply(reply).SerializeToString()


@contextlib.contextmanager
def _told_of_message(number: int) -> Iterator[None]:
    """What is refused inside tells the message that it is for."""
    try:
        yield
    except ServiceError as error:
        raise in_message(error, number) from error
