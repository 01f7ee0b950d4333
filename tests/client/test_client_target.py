from __future__ import annotations

import copy
import pickle
import traceback
from pathlib import Path

import pytest

from totalvi_client import AsyncClient, Client
from totalvi_client.errors import InputError
from totalvi_client.target import read_target

TOKEN = "Quite-secret-0123456789"


@pytest.mark.parametrize(
    ("text", "address", "is_rest", "secure", "is_local"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000", True, False, True),
        ("HTTPS://example.org/totalvi/", "https://example.org/totalvi", True, True, False),
        ("http://localhost:8000/", "http://localhost:8000", True, False, True),
        ("http://[::1]:8000", "http://[::1]:8000", True, False, True),
        ("grpc://127.0.0.1:8001", "dns:///127.0.0.1:8001", False, False, True),
        ("grpcs://example.org:443/", "dns:///example.org:443", False, True, False),
        ("dns:///encoders.example.org:8001", "dns:///encoders.example.org:8001", False, False, False),
        ("grpc://[::1]:8001", "dns:///[::1]:8001", False, False, True),
        # Only the name itself is this machine.
        ("http://localhost.example.org", "http://localhost.example.org", True, False, False),
        ("http://127.0.0.1.example.org", "http://127.0.0.1.example.org", True, False, False),
    ],
)
def test_addresses(text: str, address: str, is_rest: bool, secure: bool, is_local: bool) -> None:
    target = read_target(text)
    found = (target.address, target.is_rest, target.secure, target.is_local)
    assert found == (address, is_rest, secure, is_local)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("127.0.0.1:8000", "begins with http://"),
        ("ftp://x", "begins with http://"),
        ("http://", "names no host"),
        ("http://host:port", "cannot be read"),
        ("http://host:99999", "cannot be read"),
        ("grpc://host", "HOST:PORT"),
        ("grpc://host:1/path", "HOST:PORT"),
        ("http://host/?a=b", "ends with its host"),
    ],
)
def test_what_are_no_addresses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_target(text)


def test_tls_is_said_by_the_scheme_or_for_dns_by_the_options(tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("")
    assert read_target("dns:///host:1", tls=True).secure
    assert read_target("dns:///host:1", ca_file=ca).secure
    assert not read_target("dns:///host:1", tls=False).secure
    for text, tls in (("http://host", True), ("https://host", False), ("grpc://host:1", True)):
        with pytest.raises(InputError, match="speaks TLS"):
            read_target(text, tls=tls)
    with pytest.raises(InputError, match="are for TLS"):
        read_target("http://host", ca_file=ca)
    with pytest.raises(InputError, match="cannot be read"):
        read_target("https://host", ca_file=tmp_path / "none")


@pytest.mark.parametrize("text", ["http://host:8000", "grpc://host:8001", "dns:///host:8001", "http://192.168.0.1"])
def test_a_token_does_not_travel_in_the_open(text: str) -> None:
    with pytest.raises(InputError, match="without TLS") as refused:
        read_target(text, token=TOKEN)
    assert TOKEN not in str(refused.value)
    assert read_target(text, token=TOKEN, allow_plain_token=True).bearer() == f"Bearer {TOKEN}"


@pytest.mark.parametrize("text", ["https://host", "grpcs://host:1", "http://127.0.0.1:8000", "grpc://localhost:8001"])
def test_it_travels_under_tls_or_on_the_machine(text: str) -> None:
    assert read_target(text, token=f"{TOKEN}\n").bearer() == f"Bearer {TOKEN}"


@pytest.mark.parametrize("token", ["", " ", "two words", "ünsichtbar", "a\nb", 5])
def test_what_are_no_tokens(token: str) -> None:
    with pytest.raises(InputError, match="visible ASCII") as refused:
        read_target("https://host", token=token)
    assert not str(token).strip() or str(token) not in str(refused.value)


def test_users_and_passwords_are_neither_taken_nor_told() -> None:
    with pytest.raises(InputError) as refused:
        read_target(f"https://alice:{TOKEN}@host")
    assert TOKEN not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("text", ["http://127.0.0.1:1", "grpc://127.0.0.1:1"])
async def test_no_text_shows_the_token(kind: type[Client] | type[AsyncClient], text: str) -> None:
    client = kind(text, token=TOKEN)
    target = client._target
    for shown in (repr(client), str(client), repr(target), repr(vars(client)), repr(target.token)):
        assert TOKEN not in shown
    assert "127.0.0.1:1" in repr(client)
    with pytest.raises(TypeError):
        pickle.dumps(target)
    with pytest.raises(TypeError):
        copy.deepcopy(target)
    closing = client.close()
    if closing is not None:
        await closing


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}, {"priority": "urgent"}],
    ids=str,
)
def test_options_that_cannot_work(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Client("http://127.0.0.1:1", **options)  # type: ignore[arg-type]
