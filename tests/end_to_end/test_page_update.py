"""The page behind the proxies while a new version replaces an old one: its files are only on some of the replicas."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.proxy import GRPC_PORT, REPLICA_PORTS, REST_PORT, Haproxy, Nginx, Proxy, missing
from tests.end_to_end.replicas import free_ports

OLD, NEW = "/page/index-OldOldOl.js", "/page/index-NewNewNe.js"

PROXIES = [
    pytest.param(proxy, marks=pytest.mark.skipif(bool(missing(proxy)), reason=missing(proxy)), id=proxy.__name__)
    for proxy in (Nginx, Haproxy)
]


class Replica(http.server.ThreadingHTTPServer):
    """What has the page of one version, and is ready."""

    daemon_threads = True

    def __init__(self, port: int, file: str) -> None:
        self.file = file
        self.asked: Counter[str] = Counter()
        super().__init__(("127.0.0.1", port), _Answering)


class _Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replica

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        body = self.server.file.encode()
        self.send_response(200 if self.path in ("/", "/readyz", self.server.file) else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(replica: Replica) -> Iterator[Replica]:
    thread = threading.Thread(target=replica.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield replica
    finally:
        replica.shutdown()
        thread.join()
        replica.server_close()


@pytest.fixture
def replicas() -> Iterator[tuple[dict[int, int], list[Replica]]]:
    """The ports for the proxy, and two replicas of the old version with one of the new."""
    chosen = [REST_PORT, GRPC_PORT, *(port for doors in REPLICA_PORTS for port in doors)]
    ports = dict(zip(chosen, free_ports(len(chosen)), strict=True))
    with contextlib.ExitStack() as stack:
        made = []
        for (rest, _, operators), file in zip(REPLICA_PORTS, (OLD, OLD, NEW), strict=True):
            made.append(stack.enter_context(serving(Replica(ports[rest], file))))
            stack.enter_context(serving(Replica(ports[operators], file)))
        yield ports, made


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_browser_gets_the_files_of_the_version_that_it_got(
    tmp_path: Path, replicas: tuple[dict[int, int], list[Replica]], proxy: type[Proxy]
) -> None:
    ports, servers = replicas
    with proxy(tmp_path, ports) as front, httpx.Client(base_url=f"http://127.0.0.1:{front.rest_port}") as browser:
        seen = set()
        for _ in range(30):
            file = browser.get("/").text
            answer = browser.get(file)
            assert (answer.status_code, answer.text) == (200, file)
            seen.add(file)
        assert seen == {OLD, NEW}, "both versions are served, or this shows nothing"

        gone = browser.get("/page/gone.js")
        assert gone.status_code == 404
        assert 2 <= sum(server.asked["/page/gone.js"] for server in servers) <= 4
        assert browser.get("/v1/models/gone").status_code == 404
        assert sum(server.asked["/v1/models/gone"] for server in servers) == 1
