"""Which version of the service this is."""

from __future__ import annotations

import importlib.metadata

DISTRIBUTION = "totalvi-serve"


def installed_version() -> str:
    """The version that was installed; `unknown` in a checkout that never was."""
    try:
        return importlib.metadata.version(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
