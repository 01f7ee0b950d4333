"""The three servers of a process on one loop: callers' REST and gRPC, and the operators' HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, cast

import grpc
import uvicorn

from service.certificates import Certificates, Identity
from service.http_connection import BoundedConnection
from service.settings import ConnectionSettings, ListenSettings, flag

AsgiApp: TypeAlias = Callable[..., Awaitable[None]]

LINGER_S = 3.0
"""What answers on their way out get, and gRPC streams that carry none."""


FIRST_CALL_S = 0.2
"""What a connection made at the last moment gets to send its call."""


class ListenError(Exception):
    """A port cannot be listened on."""


class Doors:
    """The three servers of a process. Their ports are taken at construction, before anything slow.

    Until the service is ready REST answers that it is not, which a proxy takes as a reason to ask another replica. What
    gRPC says of that no proxy understands: its port refuses connections, and these do go elsewhere.
    """

    def __init__(
        self,
        listen: ListenSettings,
        connections: ConnectionSettings,
        *,
        http_app: AsgiApp,
        operator_app: AsgiApp,
        grpc_server: grpc.aio.Server,
        certificates: Certificates | None = None,
    ) -> None:
        self._grpc = grpc_server
        self._certificates = certificates
        self._host = f"[{listen.host}]" if ":" in listen.host else listen.host
        with contextlib.ExitStack() as undo:
            http = undo.enter_context(_bound(listen.host, "http_port", listen.http_port))
            operators = undo.enter_context(_bound(listen.host, "admin_port", listen.admin_port))
            self._grpc_held = undo.enter_context(_held(listen.host, "grpc_port", listen.grpc_port))
            undo.pop_all()
        self._grpc_port: int = self._grpc_held.getsockname()[1]
        self._http = _HttpServer(http_app, http, connections, certificates)
        self._operators = _HttpServer(operator_app, operators, connections)

    async def open(self) -> None:
        """Accept connections of HTTP, operators' first; the core refuses calls until it is ready."""
        self._operators.start()
        self._http.start()

    async def open_grpc(self) -> None:
        """Accept connections of gRPC, once the service is ready.

        Raises:
            ListenError: another process listens there by now.
        """
        where = f"{self._host}:{self._grpc_port}"
        with self._grpc_held:
            try:
                if self._certificates is None:
                    self._grpc.add_insecure_port(where)
                else:
                    self._grpc.add_secure_port(where, _grpc_credentials(self._certificates))
            except (RuntimeError, ValueError) as error:
                # Of a key that it cannot use grpc says no more than of a port.
                reason = "taken while the models were loaded"
                if self._certificates is not None:
                    reason += f", or gRPC cannot use {flag('tls_cert')} and {flag('tls_key')}"
                raise ListenError(f"cannot listen on {where} ({reason}): choose another {flag('grpc_port')}") from error
        await self._grpc.start()

    def ports(self) -> dict[str, int]:
        """The ports in use, by the names of their settings."""
        return {"http_port": self._http.port, "grpc_port": self._grpc_port, "admin_port": self._operators.port}

    def where(self) -> str:
        """The addresses in use, for people."""
        host, ports = self._host, self.ports()
        s = "" if self._certificates is None else "s"
        return (
            f"http{s}://{host}:{ports['http_port']}, grpc{s}://{host}:{ports['grpc_port']}, "
            f"operators http://{host}:{ports['admin_port']}"
        )

    async def broken(self) -> None:
        """Until an HTTP server ends although nobody asked it to."""
        await asyncio.wait({self._http.task, self._operators.task}, return_when=asyncio.FIRST_COMPLETED)

    async def close_callers(self, grace_s: float, n_calls: Callable[[], int]) -> None:
        """Accept no more calls (GOAWAY) and wait until those under way are answered, the gRPC ones up to `grace_s`.

        A health watch or an idle stream ends with its caller only: once no call is under way, it gets `LINGER_S`.
        """
        # A stop of grpc cuts the calls that it has taken and not handed over (https://github.com/grpc/grpc/issues/41785).
        # Who connects for each call, as nginx may, has none of these once connections have been refused for a moment.
        _refuse_connections(self._grpc_port)
        closing = asyncio.ensure_future(self._http.stop())
        await asyncio.sleep(FIRST_CALL_S)
        stopping = asyncio.ensure_future(self._grpc.stop(grace_s))
        await closing
        while n_calls() and not stopping.done():
            await asyncio.sleep(0.02)
        await asyncio.wait({stopping}, timeout=LINGER_S)
        await self._grpc.stop(None)

    async def close_operators(self) -> None:
        """Close the operators' port, whatever is under way there after a second."""
        await asyncio.wait({asyncio.ensure_future(self._operators.stop())}, timeout=1)

    def slam(self) -> None:
        """Close whatever is still open, now."""
        self._http.cancel()
        self._operators.cancel()
        self._grpc_held.close()


