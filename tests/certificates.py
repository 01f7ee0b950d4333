"""Certificates for tests, made here: a server's and a client's, each of a CA of its own."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
import trustme


class Files:
    """The files that `--tls-cert`, `--tls-key` and `--tls-client-ca` name."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key, self.client_ca = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"

    def write(self, server: trustme.CA, clients: trustme.CA | None = None) -> None:
        """A new certificate for 127.0.0.1 by `server`, and `clients` as the CA of callers."""
        issued = server.issue_cert("127.0.0.1", "localhost")
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        if clients is not None:
            self.client_ca.write_bytes(clients.cert_pem.bytes())


class Caller:
    """Trusts `server` and, where there is one, shows a certificate of `clients`."""

    def __init__(self, server: trustme.CA, clients: trustme.CA | None = None) -> None:
        self._server = server.cert_pem.bytes()
        self._own = clients.issue_cert("caller@example.org") if clients is not None else None

    def context(self) -> ssl.SSLContext:
        """For HTTP."""
        context = ssl.create_default_context(cadata=self._server.decode())
        if self._own is not None:
            self._own.configure_cert(context)
        return context

    def credentials(self) -> grpc.ChannelCredentials:
        """For gRPC."""
        if self._own is None:
            return grpc.ssl_channel_credentials(self._server)
        chain = b"".join(pem.bytes() for pem in self._own.cert_chain_pems)
        return grpc.ssl_channel_credentials(self._server, self._own.private_key_pem.bytes(), chain)
