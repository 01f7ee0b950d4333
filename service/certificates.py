"""The certificate of the callers' ports and the CAs of their callers, from files that are followed."""

from __future__ import annotations

import dataclasses
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from service.certificate_expiry import expires_s
from service.settings import flag

MAX_BYTES = 1 << 20

CERT, KEY, CLIENT_CA = map(flag, ("tls_cert", "tls_key", "tls_client_ca"))

log = logging.getLogger(__name__)


class CertificateError(Exception):
    """Files that cannot be used; one line, with nothing of their content."""


@dataclasses.dataclass(frozen=True, slots=True)
class Identity:
    """What the callers' ports show, and what they ask to be shown.

    Attributes:
        chain: PEM of the certificate and those up to its CA.
        key: PEM of its private key.
        client_ca: PEM of the CAs of which callers must show a certificate; None: they show none.
    """

    chain: bytes = dataclasses.field(repr=False)
    key: bytes = dataclasses.field(repr=False)
    client_ca: bytes | None = dataclasses.field(repr=False)


class Certificates:
    """The identity that new connections get. Files that cannot be used change nothing: a certificate ends by itself.

    Args:
        cert: file of `Identity.chain`.
        key: file of `Identity.key`.
        client_ca: file of `Identity.client_ca`; None: callers show no certificate.

    Raises:
        CertificateError: the files cannot be used at the start.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None = None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._subscribers: list[Callable[[], None]] = []
        self._trouble = ""
        self.identity, self.context = self._load()

    @property
    def asks_clients(self) -> bool:
        """Whether callers must show a certificate."""
        return self._client_ca is not None

    def expires_s(self) -> float:
        """When the certificate that new connections are shown ends, in seconds since 1970."""
        return expires_s(self.identity.chain)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Have `changed` called after every change, on the thread that found it."""
        self._subscribers.append(changed)

    def refresh(self) -> None:
        """Take up what the files hold now; what is wrong with them is logged when it begins."""
        try:
            if self._read() != self.identity:
                self.identity, self.context = self._load()
                log.info("the certificates were renewed")
                for changed in self._subscribers:
                    changed()
            self._trouble = ""
        except CertificateError as error:
            if str(error) != self._trouble:
                log.error("%s; the last good certificates stay in use", error)
            self._trouble = str(error)

    def _load(self) -> tuple[Identity, ssl.SSLContext]:
        """The identity and the context of REST that goes with it: `ssl` takes files, so they must stand still."""
        identity = self._read()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # No password is asked for on a terminal: an encrypted key cannot be used.
            context.load_cert_chain(self._cert, self._key, password=lambda: "")
        except (OSError, ValueError) as error:
            raise CertificateError(f"{CERT} and {KEY} cannot be used together ({_reason(error)})") from None
        if identity.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            try:
                context.load_verify_locations(cadata=identity.client_ca.decode("ascii", "replace"))
            except (OSError, ValueError) as error:
                raise CertificateError(f"{CLIENT_CA} cannot be used ({_reason(error)})") from None
        if self._read() != identity:
            raise CertificateError("the certificates' files are being changed")
        return identity, context

    def _read(self) -> Identity:
        client_ca = None if self._client_ca is None else _content(CLIENT_CA, self._client_ca)
        return Identity(_content(CERT, self._cert), _content(KEY, self._key), client_ca)


def _content(source: str, path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CertificateError(f"{source} cannot be read ({error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise CertificateError(f"{source} is over {MAX_BYTES} bytes")
    return content


def _reason(error: Exception) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else None
    return (reason or "no PEM").lower().replace("_", " ")