class _HttpServer(uvicorn.Server):
    """A uvicorn server on a bound socket that leaves the process' signals alone."""

    def __init__(
        self,
        app: AsgiApp,
        sock: socket.socket,
        connections: ConnectionSettings,
        certificates: Certificates | None = None,
    ) -> None:
        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            interface="asgi3",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            # Longer than proxies keep an idle connection (nginx: 60 s), so that theirs is the side that closes it.
            timeout_keep_alive=75,
        )
        super().__init__(config)
        self._socket = sock
        self._connections = connections
        self._certificates = certificates
        self._told = asyncio.Event()
        self._leaving = False
        self.port: int = sock.getsockname()[1]

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def main_loop(self) -> None:
        """Renew the date header each second until told to stop; uvicorn's own loop wakes ten times as often."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), timeout=1)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and on, with every new certificate: connections that stand keep theirs."""
        self.servers = []
        await self._listen()
        self.started = True
        if self._certificates is not None:
            loop = asyncio.get_running_loop()
            self._certificates.subscribe(lambda: _tell(loop, self._renew))

    async def _listen(self) -> None:
        options: dict[str, Any] = {"backlog": self.config.backlog, **self._tls()}
        self.servers.append(
            await asyncio.get_running_loop().create_server(self._connection, sock=self._socket, **options)
        )

    def _tls(self) -> dict[str, Any]:
        """What each connection is told of TLS; a context is never changed, so that no session outlives it."""
        if self._certificates is None:
            return {}
        return {"ssl": self._certificates.context, "ssl_handshake_timeout": self._connections.header_timeout_s}

    def _connection(self) -> BoundedConnection:
        return BoundedConnection(
            self._connections, config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _renew(self) -> None:
        self._renewing = asyncio.create_task(self._listen_anew())

    async def _listen_anew(self) -> None:
        """Accept with the certificate of now: by a second listener of the same socket, then without the first."""
        if self._leaving:
            return
        old = self.servers[:]
        self._socket = self._socket.dup()
        await self._listen()
        del self.servers[: len(old)]
        for listener in old:
            listener.close()

    def start(self) -> None:
        """Serve in a task of the running loop."""
        self.task = asyncio.create_task(self.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Accept no more, and wait until every call is answered."""
        self._leaving = True
        await self._close_listeners_gently()
        # uvicorn would hang up at once on a connection that has yet to send its first call.
        await asyncio.sleep(FIRST_CALL_S)
        self.should_exit = True
        self._told.set()
        await asyncio.wait({self.task})

    def cancel(self) -> None:
        """Drop everything."""
        self._leaving = True
        self.task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.close()
        self._close_listeners()
        self._socket.close()

    async def _close_listeners_gently(self) -> None:
        """Close the listeners, but serve what the kernel has taken and the loop has not: its callers would be reset."""
        if self._socket.fileno() < 0:  # it ended by itself
            return
        accepted = []
        with self._socket.dup() as listener:
            listener.setblocking(False)
            self._close_listeners()
            with contextlib.suppress(OSError):  # nothing left, or the peer has gone
                while True:
                    accepted.append(listener.accept()[0])
        loop = asyncio.get_running_loop()
        connecting = []
        for connection in accepted:
            connection.setblocking(False)
            taken = loop.connect_accepted_socket(self._connection, connection, **self._tls())
            connecting.append(asyncio.ensure_future(taken))
        if connecting:  # a handshake may take a while, or for ever
            await asyncio.wait(connecting, timeout=FIRST_CALL_S)

    def _close_listeners(self) -> None:
        for listener in getattr(self, "servers", ()):  # none before its task has begun
            listener.close()


def _held(host: str, name: str, port: int) -> socket.socket:
    """A socket that has a port but does not listen: who connects is refused, and nobody is given the port by chance.

    grpc can listen there beside it, as both have SO_REUSEADDR. Whether the port is taken is tried here: grpc would tell
    the reason only its own log.
    """
    with _bound(host, name, port) as listening:
        family, address = listening.family, listening.getsockname()
    holding = socket.socket(family, socket.SOCK_STREAM)
    holding.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holding.bind(address)
    return holding


def _refuse_connections(port: int) -> None:
    """Have this process listen on a port no more, whoever in it does; what is connected stays so.

    For grpc's listeners, which grpc closes only together with everything else. Where there is no /proc it does nothing.
    """
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return
    for link in folder.iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile, as the one that lists the folder
            if stat.S_ISSOCK(link.stat().st_mode):
                with socket.socket(fileno=os.dup(int(link.name))) as one:
                    if one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and one.getsockname()[1] == port:
                        one.shutdown(socket.SHUT_RDWR)


def _grpc_credentials(certificates: Certificates) -> grpc.ServerCredentials:
    """Credentials that are renewed: gRPC asks before each handshake, on threads of its own."""

    def configuration(identity: Identity) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(identity.key, identity.chain)], root_certificates=identity.client_ca
        )

    given = certificates.identity

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        if given is certificates.identity:
            return None  # gRPC goes on with what it has; its stubs do not know of this
        given = certificates.identity
        return configuration(given)

    return grpc.dynamic_ssl_server_credentials(configuration(given), cast(Any, renewed), certificates.asks_clients)


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # a closed loop serves nobody
        loop.call_soon_threadsafe(callback)


def _bound(host: str, name: str, port: int) -> socket.socket:
    """A listening socket. `name` is the setting that chose the port."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address, family=family, backlog=2048, dualstack_ipv6=host == "::")
    except UnicodeError as error:
        raise ListenError(f"cannot listen on {host!r}: {flag('host')} is no host name") from error
    except OSError as error:
        # A failed bind has a long-winded text, a failed look-up of the host a number of its own kind.
        short = error.errno and not isinstance(error, socket.gaierror)
        reason = os.strerror(error.errno or 0) if short else str(error.strerror or error)
        raise ListenError(
            f"cannot listen on {host}:{port} ({reason.lower()}): choose another {flag(name)} or {flag('host')}"
        ) from error
