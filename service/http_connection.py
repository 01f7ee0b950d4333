"""One HTTP connection, and what it may hold for how long: uvicorn bounds none of it but idleness between requests."""

from __future__ import annotations

import asyncio
import enum
from typing import Any

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.settings import ConnectionSettings

MAX_HEAD_BYTES = 1 << 16
"""Of a request line and headers that come in pieces; what the kernel hands over at once may be four times that."""


class _Awaited(enum.Enum):
    """What the caller owes."""

    HEAD = enum.auto()
    BODY = enum.auto()
    NOTHING = enum.auto()


class BoundedConnection(HttpToolsProtocol):
    """A connection that its caller cannot hold by being slow.

    A request whose headers or body take too long is answered 408, one whose headers do not end 431, a connection too
    many 503, all in plain text: nothing of the request is known yet. A caller that does not read its answer is cut off.
    Requests that come in one piece, as most do, set no timer.

    Args:
        bounds: of the connection.
        parts: of `HttpToolsProtocol`.
    """

    def __init__(self, bounds: ConnectionSettings, **parts: Any) -> None:
        super().__init__(**parts)
        self._bounds = bounds
        # Of the last request whose end has come; uvicorn makes a new scope for each.
        self._complete: object = None
        self._n_head_bytes = 0
        self._timed: object = None
        self._late: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        if len(self.connections) > self._bounds.max_connections:
            self._refuse(503, "too many connections")
        else:
            self._keep_time(0)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        for timer in (self._late, self._stalled):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came, and see that the rest comes in time."""
        super().data_received(data)
        if self._late is not None or self._complete is not self.scope or self.cycle.response_complete:
            self._keep_time(len(data))

    def on_message_complete(self) -> None:
        """The whole request is there."""
        self._complete = self.scope
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is on its way."""
        super().on_response_complete()
        self._watch_reader()

    def pause_writing(self) -> None:
        """The caller reads more slowly than it is answered."""
        super().pause_writing()
        self._watch_reader()

    def resume_writing(self) -> None:
        """The caller has taken what it was behind with: it has time anew for the rest, and for what may follow."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
            self._watch_reader()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, and at once if its caller has yet to read an answer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    @property
    def _awaited(self) -> _Awaited:
        if self.scope is not None and self._complete is self.scope:
            # Once it is answered, whatever comes begins a request.
            return _Awaited.NOTHING if self._answering else _Awaited.HEAD
        return _Awaited.BODY if self.cycle is not None and self.cycle.scope is self.scope else _Awaited.HEAD

    def _keep_time(self, n_bytes: int) -> None:
        """Have one timer for what is awaited after so many more bytes, from when that began."""
        if self.transport.is_closing():
            return
        awaited = self._awaited
        if self._timed != (awaited, self.cycle):
            self._timed = (awaited, self.cycle)
            self._n_head_bytes = 0
            if self._late is not None:
                self._late.cancel()
                self._late = None
            if awaited is not _Awaited.NOTHING:
                self._set_late()
        elif awaited is _Awaited.HEAD:
            self._n_head_bytes += n_bytes
            if self._n_head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, "the headers are too long")

    def _set_late(self) -> None:
        head = self._awaited is _Awaited.HEAD
        seconds = self._bounds.header_timeout_s if head else self._bounds.body_timeout_s
        self._late = self.loop.call_later(seconds, self._come_late)

    def _come_late(self) -> None:
        head = self._awaited is _Awaited.HEAD
        if self.transport.is_closing():
            self.transport.abort()  # its caller does not even read that it is closed
        elif self.flow.read_paused or (head and self._answering):
            # Earlier requests of this connection are still at work, or it is we who do not read.
            self._set_late()
        else:
            self._refuse(408, f"the {'headers' if head else 'body'} did not come in time")

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _watch_reader(self) -> None:
        if self._stalled is None and self.transport.get_write_buffer_size():
            self._stalled = self._after_stall(self.transport.get_write_buffer_size())

    def _after_stall(self, n_before: int) -> asyncio.TimerHandle:
        return self.loop.call_later(self._bounds.stall_timeout_s, self._look_at_reader, n_before)

    def _look_at_reader(self, n_before: int) -> None:
        n_left = self.transport.get_write_buffer_size()
        self._stalled = None
        if n_left > n_before - HIGH_WATER_LIMIT and n_left:
            self.transport.abort()
        elif n_left:
            self._stalled = self._after_stall(n_left)

    def _refuse(self, status: int, text: str) -> None:
        """Close the connection, with an answer where none is under way or has been given."""
        unanswered = self._awaited is _Awaited.BODY and not self.cycle.response_started
        if unanswered or (self._awaited is _Awaited.HEAD and not self._answering):
            headers = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
            self.transport.write(STATUS_LINE[status] + headers + text.encode())
        self.transport.close()
        if self._late is not None:
            self._late.cancel()
        self._set_late()
