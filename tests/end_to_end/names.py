"""A name server for tests: one name, whose addresses may change, as a headless Service's do."""

from __future__ import annotations

import socket
import struct
import threading
from typing import Self

from tests.end_to_end.server import PATIENCE_S

NAME = "replicas.test"
_A, _IN = 1, 1


class NameServer:
    """Answers over UDP on the loopback, as a context manager.

    Attributes:
        addresses: what NAME resolves to, from the next question on.
        n_asked: questions for addresses so far.
    """

    def __init__(self, addresses: list[str]) -> None:
        self.addresses, self.n_asked = addresses, 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._answer, name="names", daemon=True)

    def __enter__(self) -> Self:
        """Begin to answer."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer no more."""
        port = self._socket.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", port))
        self._thread.join(PATIENCE_S)
        self._socket.close()

    def target(self, port: int) -> str:
        """What a gRPC channel is made of, to ask this server."""
        return f"dns://127.0.0.1:{self._socket.getsockname()[1]}/{NAME}:{port}"

    def _answer(self) -> None:
        while True:
            question, whence = self._socket.recvfrom(512)
            if not question:
                return
            end = question.index(b"\0", 12) + 5
            asked, kind = question[12:end], struct.unpack("!H", question[end - 4 : end - 2])[0]
            name = ".".join(_labels(asked))
            found = self.addresses if name.lower() == NAME and kind == _A else []
            self.n_asked += bool(found)
            # A response that is authoritative; NXDOMAIN for any other name.
            flags = 0x8400 | (0 if name.lower() == NAME else 3)
            head = question[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
            records = b"".join(
                struct.pack("!HHHIH", 0xC00C, _A, _IN, 0, 4) + socket.inet_aton(address) for address in found
            )
            self._socket.sendto(head + asked + records, whence)


def _labels(asked: bytes) -> list[str]:
    labels, at = [], 0
    while asked[at]:
        labels.append(asked[at + 1 : at + 1 + asked[at]].decode("ascii", "replace"))
        at += 1 + asked[at]
    return labels
