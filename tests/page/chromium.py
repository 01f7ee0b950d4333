"""Debian's Chromium, where it is installed."""

from __future__ import annotations

import os
import shutil

from tests.saves import ROOT

CHROMIUM = shutil.which("chromium")

AXE = ROOT / "page" / "node_modules" / "axe-core" / "axe.min.js"

REQUIRED = os.environ.get("PAGE_TESTS") == "required"
"""As .ci/run says it: there, what is missing is a failure and no reason to leave anything out."""

ARGUMENTS = (
    "--no-sandbox",  # which root has none of
    "--disable-dev-shm-usage",  # which containers have little of
)


def missing() -> str:
    """Why tests with a browser are left out; empty: it is installed."""
    return "" if CHROMIUM else "chromium is not installed (Debian: make chromium)"


def axe_missing() -> str:
    """Why axe-core's tests are left out; empty: it is installed."""
    return "" if AXE.exists() else "axe-core is not installed (make page)"
