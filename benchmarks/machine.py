"""What a table must say of where it was measured."""

from __future__ import annotations

import os
import platform
import socket
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "numpy", "grpcio", "protobuf", "fastapi", "pydantic", "uvicorn", "orjson")


def facts() -> dict[str, str]:
    """Name, processor, cores and load of this machine, and the versions in use."""
    return {
        "machine": socket.gethostname(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        **{package: version for package in PACKAGES if (version := _version(package))},
    }


def described() -> str:
    """The facts in a line."""
    known = facts()
    name, processor, cores, load = (known.pop(key) for key in ("machine", "processor", "cores", "load average"))
    versions = ", ".join(f"{package} {version}" for package, version in known.items())
    return f"{name}: {processor}, {cores} cores, load average {load}; {versions}"


def _version(package: str) -> str | None:
    # A machine with a GPU may hold no more than the encoder needs.
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown processor")
