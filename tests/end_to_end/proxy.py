"""The real nginx before replicas, with the configuration that we give to others: deploy/nginx/totalvi.conf."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.end_to_end.operators import until
from tests.end_to_end.server import PATIENCE_S
from tests.saves import ROOT

CONFIGURATION = ROOT / "deploy" / "nginx" / "totalvi.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
WHY_NOT = "nginx is not installed (Debian: apt-get install nginx)"

REST_PORT, GRPC_PORT = 9000, 9001
"""Of nginx, in the configuration."""
REPLICA_PORTS = ((8000, 8001), (8010, 8011), (8020, 8021))
"""REST and gRPC of each replica, in the configuration."""

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


class Nginx:
    """nginx in the foreground with other ports than the file's, as a context manager.

    Args:
        folder: of its files.
        ports: what to use, by the ports that stand in the configuration; every one of them.
    """

    def __init__(self, folder: Path, ports: Mapping[int, int]) -> None:
        self.rest_port, self.grpc_port = ports[REST_PORT], ports[GRPC_PORT]
        self._folder = folder
        included, main = folder / "totalvi.conf", folder / "nginx.conf"
        included.write_text(
            re.sub(r"127\.0\.0\.1:(\d+)", lambda at: f"127.0.0.1:{ports[int(at[1])]}", CONFIGURATION.read_text())
        )
        main.write_text(_AROUND.format(included))
        assert NGINX is not None, WHY_NOT
        self._command = [NGINX, "-p", str(folder), "-c", str(main), "-e", "stderr"]
        if os.geteuid() == 0:  # else its worker would be nobody, who cannot write here
            self._command += ["-g", "user root;"]

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        self._log = (self._folder / "error.log").open("w+")
        self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stderr=self._log)
        if not until(lambda: self._process.poll() is not None or connects(self.grpc_port)) or self._process.poll():
            self.__exit__()
            raise AssertionError(f"nginx did not start: {self.complaints()}")
        return self

    def __exit__(self, *_: object) -> None:
        """End it by its id; its worker goes with it."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._log.close()

    def complaints(self) -> list[str]:
        """What it has logged so far."""
        return (self._folder / "error.log").read_text().splitlines()


def connects(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    except (ConnectionRefusedError, ConnectionResetError):
        return False
    return True
