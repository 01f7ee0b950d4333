"""A server as a process of its own: started, waited for, its processor time and memory read, and ended by its id."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
START_S, STOP_S = 60.0, 10.0


def cpu_s(pid: int) -> float:
    """User and system time of a process and its threads so far, of its own clock: /proc/<pid>/stat counts in 10 ms."""
    return time.clock_gettime(~pid << 3 | 2)  # Linux's CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it


def rss_bytes(pid: int) -> int:
    """Memory of a process that is resident now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class ServerProcess:
    """A Python module that serves on 127.0.0.1 until it is ended, as a context manager.

    Args:
        module: run with `python -m`.
        arguments: of it.
        sign: key of the JSON line by which it says that it is ready; the line is kept in `facts`.
    """

    def __init__(self, module: str, *arguments: object, sign: str = "port") -> None:
        self.facts: Mapping[str, int] = {}
        self._command = [sys.executable, "-m", module, *map(str, arguments)]
        self._sign = sign

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("TOTALVI_")}
        # One thread for everyone, so that CPU time per cell is compared and not the spinning of OpenMP.
        environ |= {"OMP_NUM_THREADS": "1"}
        self._log = tempfile.NamedTemporaryFile(suffix=".log")
        self._process = subprocess.Popen(
            self._command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever it is doing."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def stop(self) -> tuple[int, list[str]]:
        """End it in order; its exit code, and the lines of its log that are more than news."""
        self._process.terminate()
        code = self._process.wait(STOP_S)
        news = ('"level":"debug"', '"level":"info"')
        lines = Path(self._log.name).read_text().splitlines()
        return code, [line for line in lines if not any(level in line.replace(" ", "") for level in news)]

    @property
    def log(self) -> Path:
        """What it has written so far."""
        return Path(self._log.name)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._process.poll() is None:
            for line in Path(self._log.name).read_text().splitlines():
                if line.startswith("{") and self._sign in (facts := json.loads(line)):
                    self.facts = facts
                    return
            time.sleep(0.05)
        raise RuntimeError(f"{' '.join(self._command)} did not start:\n{Path(self._log.name).read_text()[-2000:]}")


def our_server(models: Path, *flags: object, module: str = "service") -> ServerProcess:
    """`totalvi-serve run` on free ports and one thread; `facts` has `http_port`, `grpc_port` and `admin_port`."""
    ports = [text for door in ("http", "grpc", "admin") for text in (f"--{door}-port", 0)]
    settings = ("--threads", 1, "--drain-delay-s", 0, "--log-format", "json")
    return ServerProcess(module, "run", "--models", models, *ports, *settings, *flags, sign="http_port")
