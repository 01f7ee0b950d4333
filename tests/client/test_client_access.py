"""Tokens, TLS and client certificates, against a server that asks for all of them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.certificates import Files
from tests.client.asked import given
from tests.client.ways import open_way
from tests.end_to_end import synthetic
from tests.end_to_end.server import RunningServer
from totalvi_client import Unauthenticated, Unreachable, Untrusted

TOKEN = "Alice-0123456789abcdef"
CELLS = synthetic.cells(3)


class Own:
    """The files of a caller."""

    def __init__(self, folder: Path, server: trustme.CA, clients: trustme.CA) -> None:
        folder.mkdir()
        self.ca_file, chain, key = (folder / name for name in ("ca.pem", "own.pem", "own.key"))
        server.cert_pem.write_to_path(self.ca_file)
        issued = clients.issue_cert("caller@example.org")
        chain.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(key)
        self.certificate = (chain, key)


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA) -> Own:
    return Own(tmp_path_factory.mktemp("own") / "files", ca, ca)


@pytest.fixture(scope="module")
def guarded(
    synthetic_models: Path, tmp_path_factory: pytest.TempPathFactory, ca: trustme.CA
) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("secret")
    files = Files(folder)
    files.write(ca, ca)
    (folder / "tokens").write_text(f"alice {TOKEN}\n")
    flags = {
        "--tokens-file": folder / "tokens",
        "--tls-cert": files.cert,
        "--tls-key": files.key,
        "--tls-client-ca": files.client_ca,
        "--drain-delay-s": "0",
    }
    with RunningServer(synthetic_models, *(text for pair in flags.items() for text in pair)) as running:
        yield running.wait_until_ready()


def test_all_of_them_open_the_door(way: str, guarded: RunningServer, own: Own) -> None:
    with open_way(
        way,
        guarded.http_port,
        guarded.grpc_port,
        secure=True,
        token=TOKEN,
        ca_file=own.ca_file,
        certificate=own.certificate,
    ) as client:
        found = client.encode(**given(CELLS))
        assert [card.name for card in client.models()] == [synthetic.NAME]
    record = guarded.wait_for_record(lambda record: record.get("request_id") == found.request_id)
    assert (record["caller"], record["outcome"]) == ("alice", "ok")


@pytest.mark.parametrize("token", [None, "Wrong-0123456789abcdef"])
def test_another_token_or_none(
    way: str, guarded: RunningServer, own: Own, token: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        open_way(
            way,
            guarded.http_port,
            guarded.grpc_port,
            secure=True,
            token=token,
            ca_file=own.ca_file,
            certificate=own.certificate,
        ) as client,
        pytest.raises(Unauthenticated) as caught,
    ):
        client.encode(**given(CELLS))
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value)) + caplog.text
    assert "Wrong-0123456789abcdef" not in told


def test_certificates_that_are_not_trusted(way: str, guarded: RunningServer, own: Own, tmp_path: Path) -> None:
    strangers = trustme.CA()
    not_ours = Own(tmp_path / "server", strangers, strangers)
    pauses: list[float] = []

    def refused(kind: type[Exception], **options: Any) -> None:
        with (
            open_way(
                way, guarded.http_port, guarded.grpc_port, secure=True, on_pause=pauses.append, token=TOKEN, **options
            ) as client,
            pytest.raises(kind),
        ):
            client.encode(**given(CELLS))

    refused(Untrusted, ca_file=not_ours.ca_file, certificate=own.certificate)
    assert pauses == []
    # How a server's refusal looks depends on who closes first.
    refused(Unreachable, ca_file=own.ca_file)
    refused(Unreachable, ca_file=own.ca_file, certificate=not_ours.certificate)


def test_a_plain_caller_at_a_tls_port(way: str, guarded: RunningServer) -> None:
    with (
        open_way(way, guarded.http_port, guarded.grpc_port, on_pause=lambda _: None) as client,
        pytest.raises(Unreachable),
    ):
        client.models()
