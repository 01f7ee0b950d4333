"""Where a server is, and what a client shows to be let in."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import platform
import re
import urllib.parse
from pathlib import Path
from typing import Final

from totalvi_client.errors import InputError
from totalvi_client.version import installed_version

USER_AGENT: Final = f"totalvi-client/{installed_version()} python/{platform.python_version()}"

_SCHEMES: Final = "http://, https://, grpc://, grpcs:// or dns:///"
_TOKEN = re.compile(r"[!-~]{1,4096}")


class Secret:
    """A text that shows itself to nobody but who asks for it by name."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text."""
        return self._text

    def __repr__(self) -> str:
        """Not the text."""
        return "Secret()"

    def __reduce__(self) -> str:
        """Neither is it written into any file."""
        raise TypeError("a secret cannot be pickled")


@dataclasses.dataclass(frozen=True, slots=True)
class Target:
    """Where a server is, and how it is spoken to.

    Attributes:
        address: base URL of REST, or what gRPC resolves.
        is_rest: REST, else gRPC.
        secure: with TLS.
        is_local: on this machine.
        token: bearer token, or None.
        ca_file: CAs to trust instead of the usual ones, or None.
        certificate: own chain and its key, or None.
    """

    address: str
    is_rest: bool
    secure: bool
    is_local: bool
    token: Secret | None = None
    ca_file: Path | None = None
    certificate: tuple[Path, Path] | None = None

    def bearer(self) -> str | None:
        """Value of the `authorization` header; None: there is none."""
        return None if self.token is None else f"Bearer {self.token.reveal()}"


def read_target(
    text: str,
    *,
    token: str | None = None,
    ca_file: str | Path | None = None,
    certificate: tuple[str | Path, str | Path] | None = None,
    tls: bool | None = None,
    allow_plain_token: bool = False,
) -> Target:
    """Read an address and what goes with it. The arguments are those of `Client`.

    Raises:
        InputError: they cannot work, or would send a token where others may read it.
    """
    scheme, _, rest = text.strip().partition("://")
    scheme = scheme.lower()
    if scheme not in ("http", "https", "grpc", "grpcs", "dns"):
        raise InputError(f"the address of a server begins with {_SCHEMES}")
    secure = scheme in ("https", "grpcs")
    if scheme == "dns":
        secure = bool(tls) if tls is not None else bool(ca_file or certificate)
        rest = rest.removeprefix("/")
    elif tls is not None and tls != secure:
        raise InputError(f"{scheme}:// {'always' if secure else 'never'} speaks TLS; tls is for dns:/// alone")
    host, authority = _host_of(rest, is_rest=scheme in ("http", "https"))
    if (ca_file or certificate) and not secure:
        raise InputError("ca_file and certificate are for TLS: use https://, grpcs:// or dns:/// with tls=True")
    is_local = _is_local(host)
    secret = None if token is None else _read_token(token)
    if secret is not None and not (secure or is_local or allow_plain_token):
        raise InputError(
            f"a token would be sent to {host} without TLS, where others can read it: use https:// or grpcs://, "
            "or allow_plain_token=True on a network that you trust"
        )
    return Target(
        address=f"{scheme}://{rest.rstrip('/')}" if scheme in ("http", "https") else f"dns:///{authority}",
        is_rest=scheme in ("http", "https"),
        secure=secure,
        is_local=is_local,
        token=secret,
        ca_file=None if ca_file is None else _file(ca_file),
        certificate=None if certificate is None else (_file(certificate[0]), _file(certificate[1])),
    )


def _host_of(rest: str, *, is_rest: bool) -> tuple[str, str]:
    """The host's name, and host and port as they were written."""
    try:
        parts = urllib.parse.urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InputError("the address of a server has a host or port that cannot be read") from None
    if "@" in parts.netloc:
        raise InputError("the address of a server holds no user or password: a token goes into token=")
    if not host:
        raise InputError("the address of a server names no host")
    if parts.query or parts.fragment:
        raise InputError("the address of a server ends with its host, its port, or for REST a path")
    if not is_rest and (port is None or parts.path.strip("/")):
        raise InputError("the address of a gRPC server is HOST:PORT, e.g. grpc://127.0.0.1:8001")
    return host, parts.netloc


def _is_local(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_token(token: str) -> Secret:
    # A token that was read from a file often ends with its line.
    stripped = token.strip() if isinstance(token, str) else ""
    if not _TOKEN.fullmatch(stripped):
        raise InputError("a token is visible ASCII characters without spaces")
    return Secret(stripped)


def _file(given: str | Path) -> Path:
    path = Path(given).expanduser()
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read")
    return path
