"""Reads a request body without ever holding more than the published limit."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Protocol

import zstandard
from starlette.requests import Request

from service.core.errors import ErrorKind, ServiceError, malformed, too_large
from service.core.recorder import Call

_CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")

# What one step may inflate to is bounded by what it is fed: at most 128 KiB from 4 bytes of zstd, so 16 MiB.
_STEP_BYTES = 512
# RFC 9659: what a zstd content encoding may ask its reader to remember.
_ZSTD_WINDOW_BYTES = 8 * 1024 * 1024

# Each begins anew: 64 MiB of empty ones cost 4 s. Tools that write many give each some 64 KiB of content.
_MOST_MEMBERS = 10_000


class _Inflater(Protocol):
    """One gzip member or zstd frame on its way out."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


async def read_body(request: Request, limit: int, call: Call | None = None) -> bytes | bytearray:
    """The request's body as it was sent, at most `limit` bytes, held by `call` where there is one.

    What is held is what has come and not what was announced, or callers that send nothing would keep others out.

    Raises:
        ServiceError: `malformed` for a bad `Content-Length`, `too_large` as soon as the limit is known to be passed,
            `overloaded` as soon as there is no room for it beside others', `cancelled` where the caller leaves while
            sending.
    """
    declared = request.headers.get("content-length")
    if declared is not None:
        if not _CONTENT_LENGTH.fullmatch(declared):
            malformed("Content-Length must be a whole number of bytes")
        _check_size(int(declared), limit)
        if call is not None:
            call.expect(int(declared))
    chunk, more = await _next_chunk(request, limit, 0, call)
    if not more:
        return chunk
    body = bytearray(chunk)
    while more:
        chunk, more = await _next_chunk(request, limit, len(body), call)
        body += chunk
    return body


async def _next_chunk(request: Request, limit: int, n_before: int, call: Call | None) -> tuple[bytes, bool]:
    """What has come behind the first `n_before` bytes, and whether more will."""
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ServiceError(ErrorKind.CANCELLED, "the caller left while sending")
    chunk = message.get("body", b"")
    _check_size(n_before + len(chunk), limit)
    if call is not None:
        call.hold(len(chunk))
    return chunk, message.get("more_body", False)


def decompress(body: bytes | bytearray, encoding: str, limit: int) -> bytes | bytearray:
    """The content of a body, at most `limit` bytes.

    Args:
        body: as it was sent.
        encoding: `identity`, `gzip` or `zstd`; members and frames may follow one another.
        limit: bytes of the result.

    Raises:
        ServiceError: `too_large` once the limit is passed, having inflated little more than that; `malformed` for
            data that is corrupt, cut short, of too many members, or followed by something else.
    """
    if encoding == "identity":
        return body
    begin = _inflaters()[encoding]
    content = bytearray()
    member = begin()
    n_members = 1
    try:
        for start in range(0, len(body), _STEP_BYTES):
            piece = bytes(body[start : start + _STEP_BYTES])
            while piece:
                if member.eof:
                    member = begin()
                    n_members += 1
                    if n_members > _MOST_MEMBERS:
                        malformed(f"the body is of more than {_MOST_MEMBERS} {encoding} members or frames")
                content += member.decompress(piece)
                _check_size(len(content), limit)
                piece = member.unused_data if member.eof else b""
    except (zlib.error, zstandard.ZstdError):
        malformed(f"the body is not valid {encoding}")
    if not member.eof:
        malformed(f"the body ends before its {encoding} data does")
    return content


def _inflaters() -> dict[str, Callable[[], _Inflater]]:
    # A zstd context of its own for each body, since bodies are decompressed on several threads.
    zstd = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    return {"gzip": lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), "zstd": zstd.decompressobj}


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        too_large(f"the body is larger than max_request_bytes, {limit} bytes, sent or decompressed")
