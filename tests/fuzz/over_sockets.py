"""The same calls as `in_process`, to a server in a process of its own."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from typing import Self

import grpc

from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.fuzz.in_process import Answer


class OverSockets:
    """Calls a running server, as a context manager."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server

    def __enter__(self) -> Self:
        """Connect."""
        self._http = http.client.HTTPConnection("127.0.0.1", self._server.http_port, timeout=PATIENCE_S)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self._server.grpc_port}", [("grpc.enable_http_proxy", 0)])
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up."""
        self._http.close()
        self._channel.close()

    def http(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """One request; all go over one connection, which a refusal must not spoil."""
        self._http.request(method, target, body, dict(headers))
        response = self._http.getresponse()
        return Answer(response.status, response.read(), dict(response.getheaders()))

    def grpc(self, path: str, *bodies: bytes) -> Answer:
        """Call a method with a message, or a stream with several."""
        try:
            if path.endswith("Stream"):
                return Answer(0, b"".join(self._channel.stream_stream(path)(iter(bodies), timeout=PATIENCE_S)))
            return Answer(0, self._channel.unary_unary(path)(bodies[0], timeout=PATIENCE_S))
        except grpc.RpcError as error:
            return Answer(error.code().value[0], error.details().encode())
