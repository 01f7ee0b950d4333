"""`inference.GRPCInferenceService`: each method decodes, asks the engine and encodes."""

from __future__ import annotations

import dataclasses
from typing import Final

import grpc

from service.core.engine import Engine
from service.core.errors import invalid
from service.core.inference_models import (
    EXTENSIONS,
    check_load_parameters,
    check_unload_parameters,
    model_metadata,
    model_ready,
    repository_index,
)
from service.core.messages import Limits
from service.core.off_loop import HEAVY_BYTES, off_loop_if
from service.core.open_inference import InferReply, InferRequest, infer
from service.core.recorder import Call
from service.protobuf.inference_codec import decode_request, encode_metadata, encode_reply
from service.protobuf.message_codec import parse
from service.protobuf.stubs import open_inference_pb2 as pb
from service.rpc.call import unary_methods
from service.version import DISTRIBUTION, installed_version

SERVICE_NAME: Final[str] = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class OpenInferenceServicer:
    """The methods of the protocol over one engine, from serialised messages to serialised messages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def method_handlers(self) -> dict[str, grpc.RpcMethodHandler[bytes, bytes]]:
        """What `grpc.method_handlers_generic_handler` takes, by the name of the method."""
        methods = {
            "ServerLive": ("server_live", self.server_live),
            "ServerReady": ("server_ready", self.server_ready),
            "ModelReady": ("model_ready", self.model_ready),
            "ServerMetadata": ("server_metadata", self.server_metadata),
            "ModelMetadata": ("model_metadata", self.model_metadata),
            "ModelInfer": ("infer", self.model_infer),
            "RepositoryIndex": ("repository_index", self.repository_index),
            "RepositoryModelLoad": ("load_model", self.load_model),
            "RepositoryModelUnload": ("unload_model", self.unload_model),
        }
        return unary_methods(self._engine, SERVICE_NAME, methods)

    async def server_live(self, body: bytes, call: Call) -> bytes:
        """`ServerLiveRequest` → `ServerLiveResponse`."""
        parse(pb.ServerLiveRequest, body)
        return pb.ServerLiveResponse(live=self._engine.health.live).SerializeToString()

    async def server_ready(self, body: bytes, call: Call) -> bytes:
        """`ServerReadyRequest` → `ServerReadyResponse`."""
        parse(pb.ServerReadyRequest, body)
        return pb.ServerReadyResponse(ready=self._engine.health.ready).SerializeToString()

    async def model_ready(self, body: bytes, call: Call) -> bytes:
        """`ModelReadyRequest` → `ModelReadyResponse`."""
        message = parse(pb.ModelReadyRequest, body)
        ready = model_ready(self._engine, message.name, message.version or None)
        return pb.ModelReadyResponse(ready=ready).SerializeToString()

    async def server_metadata(self, body: bytes, call: Call) -> bytes:
        """`ServerMetadataRequest` → `ServerMetadataResponse`."""
        parse(pb.ServerMetadataRequest, body)
        answer = pb.ServerMetadataResponse(name=DISTRIBUTION, version=installed_version(), extensions=EXTENSIONS)
        return answer.SerializeToString()

    async def model_metadata(self, body: bytes, call: Call) -> bytes:
        """`ModelMetadataRequest` → `ModelMetadataResponse`."""
        message = parse(pb.ModelMetadataRequest, body)
        card = self._engine.card(message.name, message.version or None)
        return encode_metadata(model_metadata(card)).SerializeToString()

    async def model_infer(self, body: bytes, call: Call) -> bytes:
        """`ModelInferRequest` → `ModelInferResponse`, in the form of the request."""
        with call.phase("decode"):
            asked, model, version, raw = await off_loop_if(len(body) > HEAVY_BYTES, _decode, body, self._engine.limits)
        reply = await infer(self._engine, asked, call, model=model, version=version)
        with call.phase("encode"):
            return await off_loop_if(reply.nbytes > HEAVY_BYTES, _encode, reply, raw)

    async def repository_index(self, body: bytes, call: Call) -> bytes:
        """`RepositoryIndexRequest` → `RepositoryIndexResponse`."""
        message = parse(pb.RepositoryIndexRequest, body)
        _check_repository(message.repository_name)
        entries = repository_index(self._engine, ready=message.ready)
        models = [pb.RepositoryIndexResponse.ModelIndex(**dataclasses.asdict(entry)) for entry in entries]
        return pb.RepositoryIndexResponse(models=models).SerializeToString()

    async def load_model(self, body: bytes, call: Call) -> bytes:
        """`RepositoryModelLoadRequest` → `RepositoryModelLoadResponse`."""
        message = parse(pb.RepositoryModelLoadRequest, body)
        _check_repository(message.repository_name)
        check_load_parameters(message.parameters)
        await self._engine.load_model(message.model_name)
        return pb.RepositoryModelLoadResponse().SerializeToString()

    async def unload_model(self, body: bytes, call: Call) -> bytes:
        """`RepositoryModelUnloadRequest` → `RepositoryModelUnloadResponse`."""
        message = parse(pb.RepositoryModelUnloadRequest, body)
        _check_repository(message.repository_name)
        check_unload_parameters(message.parameters)
        await self._engine.unload_model(message.model_name)
        return pb.RepositoryModelUnloadResponse().SerializeToString()


def _check_repository(name: str) -> None:
    if name:
        invalid("there is one repository, without a name; leave repository_name out", field="repository_name")


def _decode(body: bytes, limits: Limits) -> tuple[InferRequest, str, str | None, bool]:
    """What is asked, of which model and version, and whether it came raw."""
    message = parse(pb.ModelInferRequest, body)
    asked = decode_request(message, limits)
    return asked, message.model_name, message.model_version or None, len(message.raw_input_contents) > 0


def _encode(reply: InferReply, raw: bool) -> bytes:
    return encode_reply(reply, raw=raw).SerializeToString()
