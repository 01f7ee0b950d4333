"""A wire between a client and a server that breaks when it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

from tests.end_to_end.server import PATIENCE_S

_CALL_BYTES = 500
"""More than what is exchanged beside calls, less than a call with cells."""


class Flaky:
    """Passes bytes on both ways, as a context manager.

    Args:
        port: of the server, on this machine.

    Attributes:
        port: for the client.
        n_connections: that were made so far.
        breaks: connections that are still to be broken, each where its server begins to answer a call.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.n_connections = self.breaks = self._n_sent = 0
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def arm(self, breaks: int) -> None:
        """Break so many connections from now on."""
        with self._lock:
            self.breaks, self._n_sent = breaks, 0

    def __enter__(self) -> Self:
        """Take connections."""
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close them all."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(PATIENCE_S)
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_S)
        for one in [self._listener, *self._sockets]:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._sockets.append(server)
                self.n_connections += 1
                for source, sink in ((client, server), (server, client)):
                    thread = threading.Thread(target=self._pass, args=(source, sink, source is client), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_client: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if self._breaks(len(chunk) if is_client else 0):
                    break
                sink.sendall(chunk)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _breaks(self, n_sent: int) -> bool:
        """Whether an answer is to be lost, of a client that has sent so many bytes more."""
        with self._lock:
            self._n_sent += n_sent
            breaks = self.breaks > 0 and n_sent == 0 and self._n_sent >= _CALL_BYTES
            if breaks:
                self.breaks, self._n_sent = self.breaks - 1, 0
        return breaks
