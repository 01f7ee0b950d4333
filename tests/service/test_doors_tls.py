"""The doors with TLS, and what a slow caller gets from real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import trustme

from service.certificates import Certificates
from service.doors import Doors, ListenError
from service.settings import ConnectionSettings, ListenSettings
from tests.certificates import Caller, Files

PATIENCE_S = 10.0
LISTEN = ListenSettings(http_port=0, grpc_port=0, admin_port=0)


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


async def echo(request: bytes, context: object) -> bytes:
    return request


Open = Callable[..., Any]


@pytest.fixture
async def open_doors() -> AsyncIterator[Open]:
    async with contextlib.AsyncExitStack() as closing:

        async def open_doors(certificates: Certificates | None = None, **bounds: Any) -> Doors:
            handshake_ms = round(bounds.get("header_timeout_s", PATIENCE_S) * 1000)
            server = grpc.aio.server(options=[("grpc.server_handshake_timeout_ms", handshake_ms)])
            methods = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("fake", methods),))
            doors = Doors(
                LISTEN,
                ConnectionSettings(**bounds),
                http_app=answer,
                operator_app=answer,
                grpc_server=server,
                certificates=certificates,
            )

            async def close() -> None:
                await doors.close_callers(0, lambda: 0)
                await doors.close_operators()
                doors.slam()

            closing.push_async_callback(close)
            await doors.open()
            await doors.open_grpc()
            return doors

        yield open_doors


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    files = Files(tmp_path)
    files.write(ca, clients=ca)
    return files


def client(caller: Caller) -> httpx.AsyncClient:
    return httpx.AsyncClient(verify=caller.context(), trust_env=False, timeout=PATIENCE_S)


async def get(doors: Doors, caller: Caller) -> int:
    async with client(caller) as callers:
        return (await callers.get(f"https://127.0.0.1:{doors.ports()['http_port']}/")).status_code


async def rpc(doors: Doors, caller: Caller) -> bytes:
    # Channels of one process share connections unless told not to.
    options = [("grpc.use_local_subchannel_pool", 1)]
    address = f"127.0.0.1:{doors.ports()['grpc_port']}"
    async with grpc.aio.secure_channel(address, caller.credentials(), options) as channel:
        return await channel.unary_unary("/fake/Echo")(b"hello", timeout=PATIENCE_S)


async def assert_let_in(doors: Doors, caller: Caller) -> None:
    assert await get(doors, caller) == 200
    assert await rpc(doors, caller) == b"hello"


async def assert_kept_out(doors: Doors, caller: Caller) -> None:
    with pytest.raises((httpx.TransportError, ssl.SSLError)):
        await get(doors, caller)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await rpc(doors, caller)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_both_callers_ports_are_encrypted_and_the_operators_is_not(open_doors, files, ca):
    doors = await open_doors(Certificates(files.cert, files.key))
    ports = doors.ports()
    assert doors.where() == (
        f"https://127.0.0.1:{ports['http_port']}, grpcs://127.0.0.1:{ports['grpc_port']}, "
        f"operators http://127.0.0.1:{ports['admin_port']}"
    )
    await assert_let_in(doors, Caller(ca))
    await assert_kept_out(doors, Caller(trustme.CA()))
    async with httpx.AsyncClient(trust_env=False) as plain:
        assert (await plain.get(f"http://127.0.0.1:{ports['admin_port']}/")).status_code == 200
        with pytest.raises(httpx.TransportError):
            await plain.get(f"http://127.0.0.1:{ports['http_port']}/")


async def test_callers_without_a_certificate_are_kept_out_where_one_is_asked_for(open_doors, files, ca):
    doors = await open_doors(Certificates(files.cert, files.key, files.client_ca))
    await assert_let_in(doors, Caller(ca, clients=ca))
    await assert_kept_out(doors, Caller(ca))
    await assert_kept_out(doors, Caller(ca, clients=trustme.CA()))


async def test_new_connections_get_the_new_certificates_and_old_ones_live_on(open_doors, files, ca):
    certificates = Certificates(files.cert, files.key, files.client_ca)
    doors = await open_doors(certificates)
    old, other = Caller(ca, clients=ca), trustme.CA()
    new = Caller(other, clients=other)
    url, address = (f"127.0.0.1:{doors.ports()[name]}" for name in ("http_port", "grpc_port"))
    async with client(old) as kept, grpc.aio.secure_channel(address, old.credentials()) as channel:
        call = channel.unary_unary("/fake/Echo")
        assert (await kept.get(f"https://{url}/")).status_code == 200
        assert await call(b"before") == b"before"
        for _ in range(2):
            files.write(other, clients=other)
            await asyncio.to_thread(certificates.refresh)
            await let_in_by_now(doors, new)
            await assert_let_in(doors, new)
            # The CA of callers has changed as well.
            await assert_kept_out(doors, old)
            await assert_kept_out(doors, Caller(other, clients=ca))
            assert (await kept.get(f"https://{url}/")).status_code == 200
            assert await call(b"after") == b"after"
            (other, ca), (new, old) = (ca, other), (old, new)


async def let_in_by_now(doors: Doors, caller: Caller) -> None:
    """HTTP's listener is renewed by the loop, which has been told but may have had no turn."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(httpx.TransportError, ssl.SSLError):
                assert await get(doors, caller) == 200
                return


async def test_certificates_that_grpc_does_not_take_are_one_line(files):
    certificates = Certificates(files.cert, files.key)
    certificates.identity = dataclasses.replace(certificates.identity, key=b"sesame")
    doors = Doors(
        LISTEN,
        ConnectionSettings(),
        http_app=answer,
        operator_app=answer,
        grpc_server=grpc.aio.server(),
        certificates=certificates,
    )
    await doors.open()
    try:
        with pytest.raises(ListenError, match=r"^cannot listen on .*, or gRPC cannot use --tls-cert and --tls-key\)"):
            await doors.open_grpc()
    finally:
        await doors.close_callers(0, lambda: 0)
        await doors.close_operators()
        doors.slam()


async def silence(port: int) -> bytes:
    """What a caller gets that connects and says nothing, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await asyncio.wait_for(reader.read(), PATIENCE_S)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("encrypted", [False, True])
async def test_no_port_waits_for_ever_for_a_caller_to_speak(open_doors, files, encrypted):
    certificates = Certificates(files.cert, files.key) if encrypted else None
    doors = await open_doors(certificates, header_timeout_s=0.05)
    said = {name: await silence(port) for name, port in doors.ports().items()}
    assert said["admin_port"].startswith(b"HTTP/1.1 408 ")
    assert said["http_port"][:13] == (b"" if encrypted else b"HTTP/1.1 408 ")


def in_the_kernel(doors: Doors) -> socket.socket:
    """A connection that the kernel has made and the loop has not seen, as long as the test awaits nothing."""
    return socket.create_connection(("127.0.0.1", doors.ports()["http_port"]), PATIENCE_S)


async def test_a_drain_answers_whom_the_kernel_has_let_in(open_doors):
    doors = await open_doors()
    with in_the_kernel(doors) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await doors.close_callers(0, lambda: 0)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


async def test_a_drain_is_not_held_up_by_a_handshake_that_does_not_come(open_doors, files, ca):
    certificates = Certificates(files.cert, files.key)
    doors = await open_doors(certificates, header_timeout_s=60)
    with in_the_kernel(doors):
        async with asyncio.timeout(PATIENCE_S):
            await doors.close_callers(0, lambda: 0)
        # Nor does a renewal open what has been closed.
        files.write(ca)
        await asyncio.to_thread(certificates.refresh)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            in_the_kernel(doors)
