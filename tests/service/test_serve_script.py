"""examples/serve.sh, which is what `make serve` runs."""

from __future__ import annotations

import contextlib
import http.server
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
BIN = os.path.dirname(sys.executable)
START_S, PATIENCE_S = 60.0, 20.0
"""Only ever waited in full by a test that fails; to start is to load torch."""

pytestmark = pytest.mark.skipif(
    not os.access(os.path.join(BIN, "totalvi-serve"), os.X_OK), reason="totalvi-serve is not installed beside python"
)


@pytest.fixture
def ports() -> dict[str, int]:
    """Three ports that were free a moment ago, by the variables that set them."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]
        names = ("TOTALVI_HTTP_PORT", "TOTALVI_GRPC_PORT", "TOTALVI_ADMIN_PORT")
        return {name: sock.getsockname()[1] for name, sock in zip(names, sockets, strict=True)}


@contextlib.contextmanager
def started(ports: dict[str, int]) -> Iterator[subprocess.Popen[str]]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOTALVI_")}
    with subprocess.Popen(
        ["sh", "examples/serve.sh"],
        cwd=ROOT,
        env={**inherited, "BIN": BIN, **{name: str(port) for name, port in ports.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as script:
        try:
            yield script
        finally:
            # The script passes a polite signal on to its server; a failed test leaves neither behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(script.pid, signal.SIGKILL)


def perform(curl: str) -> httpx.Response:
    """Do what a curl line says, of the few things that ours says."""
    program, silent, url, header_flag, header, data_flag, data = shlex.split(curl)
    assert (program, silent, header_flag, data_flag, data[0]) == ("curl", "-s", "-H", "-d", "@")
    name, _, value = header.partition(": ")
    return httpx.post(url, headers={name: value}, content=(ROOT / data[1:]).read_bytes(), timeout=PATIENCE_S)


def curl_line(said: str) -> str:
    return next(line for line in said.splitlines() if line.strip().startswith("curl "))


def test_it_serves_where_the_environment_says_until_it_is_stopped(ports):
    with started(ports) as first:
        said = ""
        while "curl " not in said:
            line = first.stdout.readline()
            assert line, first.stderr.read()
            said += line
        curl = curl_line(said)
        assert curl.replace(str(ports["TOTALVI_HTTP_PORT"]), "8000").strip() in (ROOT / "README.md").read_text()
        answer = perform(curl)
        assert (answer.status_code, answer.json()["n_cells"]) == (200, 5)
        for name, url in (
            ("HTTP", "http://127.0.0.1:{}/"),
            ("HTTP", "http://127.0.0.1:{}/docs"),
            ("ADMIN", "http://127.0.0.1:{}/metrics"),
        ):
            shown = url.format(ports[f"TOTALVI_{name}_PORT"])
            assert shown in said
            assert httpx.get(shown).status_code == 200
        assert f"127.0.0.1:{ports['TOTALVI_GRPC_PORT']}\n" in said

        with started(ports) as second:
            told, _ = second.communicate(timeout=PATIENCE_S)
            assert second.returncode == 0
            assert "running already" in told
            assert curl_line(told) == curl

        first.send_signal(signal.SIGTERM)
        assert first.wait(PATIENCE_S) == 0
        for port in ports.values():
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))


def test_another_server_on_the_operators_port_is_not_taken_for_the_example(ports, other_server):
    with started({**ports, "TOTALVI_ADMIN_PORT": other_server}) as script:
        said, errors = script.communicate(timeout=START_S)
    assert script.returncode == 1
    assert said == ""
    assert f"cannot listen on 127.0.0.1:{other_server}" in errors


@pytest.fixture
def other_server() -> Iterator[int]:
    """The port of a server that is ready, as any is that answers 200."""

    class Ready(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()
