"""Who is let in: tokens and certificates of a real process, renewed while it runs, and what its log tells of them.

RELIABILITY 7: bearer tokens from a file, on every route and RPC; TLS and mTLS with reload; no tokens in logs.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from tests.certificates import Caller, Files
from tests.end_to_end import synthetic
from tests.end_to_end.clients import json_body
from tests.end_to_end.operators import admin, ask, until
from tests.end_to_end.server import PATIENCE_S, RunningServer, command

ALICE, BOB, EXPIRED, LATER = (f"{name}-0123456789abcdef" for name in ("Alice", "Bob", "Expired", "Later"))
OPERATOR = "Operator-0123456789"
GUESS = "Guess-0123456789abcdef"
REFUSED = {
    "missing": None,
    "wrong": f"Bearer {GUESS}",
    "other case": f"Bearer {ALICE.swapcase()}",
    "expired": f"Bearer {EXPIRED}",
    "another scheme": f"Basic {ALICE}",
    "of the operators": f"Bearer {OPERATOR}",
}
CELLS = synthetic.cells(3, seed=5)


class Secret:
    """A mounted secret as Kubernetes keeps it: links to a folder that is swapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._version = 0
        self.files = Files(folder)
        self.tokens = folder / "tokens"

    def write(self, tokens: str, server: trustme.CA, clients: trustme.CA) -> None:
        """All files anew, in one step."""
        self._version += 1
        version = self.folder / f"..{self._version}"
        version.mkdir()
        Files(version).write(server, clients)
        (version / "tokens").write_text(tokens)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        link.rename(self.folder / "..data")
        for name in ("tls.crt", "tls.key", "ca.crt", "tokens"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data", name))

    def keys(self) -> list[str]:
        """Lines of all private keys so far."""
        return [line for key in self.folder.glob("..[0-9]*/tls.key") for line in key.read_text().splitlines()[1:-1]]


class Client:
    """A caller of both transports that shows its certificate, and a token where it is told one."""

    def __init__(self, server: RunningServer, caller: Caller) -> None:
        self._url = f"https://127.0.0.1:{server.http_port}"
        self._context = caller.context()
        self._address = f"127.0.0.1:{server.grpc_port}"
        self._credentials = caller.credentials()

    def http(self, method: str, path: str, authorization: str | None, **more: object) -> httpx.Response:
        headers = {} if authorization is None else {"Authorization": authorization}
        with httpx.Client(verify=self._context, trust_env=False, timeout=PATIENCE_S) as client:
            return client.request(method, self._url + path, headers=headers, **more)

    def lets_in(self, authorization: str) -> bool:
        try:
            return self.http("GET", "/v1/models", authorization).status_code == 200
        except (httpx.TransportError, ssl.SSLError):
            return False

    def channel(self) -> grpc.Channel:
        return grpc.secure_channel(self._address, self._credentials, [("grpc.use_local_subchannel_pool", 1)])

    def list_models(self, authorization: str | None) -> list[str] | grpc.StatusCode:
        metadata = [] if authorization is None else [("authorization", authorization)]
        with self.channel() as channel:
            try:
                stub = EncoderServiceStub(channel)
                answer = stub.ListModels(pb.ListModelsRequest(), metadata=metadata, timeout=PATIENCE_S)
            except grpc.RpcError as error:
                return error.code()
            return [model.name for model in answer.models]


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA) -> Secret:
    secret = Secret(tmp_path_factory.mktemp("secret"))
    secret.write(f"# callers\nalice {ALICE}\nbob {BOB} 2999-01-01\nbob {EXPIRED} 2020-01-01\n", ca, ca)
    (secret.folder / "operators").write_text(OPERATOR)
    return secret


@pytest.fixture(scope="module")
def server(synthetic_models: Path, secret: Secret) -> Iterator[RunningServer]:
    flags = {
        "--tokens-file": secret.tokens,
        "--tls-cert": secret.files.cert,
        "--tls-key": secret.files.key,
        "--tls-client-ca": secret.files.client_ca,
        "--admin-token-file": secret.folder / "operators",
        "--log-level": "debug",
        "--drain-delay-s": "0",
    }
    arguments = [text for pair in flags.items() for text in pair]
    with RunningServer(synthetic_models, *arguments) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="module")
def client(server: RunningServer, ca: trustme.CA) -> Client:
    return Client(server, Caller(ca, clients=ca))


