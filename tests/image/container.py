"""A container of the image, started with what deploy/base asks of Kubernetes, and with no network but its own."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from tests.end_to_end.operators import until
from tests.saves import EXAMPLE_MODELS, ROOT

PATIENCE_S = 30.0
"""Only ever waited in full by a test that fails; to start is to load torch."""

_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


class Container:
    """A started image, as a context manager: read-only root, no capability, processes and network of its own.

    Args:
        root: folder of the image's files.
        image: what the image says of itself (OCI): user, entry point, environment.
        folder: of the bundle and the log.
        user: `uid:gid`, in place of the image's.
        environ: further variables.
    """

    def __init__(
        self,
        root: Path,
        image: Mapping[str, Any],
        folder: Path,
        *,
        user: str | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        uid, gid = map(int, (user or image["User"]).split(":"))
        variables = [*image["Env"], *(f"{name}={value}" for name, value in (environ or {}).items())]
        self.name, self._folder = f"totalvi-{uuid.uuid4().hex[:12]}", folder
        self._runc = ["runc", "--root", str(folder / "runc")]
        bundle = {
            "ociVersion": "1.0.2",
            "hostname": "totalvi-serve",
            "process": {
                "user": {"uid": uid, "gid": gid},
                "args": [*image["Entrypoint"], *image["Cmd"]],
                "env": variables,
                "cwd": image["WorkingDir"],
                "capabilities": {which: [] for which in _SETS},
                "noNewPrivileges": True,
            },
            "root": {"path": str(root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {
                    "destination": "/models",
                    "type": "bind",
                    "source": str(EXAMPLE_MODELS),
                    "options": ["rbind", "ro"],
                },
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
        }
        (folder / "config.json").write_text(json.dumps(bundle))

    def __enter__(self) -> Self:
        """Start it; `wait_until_ready` waits for it."""
        self._log = (self._folder / "log").open("w+")
        self._process = subprocess.Popen(
            [*self._runc, "run", "--bundle", str(self._folder), self.name],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it still runs."""
        subprocess.run(
            [*self._runc, "delete", "--force", self.name], capture_output=True, timeout=PATIENCE_S, check=False
        )
        self._process.wait(PATIENCE_S)
        self._log.close()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return (self._folder / "log").read_text()

    @property
    def pid(self) -> int:
        """Its first process, as the host counts."""
        done = subprocess.run([*self._runc, "state", self.name], capture_output=True, text=True, check=True)
        return int(json.loads(done.stdout)["pid"])

    def wait_until_ready(self) -> Self:
        """Its models are loaded."""
        assert until(lambda: '"ready: http' in self.log or self._process.poll() is not None, PATIENCE_S), self.log
        assert self._process.poll() is None, self.log
        return self

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as its user."""
        return subprocess.run(
            [*self._runc, "exec", self.name, *command], capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    def beside(self, *command: str) -> subprocess.Popen[str]:
        """Start a command of the host's in its network."""
        return subprocess.Popen(
            ["nsenter", "--target", str(self.pid), "--net", *command],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def processes(self) -> dict[int, str]:
        """State of each process, by its number in there."""
        found = {}
        for line in self._statuses():
            fields = dict(field.split(":\t", 1) for field in line.splitlines() if ":\t" in field)
            found[int(fields["NSpid"].split()[-1])] = fields["State"][0]
        return found

    def _statuses(self) -> list[str]:
        namespace = os.readlink(f"/proc/{self.pid}/ns/pid")
        statuses = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(folder / "ns" / "pid") == namespace:
                    statuses.append((folder / "status").read_text())
            except OSError:  # it has ended meanwhile, or is nobody's to see
                continue
        return statuses

    def send(self, signal: str) -> None:
        """Send its first process a signal."""
        subprocess.run([*self._runc, "kill", self.name, signal], check=True, timeout=PATIENCE_S)

    def wait(self) -> int:
        """Its exit code, once it has ended."""
        return self._process.wait(PATIENCE_S)
