"""Real proxies before replicas, with the configurations that we give to others: deploy/nginx and deploy/haproxy."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Self

from tests.end_to_end.operators import until
from tests.end_to_end.server import PATIENCE_S
from tests.saves import ROOT

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

REST_PORT, GRPC_PORT = 9000, 9001
"""Of the proxy, in either configuration."""
REPLICA_PORTS = ((8000, 8001, 8002), (8010, 8011, 8012), (8020, 8021, 8022))
"""REST, gRPC and operators' of each replica, in the configurations."""

_AROUND = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include {0};
}}
"""


class Proxy:
    """A proxy in the foreground with other ports than its file's, as a context manager.

    Args:
        folder: of its files.
        ports: what to use, by the ports that stand in the configuration; every one of them.
    """

    program: ClassVar[str | None]
    configuration: ClassVar[Path]

    def __init__(self, folder: Path, ports: Mapping[int, int]) -> None:
        self.rest_port, self.grpc_port = ports[REST_PORT], ports[GRPC_PORT]
        self._folder = folder
        self._file = folder / self.configuration.name
        self._file.write_text(
            re.sub(
                r"(127\.0\.0\.1:|check port )(\d+)",
                lambda at: f"{at[1]}{ports[int(at[2])]}",
                self.configuration.read_text(),
            )
        )

    def command(self, program: str) -> Sequence[str]:
        """What starts it with that file."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        assert self.program is not None
        self._log = (self._folder / "error.log").open("w+")
        self._process = subprocess.Popen(
            self.command(self.program), stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        if not until(lambda: self._process.poll() is not None or connects(self.grpc_port)) or self._process.poll():
            self.__exit__()
            raise AssertionError(f"{self.program} did not start: {self.complaints()}")
        return self

    def __exit__(self, *_: object) -> None:
        """End it by its id; its worker goes with it."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._log.close()

    def told(self) -> list[str]:
        """What it has logged so far."""
        return (self._folder / "error.log").read_text().splitlines()

    def complaints(self) -> list[str]:
        """What it has logged that is not to be."""
        return self.told()


class Nginx(Proxy):
    """nginx, which learns of a replica only from the calls it sends there."""

    program = NGINX
    configuration = ROOT / "deploy" / "nginx" / "totalvi.conf"

    def command(self, program: str) -> Sequence[str]:
        """In the foreground, with its folders under the test's."""
        main = self._folder / "nginx.conf"
        main.write_text(_AROUND.format(self._file))
        command = [program, "-p", str(self._folder), "-c", str(main), "-e", "stderr"]
        if os.geteuid() == 0:  # else its worker would be nobody, who cannot write here
            command += ["-g", "user root;"]
        return command


class Haproxy(Proxy):
    """HAProxy, which asks each replica whether it is ready."""

    program = HAPROXY
    configuration = ROOT / "deploy" / "haproxy" / "haproxy.cfg"

    def command(self, program: str) -> Sequence[str]:
        """In the foreground."""
        return [program, "-db", "-f", str(self._file)]

    def complaints(self) -> list[str]:
        """All but the news of which replica is up or down."""
        return [line for line in self.told() if not re.search(r"Server (rest|page|grpc)/[abc] is (UP|DOWN)", line)]


def missing(proxy: type[Proxy]) -> str:
    """Why tests of a proxy are left out; empty: it is installed."""
    name = proxy.__name__.lower()
    return "" if proxy.program else f"{name} is not installed (Debian: make {name})"


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True