def encode(client: Client, authorization: str | None) -> httpx.Response:
    return client.http("POST", f"/v1/models/{CELLS.model}/encode", authorization, json=json_body(CELLS))


def test_a_token_and_a_certificate_open_both_transports(server: RunningServer, client: Client) -> None:
    answer = encode(client, f"Bearer {ALICE}")
    assert (answer.status_code, answer.json()["n_cells"]) == (200, 3)
    assert client.list_models(f"bearer {BOB}") == [synthetic.NAME]
    record = server.wait_for_record(lambda record: record.get("transport") == "rest")
    assert (record["caller"], record["outcome"]) == ("alice", "ok")
    record = server.wait_for_record(lambda record: record.get("transport") == "grpc")
    assert (record["caller"], record["outcome"]) == ("bob", "ok")


def test_the_page_is_open_to_whoever_has_a_certificate_and_keeps_apart_from_other_windows(client: Client) -> None:
    answer = client.http("GET", "/", None)
    assert (answer.status_code, answer.headers["cross-origin-opener-policy"]) == (200, "same-origin")


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED)
def test_other_tokens_open_nothing(client: Client, value: str | None) -> None:
    for method, path in (
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/v1/limits"),
        ("POST", "/v1/encode"),
        ("GET", "/v2/health/ready"),
        ("POST", "/v2/repository/index"),
        ("GET", "/nothing"),
    ):
        answer = client.http(method, path, value)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert client.list_models(value) is grpc.StatusCode.UNAUTHENTICATED


def test_health_is_told_to_whoever_has_a_certificate_and_reflection_is_not(client: Client) -> None:
    with client.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_S).status == 1
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
        requests = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.RpcError) as refused:
            list(reflection.ServerReflectionInfo(requests, timeout=PATIENCE_S))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_strangers_are_not_even_asked_for_a_token(server: RunningServer, ca: trustme.CA) -> None:
    for stranger in (Caller(ca), Caller(ca, clients=trustme.CA()), Caller(trustme.CA(), clients=ca)):
        client = Client(server, stranger)
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            client.http("GET", "/v1/models", f"Bearer {ALICE}")
        assert client.list_models(f"Bearer {ALICE}") is grpc.StatusCode.UNAVAILABLE
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{server.http_port}/v1/models", timeout=PATIENCE_S, trust_env=False)


def test_the_operators_port_is_plain_and_its_probes_are_open(server: RunningServer) -> None:
    check = command("healthcheck", environ={"TOTALVI_ADMIN_PORT": str(server.admin_port)})
    assert (check.returncode, check.stderr) == (0, "")
    assert ask(server, "metrics").status_code == 200
    assert admin(server, "GET", "", OPERATOR).status_code == 200
    for token in (None, ALICE, OPERATOR.lower()):
        assert admin(server, "GET", "", token).status_code == 401


def test_a_swapped_secret_is_taken_up_by_both_transports(
    server: RunningServer, client: Client, secret: Secret, ca: trustme.CA
) -> None:
    after = trustme.CA()
    secret.write(f"carol {LATER}\n", after, after)
    for news in ("the certificates were renewed", "tokens: 1, of 1 callers"):
        server.wait_for(news)
    changed = Client(server, Caller(after, clients=after))
    # HTTP's listener is renewed by the loop, which has just been told.
    assert until(lambda: changed.lets_in(f"Bearer {LATER}"))
    assert changed.list_models(f"Bearer {LATER}") == [synthetic.NAME]
    assert changed.http("GET", "/v1/models", f"Bearer {ALICE}").status_code == 401
    assert changed.list_models(f"Bearer {ALICE}") is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        client.http("GET", "/v1/models", f"Bearer {LATER}")
    assert client.list_models(f"Bearer {LATER}") is grpc.StatusCode.UNAVAILABLE


def test_no_secret_is_in_the_log_even_when_all_is_told(server: RunningServer, secret: Secret) -> None:
    """The last of this file: it looks at all that the tests before it have had logged."""
    assert server.stop() == 0
    log = "\n".join(server.lines)
    assert {record.get("outcome") for record in server.records} >= {"ok", "unauthenticated"}
    secrets = [ALICE, BOB, EXPIRED, LATER, OPERATOR, GUESS, ALICE.swapcase(), "BEGIN", *secret.keys()]
    assert len(secrets) > 10
    assert [word for word in secrets if word in log] == []
    assert str(secret.folder) not in log
    assert not re.search("bearer ", log, re.IGNORECASE)
    assert "Traceback" not in log
