"""What `kubectl kustomize` makes of deploy/overlays."""

from __future__ import annotations

import copy
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "deploy" / "overlays"
NAMES = sorted(folder.name for folder in OVERLAYS.iterdir() if folder.is_dir())

_BESIDE = Path(sys.executable).parent / "kubectl"
KUBECTL = str(_BESIDE) if os.access(_BESIDE, os.X_OK) else shutil.which("kubectl")
needs_kubectl = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed (make kubectl)")

Resource: TypeAlias = dict[str, Any]


def rendered(name: str) -> list[Resource]:
    """The resources of an overlay, for the caller to change."""
    return copy.deepcopy(_rendered(OVERLAYS / name))


def rendered_folder(folder: Path) -> list[Resource]:
    """The resources of any folder with a kustomization.

    Raises:
        ValueError: it cannot be rendered.
    """
    assert KUBECTL is not None
    done = subprocess.run([KUBECTL, "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode or done.stderr:  # warnings of what is deprecated, too
        raise ValueError(done.stderr)
    return [resource for resource in yaml.safe_load_all(done.stdout) if resource]


_rendered = functools.cache(rendered_folder)


def one(resources: list[Resource], kind: str, name: str | None = None) -> Resource:
    """The only resource of a kind, or the one of that name."""
    [found] = [r for r in resources if r["kind"] == kind and name in (None, r["metadata"]["name"])]
    return found
