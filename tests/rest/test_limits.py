import contextlib
import gzip
import tracemalloc
from collections.abc import Callable, Iterable, Iterator

import pytest
import zstandard
from starlette.requests import Request
from starlette.types import Message

from service.core.admission import ByteGate
from service.core.errors import ErrorKind, ServiceError
from service.core.recorder import Call
from service.rest.limits import decompress, read_body

ENCODERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zstd": zstandard.compress}


@contextlib.contextmanager
def refused(kind: ErrorKind) -> Iterator[None]:
    with pytest.raises(ServiceError) as caught:
        yield
    assert caught.value.kind is kind


class Sender:
    """Gives a body chunk by chunk, then hangs up."""

    def __init__(
        self, chunks: Iterable[bytes], *, complete: bool = True, headers: dict[str, str] | None = None
    ) -> None:
        self._messages: Iterator[Message] = iter(
            [
                *({"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks),
                *([{"type": "http.request", "body": b"", "more_body": False}] if complete else []),
                {"type": "http.disconnect"},
            ]
        )
        raw = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self.request = Request({"type": "http", "method": "POST", "headers": raw}, self.receive)
        self.n_received = 0

    async def receive(self) -> Message:
        self.n_received += 1
        return next(self._messages)


async def test_a_body_is_read_whole() -> None:
    assert await read_body(Sender([b"ab", b"", b"c"]).request, 3) == b"abc"
    assert await read_body(Sender([]).request, 3) == b""


async def test_a_declared_length_is_refused_before_reading() -> None:
    sender = Sender([b"abcd"], headers={"content-length": "4"})
    with refused(ErrorKind.TOO_LARGE):
        await read_body(sender.request, 3)
    assert sender.n_received == 0


@pytest.mark.parametrize("length", ["-1", "", "abc", "1.5", "1_0", "+4", "4, 4", "9" * 30, "٤"])
async def test_a_bad_length_is_malformed(length: str) -> None:
    request = Sender([b"abcd"]).request
    request.scope["headers"] = [(b"content-length", length.encode("utf-8"))]
    with refused(ErrorKind.MALFORMED):
        await read_body(request, 100)


async def test_an_undeclared_length_is_counted() -> None:
    sender = Sender([b"ab"] * 1000)
    with refused(ErrorKind.TOO_LARGE):
        await read_body(sender.request, 5)
    assert sender.n_received == 3


async def test_many_one_byte_chunks() -> None:
    sender = Sender([b"x"] * 65_537)
    assert len(await read_body(sender.request, 65_537)) == 65_537


def reading(bodies: ByteGate) -> Call:
    return Call("rest", "encode", "id", started_s=0.0, bodies=bodies)


async def test_a_declared_length_without_room_is_refused_before_reading() -> None:
    """But it is not counted until it comes: those who announce and send nothing keep nobody out."""
    bodies = ByteGate(10, 10, lambda: 0.5)
    other, idle = reading(bodies), reading(bodies)
    await read_body(Sender([b"abcdef"]).request, 10, other)
    assert (bodies.held, other.held_bytes) == (6, 6)
    sender = Sender([b"abcde"], headers={"content-length": "5"})
    with refused(ErrorKind.OVERLOADED):
        await read_body(sender.request, 10, idle)
    assert (sender.n_received, bodies.held) == (0, 6)
    with refused(ErrorKind.CANCELLED):
        await read_body(Sender([], complete=False, headers={"content-length": "4"}).request, 10, idle)
    assert bodies.held == 6


async def test_an_undeclared_length_is_refused_once_there_is_no_room() -> None:
    bodies = ByteGate(10, 10, lambda: 0.5)
    await read_body(Sender([b"abcdef"]).request, 10, reading(bodies))
    sender, late = Sender([b"ab"] * 1000), reading(bodies)
    with refused(ErrorKind.OVERLOADED):
        await read_body(sender.request, 10_000, late)
    assert (sender.n_received, late.held_bytes, bodies.held) == (3, 4, 10)


async def test_a_caller_that_leaves_while_sending_is_cancelled() -> None:
    with refused(ErrorKind.CANCELLED):
        await read_body(Sender([b"ab"], complete=False).request, 100)


def test_identity_is_not_copied() -> None:
    body = bytearray(b"abc")
    assert decompress(body, "identity", 3) is body


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("content", [b"", b"x", b"{}" * 5000])
def test_compressed_bodies(encoding: str, content: bytes) -> None:
    encode = ENCODERS[encoding]
    assert decompress(bytearray(encode(content)), encoding, len(content)) == content
    several = encode(b"") + encode(content) + encode(b"y") * 600
    assert decompress(bytearray(several), encoding, 100_000) == content + b"y" * 600


@pytest.mark.parametrize("encoding", ENCODERS)
def test_the_limit_holds_after_decompression(encoding: str) -> None:
    body = bytearray(ENCODERS[encoding](b"x" * 1000))
    assert len(decompress(body, encoding, 1000)) == 1000
    with refused(ErrorKind.TOO_LARGE):
        decompress(body, encoding, 999)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_bomb_is_stopped_early(encoding: str) -> None:
    """RELIABILITY 7: 1 MB of gzip that would be 1 GB."""
    bomb = bytearray(ENCODERS[encoding](bytes(64 << 20)) * 16)
    assert len(bomb) < 1_100_000
    tracemalloc.start()
    try:
        with refused(ErrorKind.TOO_LARGE):
            decompress(bomb, encoding, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ENCODERS)
def test_members_without_content_do_not_go_on_for_ever(encoding: str) -> None:
    empty = ENCODERS[encoding](b"")
    assert decompress(bytearray(empty * 10_000), encoding, 1) == b""
    with refused(ErrorKind.MALFORMED):
        decompress(bytearray(empty * 10_001), encoding, 1)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_damaged_bodies_are_malformed(encoding: str) -> None:
    whole = ENCODERS[encoding](b"some content" * 100)
    for damaged in (b"", whole[:1], whole[:-1], whole + b"\0", whole + b"garbage", b"not compressed", whole[10:]):
        with refused(ErrorKind.MALFORMED):
            decompress(bytearray(damaged), encoding, 10_000)


def test_a_zstd_window_over_the_rfc_limit_is_malformed() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with refused(ErrorKind.MALFORMED):
        decompress(bytearray(frame.compress(b"abc") + frame.flush()), "zstd", 1000)
