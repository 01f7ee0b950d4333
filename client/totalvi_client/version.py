"""Which version of the client this is."""

from __future__ import annotations

import importlib.metadata


def installed_version() -> str:
    """The version that was installed; `unknown` in a checkout that never was."""
    try:
        return importlib.metadata.version("totalvi-client")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
