"""client/README.md: what it says works when it is copied and pasted."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.example_service import at, blocks, command_in, run_shell
from tests.end_to_end.server import RunningServer
from tests.saves import ROOT
from totalvi_client import Choices, cli

pytest.importorskip("anndata")

README = ROOT / "client" / "README.md"


@pytest.mark.timeout(300)
def test_the_shell_lines(tmp_path: Path, example: RunningServer) -> None:
    pytest.importorskip("matplotlib")
    serve, install, newcomer, scanpy, commands, tls = blocks(README, "sh")
    assert serve == "make serve\n"
    assert "pip install './client[all]'" in install
    assert scanpy == "pip install scanpy\n"  # which `all` does not bring, and the Python lines import
    assert "--token-file" in tls
    if shutil.which("jq") is None:
        commands = commands.replace("| jq '.genes.coverage'", "")
    commands = commands.replace("totalvi-client plot", "totalvi-client plot --method pca")  # one UMAP takes long enough
    environ = {"TOTALVI_CLIENT_SERVER": f"http://127.0.0.1:{example.http_port}"}
    for lines in (newcomer, commands):
        done = run_shell(f'PATH="{command_in(tmp_path)}:$PATH"\nset -e\n{lines}', tmp_path, environ)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(("1", "{"))
    assert {"encoded.h5ad", "umap.png", "distribution.h5ad", "both.png", "latent.csv"} <= set(os.listdir(tmp_path))
    assert struct.unpack(">I", (tmp_path / "umap.png").read_bytes()[16:20]) > (600,)
    # The commands that the help shows are understood.
    for line in tls.splitlines():
        cli._parser().parse_args(line.split()[1:])


@pytest.mark.timeout(300)
def test_the_python_lines(tmp_path: Path, example: RunningServer) -> None:
    """One after the other, as in one notebook."""
    pytest.importorskip("scanpy")
    code = at(example, "\n".join(blocks(README, "python")))
    code += "\nassert adata.obsm['X_totalVI'].shape == (600, 20) and 'X_umap' in adata.obsm\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "client")},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "600 cells, 20 latent dimensions, model pbmc version 1"
    assert "(2, 20) 0." in done.stdout
    assert any(line.startswith("gene_counts 0 ") for line in lines)
    assert lines[-3:] == ["200"] * 3


def test_every_option_of_the_tables_is_there() -> None:
    text = README.read_text()
    known = flags(cli._parser())
    assert set(re.findall(r"`[^`]*?(--[a-z][a-z-]+)", text)) <= known
    choices = {field for field in Choices.__dataclass_fields__}
    rows = re.findall(r"^\| `--[^|]*\| ([^|]*)\|", text, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}
    assert named <= choices | {"totalvi_client.plot"}


def flags(parser: argparse.ArgumentParser) -> set[str]:
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                found |= flags(part)
    return found


def test_the_picture_is_small() -> None:
    (name,) = re.findall(r"\]\(\.\./(docs/images/.*?)\)", README.read_text())
    assert (ROOT / name).stat().st_size < 200_000
