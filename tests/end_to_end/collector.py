"""An OTLP collector on loopback, as small as one can be: it keeps the spans that are posted to it, or never answers."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.end_to_end.server import PATIENCE_S


class Collector:
    """Listens on a free port as long as its context lasts.

    Args:
        hangs: it takes what is posted, and does not answer before the end.
    """

    def __init__(self, *, hangs: bool = False) -> None:
        self.paths: list[str] = []
        self.services: set[str] = set()
        self._spans: list[Span] = []
        self._news = threading.Condition()
        self._end = threading.Event()
        if not hangs:
            self._end.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)

    @property
    def spans(self) -> list[Span]:
        """What has come so far."""
        with self._news:
            return list(self._spans)

    def wait_asked(self) -> None:
        """Wait until somebody has posted something."""
        with self._news:
            assert self._news.wait_for(lambda: self.paths, PATIENCE_S), "nobody posted anything"

    def take(self, path: str, body: bytes) -> None:
        """Keep what was posted."""
        message = ExportTraceServiceRequest.FromString(body)
        with self._news:
            self.paths.append(path)
            for resource in message.resource_spans:
                self.services |= {
                    fact.value.string_value for fact in resource.resource.attributes if fact.key == "service.name"
                }
                self._spans += [span for scope in resource.scope_spans for span in scope.spans]
            self._news.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                collector._end.wait(PATIENCE_S)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
