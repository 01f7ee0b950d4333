"""A real process comes up, goes down, or says in one line why it cannot."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import queue
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Ask, Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller, stream_messages
from tests.end_to_end.mistake import Says, assert_says
from tests.end_to_end.operators import admin, ask, gauges, until
from tests.end_to_end.proxy import connects
from tests.end_to_end.server import PATIENCE_S, RunningServer, command
from tests.end_to_end.synthetic import assert_right

CELLS = synthetic.cells(5, seed=8)
MOST_CALLS = 20_000
"""Of one steady caller; the server is gone long before."""

ARTIFACT = Path(synthetic.NAME, "1", "encoder.pt")


def health_of(channel: grpc.Channel) -> int:
    request = health_pb2.HealthCheckRequest(service="totalvi.v1.EncoderService")
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_S).status


def complaints(server: RunningServer) -> list[str]:
    """All that it said beyond its news."""
    told = [record["message"] for record in server.records if record["level"] not in ("debug", "info")]
    return told + [line for line in server.lines if not line.startswith("{") or "Traceback" in line]


class Steady(threading.Thread):
    """A caller that calls again and again, until it cannot connect any more."""

    def __init__(self, encode: Callable[[Ask], Answer]) -> None:
        super().__init__(daemon=True)
        self.encode = encode
        self.warm = threading.Event()
        self.n_answers = 0
        self.last_answer_s = 0.0
        self.end: BaseException | str = "too many calls"

    def run(self) -> None:
        right = synthetic.expected(CELLS)
        try:
            for _ in range(MOST_CALLS):
                assert_right(self.encode(CELLS), right)
                self.last_answer_s = time.monotonic()
                self.n_answers += 1
                if self.n_answers == 5:
                    self.warm.set()
        except BaseException as error:
            self.end = error

    @property
    def was_turned_away(self) -> bool:
        """Whether it ended because nobody listens any more: with a call that the service never saw.

        Where REST cannot connect, gRPC may also cut what has reached the process and was not handed over yet; to the
        caller that looks cancelled instead of unavailable (https://github.com/grpc/grpc/issues/41785).
        """
        if isinstance(self.end, Refused):
            unseen = self.end.code is None and "x-request-id" not in self.end.headers
            return unseen and self.end.status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        return isinstance(self.end, httpx.ConnectError)


class LivenessWatch(threading.Thread):
    """Asks /livez, each time on a new connection, until there is none to be had."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.statuses: set[int] = set()
        self.last_s = 0.0

    def run(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            for _ in range(MOST_CALLS):
                self.statuses.add(ask(self.server, "livez").status_code)
                self.last_s = time.monotonic()


def test_sigterm_under_load(synthetic_models: Path) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RunningServer(synthetic_models, "--drain-delay-s", "1"))
        server.wait_until_ready()
        rests = [stack.enter_context(RestCaller(server.http_port)) for _ in range(3)]
        rpcs = [stack.enter_context(GrpcCaller(server.grpc_port)) for _ in range(3)]
        callers = [Steady(caller.encode) for caller in (*rests, *rpcs)]
        watch = LivenessWatch(server)
        for thread in (*callers, watch):
            thread.start()
        assert all(caller.warm.wait(PATIENCE_S) for caller in callers)

        signalled_s = time.monotonic()
        server.send(signal.SIGTERM)
        assert until(lambda: ask(server, "readyz").status_code == 503)
        unready_s = time.monotonic()
        readiness = ask(server, "readyz").json()
        health = health_of(rpcs[0].channel)
        exit_code = server.wait()
        for thread in (*callers, watch):
            thread.join(PATIENCE_S)

    assert [repr(caller.end) for caller in callers if not caller.was_turned_away] == []
    assert unready_s - signalled_s < 0.5
    assert readiness["state"] == "draining"
    assert health == health_pb2.HealthCheckResponse.NOT_SERVING
    # Balancers have the whole delay to notice.
    assert min(caller.last_answer_s for caller in callers) - signalled_s > 0.5
    assert watch.statuses == {200}
    assert watch.last_s > max(caller.last_answer_s for caller in callers)
    assert exit_code == 0
    assert complaints(server) == []
    # What the service saw, it answered.
    seen = [record for record in server.records if record.get("operation") == "encode"]
    assert [record for record in seen if record["outcome"] != "ok"] == []
    assert len(seen) == sum(caller.n_answers for caller in callers)


def test_sigterm_during_a_stream(synthetic_models: Path) -> None:
    """It goes on to its end while nobody else is let in, and only then the process ends."""
    slices: queue.SimpleQueue[pb.EncodeRequest | None] = queue.SimpleQueue()
    matrix = synthetic.cells(9, seed=8)
    with (
        RunningServer(synthetic_models, "--drain-delay-s", "0") as server,
        GrpcCaller(server.wait_until_ready().grpc_port) as rpc,
    ):
        answers = rpc.encode_stream(iter(slices.get, None))
        first, *later = stream_messages(matrix, [2, 3])
        slices.put(first)
        found = [next(answers)]

        server.send(signal.SIGTERM)
        assert until(lambda: not connects(server.grpc_port))
        for message in (*later, None):
            slices.put(message)
        found += answers
        exit_code = server.wait()

    for answer, part in zip(found, (slice(0, 2), slice(2, 3), slice(3, 9)), strict=True):
        assert_right(answer, synthetic.expected(matrix.part(part)))
    assert exit_code == 0
    assert complaints(server) == []
    (record,) = (record for record in server.records if record.get("operation") == "encode_stream")
    assert (record["outcome"], record["n_cells"]) == ("ok", 9)


def test_sigterm_when_idle(synthetic_models: Path) -> None:
    """Callers that are connected and want nothing do not hold it up, not even one that watches its health."""
    with (
        RunningServer(synthetic_models, "--drain-delay-s", "0") as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
        GrpcCaller(server.grpc_port) as rpc,
    ):
        assert_right(rest.encode(CELLS), synthetic.expected(CELLS))
        watch = health_pb2_grpc.HealthStub(rpc.channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING

        server.send(signal.SIGTERM)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(grpc.RpcError):
            next(watch)
        assert server.wait() == 0
    assert complaints(server) == []


def test_a_second_signal_ends_it_at_once(synthetic_models: Path) -> None:
    with RunningServer(synthetic_models, "--drain-delay-s", "600") as server:
        server.wait_until_ready().send(signal.SIGINT)
        server.wait_for("draining")
        assert ask(server, "livez").status_code == 200
        # One that follows within a tenth of a second is taken for an echo of the first.
        assert until(lambda: server.send(signal.SIGTERM) or server.has_ended(0.05))
        assert server.wait() == 128 + signal.SIGTERM
    server.wait_for("again: leaving at once")


def test_calls_that_cannot_be_finished_are_refused(synthetic_models: Path) -> None:
    """A drain has its time; what still waits then is told to go elsewhere."""
    flags = ("--max-delay-ms", 10_000, "--drain-delay-s", 0, "--drain-timeout-s", 1)
    with (
        RunningServer(synthetic_models, *flags) as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
        GrpcCaller(server.grpc_port) as rpc,
        concurrent.futures.ThreadPoolExecutor(2) as threads,
    ):
        calls = [threads.submit(caller.encode, CELLS) for caller in (rest, rpc)]
        assert until(lambda: gauges(server)["totalvi_queue_cells"] == 10)
        assert server.stop() == 1
        for call in calls:
            refused = call.exception(PATIENCE_S)
            assert isinstance(refused, Refused)
            assert_says(refused, Says("unavailable", "the server is stopping"))
    assert complaints(server) == ["not done after --drain-timeout-s (1 s): leaving"]


@contextlib.contextmanager
def loading_server(models: Path, pipe: Path) -> Iterator[RunningServer]:
    """A server that loads until somebody writes the list of allowed digests, which is a pipe."""
    os.mkfifo(pipe)
    with RunningServer(models, "--drain-delay-s", "600", "--allowed-sha256-file", pipe) as server:
        yield server.wait_until_listening()


@contextlib.contextmanager
def writing(pipe: Path, content: bytes) -> Iterator[None]:
    """Write into a pipe while somebody reads it; if nobody ever does, give up at the end."""

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            pipe.write_bytes(content)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        os.close(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK))
        writer.join(PATIENCE_S)


def test_a_server_that_is_starting(synthetic_models: Path, tmp_path: Path) -> None:
    starting = Says("unavailable", "the models are still being loaded")
    with (
        loading_server(synthetic_models, tmp_path / "allowed") as server,
        RestCaller(server.http_port) as rest,
    ):
        assert ask(server, "livez").status_code == 200
        assert ask(server, "startupz").status_code == 503
        assert ask(server, "readyz").status_code == 503
        assert ask(server, "readyz").json()["state"] == "starting"
        # Proxies understand REST's 503; of gRPC they understand that nobody listens.
        assert not connects(server.grpc_port)
        for call in (
            lambda: rest.encode(CELLS),
            lambda: rest.send("GET", "/v1/models", b""),
            lambda: rest.send("GET", f"/v1/models/{synthetic.NAME}", b""),
        ):
            with pytest.raises(Refused) as caught:
                call()
            assert_says(caught.value, starting)

        digest = hashlib.sha256((synthetic_models / ARTIFACT).read_bytes()).hexdigest()
        with writing(tmp_path / "allowed", digest.encode()):
            server.wait_until_ready()
        assert [ask(server, probe).status_code for probe in ("livez", "startupz", "readyz")] == [200, 200, 200]
        with GrpcCaller(server.grpc_port) as rpc:
            assert health_of(rpc.channel) == health_pb2.HealthCheckResponse.SERVING
            for caller in (rest, rpc):
                assert_right(caller.encode(CELLS), synthetic.expected(CELLS))
    assert complaints(server) == []


def test_sigterm_while_loading(synthetic_models: Path, tmp_path: Path) -> None:
    """Nobody was sent here yet: there is nothing to wait for, not even the end of the loading."""
    with loading_server(synthetic_models, tmp_path / "allowed") as server:
        assert ask(server, "startupz").status_code == 503
        assert server.stop() == 0
    assert complaints(server) == []


def test_sigterm_while_reloading(synthetic_models: Path, tmp_path: Path) -> None:
    """RELIABILITY 4: callers are served to the end, and what is still being loaded is not waited for."""
    allowed, token = tmp_path / "allowed", tmp_path / "token"
    allowed.write_text(hashlib.sha256((synthetic_models / ARTIFACT).read_bytes()).hexdigest())
    token.write_text("correct-horse-battery-staple")
    flags = ("--drain-delay-s", "0", "--allowed-sha256-file", allowed, "--admin-token-file", token)
    with (
        RunningServer(synthetic_models, *flags) as server,
        RestCaller(server.wait_until_ready().http_port) as rest,
        concurrent.futures.ThreadPoolExecutor(1) as threads,
    ):
        # From now on a load waits until somebody writes the list.
        allowed.unlink()
        os.mkfifo(allowed)
        load = threads.submit(admin, server, "POST", f"/{synthetic.NAME}/load", token.read_text())
        with open(allowed, "wb"):  # returns once it is being read
            assert_right(rest.encode(CELLS), synthetic.expected(CELLS))
            assert server.stop() == 0
        assert isinstance(load.exception(PATIENCE_S), httpx.TransportError)
    assert complaints(server) == []


@pytest.mark.parametrize("door", ["http", "grpc", "admin"])
def test_a_port_in_use(synthetic_models: Path, door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with RunningServer(synthetic_models, f"--{door}-port", port) as server:
            assert server.wait() == 1

    (complaint,) = complaints(server)
    assert complaint == (
        f"cannot listen on 127.0.0.1:{port} (address already in use): choose another --{door}-port or --host"
    )


def test_models_that_are_not_there(tmp_path: Path) -> None:
    with RunningServer(tmp_path / "lost") as server:
        assert server.wait() == 1

    (complaint,) = complaints(server)
    assert f"{tmp_path / 'lost'} is not a directory; --models takes the one that export wrote" in complaint


def test_a_directory_without_models(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        assert server.wait() == 1

    (complaint,) = complaints(server)
    assert f"{tmp_path} holds no model; totalvi-serve export makes" in complaint


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "a flipped bit": lambda content: content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
}


def test_a_damaged_artifact(synthetic_models: Path, tmp_path: Path) -> None:
    """A good model beside it does not make the server start without it."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for damage, do in DAMAGES.items():
            models = tmp_path / damage
            shutil.copytree(synthetic_models, models)
            bad = models / "broken" / "7" / "encoder.pt"
            bad.parent.mkdir(parents=True)
            bad.write_bytes(do((synthetic_models / ARTIFACT).read_bytes()))
            servers[damage] = stack.enter_context(RunningServer(models))
        codes = {damage: server.wait() for damage, server in servers.items()}

    assert codes == dict.fromkeys(DAMAGES, 1)
    for damage, server in servers.items():
        (complaint,) = complaints(server)
        assert "model broken version 7 cannot be loaded: " in complaint, damage
        assert "export" in complaint, damage


def test_a_variable_nobody_knows(synthetic_models: Path) -> None:
    ended = command("run", "--models", synthetic_models, environ={"TOTALVI_HTPP_PORT": "8000"})

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        "totalvi-serve: unknown environment variable TOTALVI_HTPP_PORT: did you mean TOTALVI_HTTP_PORT?"
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run"], "no models directory: give --models DIRECTORY or set TOTALVI_MODELS"),
        (["run", "--models", "x", "--htpp-port", "1"], "unknown argument --htpp-port"),
        (["run", "--models", "x", "--http-port", "65536"], "--http-port '65536': give a whole number"),
        (["run", "--models", "x", "--http-port", "9", "--grpc-port", "9"], "--http-port and --grpc-port are both 9"),
        (["serve"], "serve"),
    ],
)
def test_a_command_line_that_cannot_be_followed(arguments: list[str], named: str) -> None:
    ended = command(*arguments)

    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("totalvi-serve: ")
    assert named in line
