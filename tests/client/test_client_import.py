from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = "torch anndata mudata pandas scipy h5py matplotlib umap tqdm model service fastapi pydantic"


def test_the_package_itself_is_light() -> None:
    """Its own folder alone is on the path, as where nothing else is installed."""
    code = f"import sys, totalvi_client; print(*sorted(set({HEAVY.split()}) & set(sys.modules)))"
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT / "client",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (found.returncode, found.stdout.strip(), found.stderr) == (0, "", "")
