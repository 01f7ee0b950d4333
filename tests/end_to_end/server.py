"""The real program in processes of its own: a server with its log in memory, and commands that end by themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tests.saves import ROOT

START_S = 90.0
"""To load torch and warm the models, on a busy machine."""

PATIENCE_S = 60.0
"""Only ever waited in full by a test that fails."""

COMMAND = (sys.executable, "-m", "service")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process' environment without what would configure a server by accident."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOTALVI_")}
    return own | dict(extra or {})


def command(*arguments: object, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of the program to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=ROOT,
        env=environment(environ),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


def export(saves: Mapping[str, Path], into: Path) -> None:
    """Export saves, by the name to serve each under as version 1, all at once."""
    processes = {
        name: subprocess.Popen(
            [*COMMAND, "export", str(save), "--name", name, "--version", "1", "--into", str(into)],
            cwd=ROOT,
            env=environment({"OMP_NUM_THREADS": "1"}),  # they would only be in each other's way
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, save in saves.items()
    }
    try:
        for name, process in processes.items():
            _, errors = process.communicate(timeout=START_S)
            assert process.returncode == 0, f"{name} could not be exported: {errors}"
    finally:
        for process in processes.values():
            with process:
                process.kill()


class RunningServer:
    """`python -m service run` on free ports, as a context manager: whatever happens, the process ends with it.

    Args:
        models: directory of the models.
        flags: further arguments of `run`; a repeated flag overrules ours.
        environ: variables of the process, beside our own.
        program: what to run, where it is not the real one.
    """

    def __init__(
        self,
        models: Path,
        *flags: object,
        environ: Mapping[str, str] | None = None,
        program: Sequence[str] = COMMAND,
    ) -> None:
        ports = [text for door in ("http", "grpc", "admin") for text in (f"--{door}-port", "0")]
        self._arguments = [*program, "run", "--models", str(models), *ports, "--log-format", "json", *map(str, flags)]
        self._environ = environment(environ)
        self._news = threading.Condition()
        self._lines: list[str] = []
        self._records: list[dict[str, Any]] = []
        self._ended = False

    def __enter__(self) -> Self:
        """Start the process; `wait_until_ready` waits for it."""
        self._process = subprocess.Popen(
            self._arguments,
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="server-log", daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End the process, if it still runs, by its own id."""
        self._process.kill()
        self._reader.join(PATIENCE_S)
        assert not self._reader.is_alive(), "the killed server did not end"

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with self._news:
                    self._lines.append(line.rstrip("\n"))
                    if line.startswith("{"):
                        self._records.append(json.loads(line))
                    self._news.notify_all()
        self._process.wait()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def lines(self) -> list[str]:
        """What it has written so far, on either stream."""
        with self._news:
            return list(self._lines)

    @property
    def records(self) -> list[dict[str, Any]]:
        """Its log so far."""
        with self._news:
            return list(self._records)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        with self._news:
            return not self._ended

    def wait_for(self, text: str, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The first record whose message holds `text`, once it is there."""
        return self.wait_for_record(lambda record: text in record["message"], timeout_s, what=repr(text))

    def wait_for_record(
        self, fits: Callable[[dict[str, Any]], bool], timeout_s: float = PATIENCE_S, what: str = "it"
    ) -> dict[str, Any]:
        """The first record that fits, once it is there."""
        with self._news:
            found = self._news.wait_for(lambda: next(filter(fits, self._records), self._ended), timeout_s)
        assert isinstance(found, dict), self._tale(f"the server did not log {what}")
        return found

    def wait_until_listening(self) -> Self:
        """Its ports take calls, while its models are still being loaded."""
        message = self.wait_for("listening").get("message", "")
        self.http_port, self.grpc_port, self.admin_port = map(int, re.findall(r":(\d+)\b", message))
        return self

    def wait_until_ready(self) -> Self:
        """Its models are loaded."""
        record = self.wait_for("ready: http", START_S)
        self.http_port, self.grpc_port, self.admin_port = (record[f"{door}_port"] for door in ("http", "grpc", "admin"))
        return self

    def send(self, signum: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(signum)

    def has_ended(self, timeout_s: float) -> bool:
        """Whether it ends within that time."""
        with self._news:
            return bool(self._news.wait_for(lambda: self._ended, timeout_s))

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, once it has ended."""
        assert self.has_ended(timeout_s), self._tale("it did not end")
        return self._process.returncode

    def stop(self, signum: signal.Signals = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        """Send it a signal and return its exit code."""
        self.send(signum)
        return self.wait(timeout_s)

    def _tale(self, what: str) -> str:
        return "\n".join([what, *self._lines[-50:]])
