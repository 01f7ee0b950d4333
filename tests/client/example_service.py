"""The documents' own example, served; and their code, taken out of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.end_to_end.server import RunningServer
from tests.saves import ROOT


def blocks(document: Path, language: str) -> list[str]:
    """The code of one language in a Markdown document, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def at(server: RunningServer, code: str) -> str:
    """Code that is written for the usual ports, for the ports of this server."""
    return code.replace(":8000", f":{server.http_port}").replace(":8001", f":{server.grpc_port}")


def run_shell(code: str, folder: Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run lines of a document as a person would who stands in the repository, but write into `folder`."""
    for name in ("examples", "proto", "client"):
        if not (folder / name).exists():
            (folder / name).symlink_to(ROOT / name)
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOTALVI_")}
    return subprocess.run(
        ["bash", "-uo", "pipefail", "-c", code],
        cwd=folder,
        env=own | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def command_in(folder: Path) -> Path:
    """A folder for PATH with `totalvi-client` as an installation would put it there, of the sources at hand."""
    (folder / "bin").mkdir(exist_ok=True)
    script = folder / "bin" / "totalvi-client"
    script.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT / "client"}" exec {sys.executable} -m totalvi_client "$@"\n')
    script.chmod(0o755)
    return folder / "bin"
