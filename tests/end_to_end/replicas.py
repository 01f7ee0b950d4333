"""Replicas of the service on ports that stay theirs, so that a proxy finds them again after a restart."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.end_to_end.proxy import GRPC_PORT, REPLICA_PORTS, REST_PORT, Nginx, Proxy
from tests.end_to_end.server import RunningServer

_FIRST, _LAST = 20_000, 32_000
"""Below the ports that Linux gives to outgoing connections: while a replica is down, nobody takes its own."""


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on now; different processes begin to look at different places."""
    start = _FIRST + os.getpid() * 101 % (_LAST - _FIRST)
    candidates = itertools.chain(range(start, _LAST), range(_FIRST, start))
    return list(itertools.islice(filter(_is_free, candidates), n))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Replicas:
    """Servers of the same models.

    Attributes:
        servers: the running ones.
        ended: those that were restarted or killed.
        ports: REST, gRPC and operators' of each.
    """

    def __init__(self, stack: contextlib.ExitStack, models: Path, *flags: object) -> None:
        self._stack, self._models, self._flags = stack, models, flags
        taken = free_ports(3 * len(REPLICA_PORTS) + 2)
        self.proxy_ports, taken = taken[:2], taken[2:]
        self.ports = [tuple(taken[3 * i : 3 * i + 3]) for i in range(len(REPLICA_PORTS))]
        self.servers = [self._started(i) for i in range(len(REPLICA_PORTS))]
        self.ended: list[RunningServer] = []
        for server in self.servers:
            server.wait_until_ready()

    def _started(self, index: int) -> RunningServer:
        doors = zip(("http", "grpc", "admin"), self.ports[index], strict=True)
        ports = [text for door, port in doors for text in (f"--{door}-port", port)]
        return self._stack.enter_context(RunningServer(self._models, *self._flags, *ports))

    def end(self, index: int, signum: signal.Signals = signal.SIGTERM) -> int:
        """Send a replica a signal and wait for its exit code."""
        server = self.servers[index]
        self.ended.append(server)
        return server.stop(signum)

    def begin(self, index: int) -> None:
        """Start a replica that has ended, on its ports, and wait until it is ready."""
        self.servers[index] = self._started(index)
        self.servers[index].wait_until_ready()

    def proxied(self, folder: Path, proxy: type[Proxy] = Nginx) -> Proxy:
        """A proxy before them, not started."""
        ports = dict(zip((REST_PORT, GRPC_PORT), self.proxy_ports, strict=True))
        for theirs, ours in zip(REPLICA_PORTS, self.ports, strict=True):
            ports |= dict(zip(theirs, ours, strict=True))
        return proxy(folder, ports)

    def complaints(self) -> list[str]:
        """All that they said beyond their news."""
        servers = [*self.ended, *self.servers]
        told = [record for server in servers for record in server.records]
        return [record["message"] for record in told if record["level"] not in ("debug", "info")] + [
            line for server in servers for line in server.lines if not line.startswith("{")
        ]


@contextlib.contextmanager
def proxied_replicas(
    models: Path, folder: Path, *flags: object, proxy: type[Proxy] = Nginx
) -> Iterator[tuple[Replicas, Proxy]]:
    """Three ready replicas behind a proxy."""
    with contextlib.ExitStack() as stack:
        replicas = Replicas(stack, models, *flags)
        yield replicas, stack.enter_context(replicas.proxied(folder, proxy))
