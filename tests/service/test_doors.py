"""A port that is closed to new connections while the old ones live on."""

from __future__ import annotations

import socket

import pytest

from service import doors


def test_refused_are_new_connections_to_that_port_alone() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as closing,
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(closing.getsockname()) as before,
    ):
        accepted, _ = closing.accept()
        with accepted:
            doors._refuse_connections(closing.getsockname()[1])

            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(closing.getsockname())
            before.sendall(b"still here")
            assert accepted.recv(100) == b"still here"
            socket.create_connection(other.getsockname()).close()
