"""The gRPC server: services, limits and the manners of its connections."""

from __future__ import annotations

import logging

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from service.core.engine import Engine
from service.core.tokens import Tokens
from service.rpc import encoder_servicer, open_inference_servicer
from service.rpc.bearer import BearerTokens
from service.rpc.encoder_servicer import EncoderServicer
from service.rpc.health_servicer import HealthServicer
from service.rpc.open_inference_servicer import OpenInferenceServicer
from service.rpc.unread import Methods

# What a message may have around its tensors' bytes: tags, lengths, shapes.
_FRAMING_BYTES = 64 * 1024

_WITH_CELLS = {
    encoder_servicer.SERVICE_NAME: {"Encode": "encode", "EncodeStream": "encode_stream", "Validate": "validate"},
    open_inference_servicer.SERVICE_NAME: {"ModelInfer": "infer"},
}


def build_server(
    engine: Engine,
    *,
    max_message_bytes: int,
    max_connections: int = 4096,
    handshake_timeout_s: float = 10.0,
    connection_age_s: float = 0.0,
    tokens: Tokens | None = None,
) -> grpc.aio.Server:
    """The server of `engine`, bound to no port yet and not started; made on the event loop that is to serve it.

    The caller adds the port: `server.add_insecure_port("127.0.0.1:8001")` returns its number (0 asks for a free one)
    and raises `RuntimeError` where it cannot be had. `server.stop(grace)` takes no new calls, says GOAWAY to the
    connected and gives the calls under way `grace` seconds. A health watch is a call that ends only with its caller or
    the grace: a second `stop(None)`, once the engine is idle, ends the first one early.

    Args:
        engine: answers.
        max_message_bytes: longest request taken; a longer one is refused with `RESOURCE_EXHAUSTED`.
        max_connections: most connections at a time; further ones are closed.
        handshake_timeout_s: what a new connection has to finish the handshakes of TLS and HTTP/2.
        connection_age_s: after so long (a tenth more or less) a connection is told to take its next calls elsewhere,
            while those on it go on; 0: never.
        tokens: of which every call but those of health must bear one; None: none is asked for.
    """
    options: list[tuple[str, int]] = [
        ("grpc.max_receive_message_length", max_message_bytes + _FRAMING_BYTES),
        ("grpc.max_send_message_length", -1),
        # Identity only, else `UNIMPLEMENTED`: grpc inflates a message before it looks at the limit, 1 MB to 1 GB.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.server_handshake_timeout_ms", round(handshake_timeout_s * 1000)),
        # A port that another process holds is an error, not a share of its calls.
        ("grpc.so_reuseport", 0),
        # Peers that vanished are found within about a minute, and their calls cancelled.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients may ping every 10 s, as many are set to; grpc by itself hangs up on more than one in 5 minutes.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ]
    if connection_age_s:
        options.append(("grpc.max_connection_age_ms", max(1, round(connection_age_s * 1000))))
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_a_fault)
    server = grpc.aio.server(options=options, interceptors=() if tokens is None else (BearerTokens(engine, tokens),))
    services = {
        encoder_servicer.SERVICE_NAME: EncoderServicer(engine).method_handlers(),
        open_inference_servicer.SERVICE_NAME: OpenInferenceServicer(engine).method_handlers(),
    }
    server.add_generic_rpc_handlers(
        [Methods(engine, name, handlers, _WITH_CELLS[name]) for name, handlers in services.items()]
    )
    health_servicer = HealthServicer(engine.health, services=("", *services))
    health_pb2_grpc.add_HealthServicer_to_server(health_servicer, server)
    reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    return server


def _is_a_fault(record: logging.LogRecord) -> bool:
    """False for the error and traceback that grpc logs where a call ended before its status could be written.

    The caller's own cancel or deadline crossed the answer on the wire: nothing is wrong, and the call has been counted.
    """
    return not (record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError))
