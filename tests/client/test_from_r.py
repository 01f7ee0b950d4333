"""docs/from-r.md: its lines, run one after the other by R, where R is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.client.example_service import blocks
from tests.end_to_end.server import RunningServer
from tests.saves import ROOT

PACKAGES = ("httr2", "Matrix", "SeuratObject", "jsonlite")


def rscript(code: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    file = folder / "lines.R"
    file.write_text(code, encoding="utf-8")
    return subprocess.run(
        ["Rscript", "--vanilla", str(file)],
        cwd=ROOT,
        env=os.environ | environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


def test_r_computes_what_rest_answers(tmp_path: Path, example: RunningServer) -> None:
    if shutil.which("Rscript") is None:
        pytest.skip("Rscript is not installed (apt-get install r-base-core)")
    wanted = ", ".join(f'"{name}"' for name in PACKAGES)
    if rscript(f"quit(status = !all(sapply(c({wanted}), requireNamespace, quietly = TRUE)))", tmp_path).returncode:
        pytest.skip("R lacks httr2, Matrix or SeuratObject (apt-get install r-cran-httr2 r-cran-seuratobject)")
    lines = "\n".join(blocks(ROOT / "docs" / "from-r.md", "r"))
    out = tmp_path / "z.tsv"
    lines += f"""
stopifnot(identical(Embeddings(object, "totalvi"), z), length(uncertainty) == 5, all(uncertainty > 0))
stopifnot(identical(dim(answer$samples$latent$z), c(3L, 5L, 20L)))
stopifnot(rownames(object[["ADT"]])[1] == "CD3-TotalSeqB", grepl("invalid: batch 'PBMC3k' is unknown", told))
sliced <- encode("pbmc", rna, adt, example$batch, slice = 2)
stopifnot(identical(sliced, z))
alone <- encode("pbmc", rna[, 1, drop = FALSE], adt[, 1, drop = FALSE], example$batch[1])
stopifnot(identical(alone, z[1, , drop = FALSE]))
write.table(z, "{out}", sep = "\\t", col.names = FALSE, quote = FALSE)
"""
    address = f"http://127.0.0.1:{example.http_port}"
    done = rscript(lines, tmp_path, TOTALVI_CLIENT_SERVER=address, TOTALVI_CLIENT_TOKEN="")
    assert done.returncode == 0, done.stderr
    request = (ROOT / "examples" / "request.json").read_bytes()
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{address}/v1/models/pbmc/encode", content=request, headers=headers).json()
    rows = [line.split("\t") for line in out.read_text().splitlines()]
    assert [row[0] for row in rows] == json.loads(request)["cells"]
    assert np.array_equal(np.array([row[1:] for row in rows], np.float32), np.array(answer["z"], np.float32))
