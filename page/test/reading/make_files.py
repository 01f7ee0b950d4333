"""Writes the files that the reading tests read, and what Python finds in them; needs anndata and mudata.

Each file is gzipped beside this script in files/, where it is checked in; expected.json says what is in it.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import scipy.io
import scipy.sparse

FILES = Path(__file__).parent / "files"
N_CELLS, N_GENES = 13, 17
PROTEINS = ["CD3", "CD19", "CD14"]


def counts(seed: int, shape: tuple[int, int], dtype: Any = np.float32) -> Any:
    """Poisson counts, most of them 0."""
    return np.random.default_rng(seed).poisson(0.7, shape).astype(dtype)


def cells() -> anndata.AnnData:
    """Every kind of column and matrix."""
    x = counts(1, (N_CELLS, N_GENES))
    obs = pd.DataFrame(index=[f"CELL{number}-1" for number in range(N_CELLS)])
    obs["batch"] = pd.Categorical(["b", "a"] * 6 + [None], categories=["a", "b", "unused"])
    obs["lane"] = np.arange(N_CELLS, dtype=np.int64) % 3 + 1
    obs["lane_category"] = pd.Categorical(np.arange(N_CELLS) % 2 + 7)
    obs["age"] = np.linspace(0.5, 2, N_CELLS)
    obs.loc[obs.index[2], "age"] = np.nan
    obs["passed"] = np.arange(N_CELLS) % 2 == 0
    obs["passes"] = pd.array([1, None] + [3] * (N_CELLS - 2), dtype="Int64")
    obs["doublet"] = pd.array([True, None] + [False] * (N_CELLS - 2), dtype="boolean")
    obs["note"] = [f"note {number} ä" for number in range(N_CELLS)]
    var = pd.DataFrame(index=[f"GENE{number}" for number in range(N_GENES)])
    var["gene_ids"] = [f"ENSG{number:011}" for number in range(N_GENES)]
    var["chromosome"] = pd.Categorical(["1", "X"] * (N_GENES // 2) + ["1"])
    var["mean"] = x.mean(0)
    adata = anndata.AnnData(scipy.sparse.csr_matrix(x), obs=obs, var=var)
    adata.layers["columns"] = scipy.sparse.csc_matrix(counts(2, x.shape, np.int64))
    adata.layers["dense"] = np.log1p(x)
    adata.layers["wide"] = scipy.sparse.csr_matrix(counts(3, x.shape, np.float64) + (1 << 25) + 0.25)
    adata.obsm["protein_expression"] = counts(4, (N_CELLS, 3), np.int32)
    adata.obsm["frame"] = pd.DataFrame(counts(5, (N_CELLS, 3)), index=obs.index, columns=PROTEINS)
    adata.uns["protein_names"] = np.array(PROTEINS, dtype=object)
    adata.raw = anndata.AnnData(
        scipy.sparse.csr_matrix(counts(6, (N_CELLS, 20))),
        obs=obs,
        var=pd.DataFrame(index=[f"RAW{n}" for n in range(20)]),
    )
    return adata


def write_old(path: Path) -> None:
    """As anndata 0.7 wrote: categories beside the columns, and as h5sparse did."""
    x = scipy.sparse.csr_matrix(counts(7, (N_CELLS, N_GENES)))
    with h5py.File(path, "w") as file:
        group = file.create_group("X")
        group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", x.shape
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(x, part).astype(np.int64 if part != "data" else np.float32)
        for frame, n_rows in (("obs", N_CELLS), ("var", N_GENES)):
            group = file.create_group(frame)
            names = np.array([f"{frame.upper()}{number}" for number in range(n_rows)], dtype="S")
            group["index"] = names
            group.attrs["_index"], group.attrs["encoding-type"] = "index", "dataframe"
            group.attrs["encoding-version"] = "0.1.0"
            group.attrs["column-order"] = np.array(["batch"] if frame == "obs" else [], dtype=h5py.string_dtype())
        file["obs/batch"] = np.array([0, 1] * 6 + [-1], dtype=np.int8)
        file["obs/__categories/batch"] = np.array(["one", "two"], dtype=h5py.string_dtype())
        file["obs/batch"].attrs["categories"] = file["obs/__categories/batch"].ref


def write_half(path: Path) -> None:
    """With numbers of 16 bits, which browsers cannot read."""
    adata = anndata.AnnData(np.ones((2, 1), np.float16), obs=pd.DataFrame(index=["CELL0-1", "CELL1-1"]))
    adata.obs["cell_type"] = np.array([1, 2], dtype=np.float16)
    adata.obsm["adt"] = np.ones((2, 1), np.float16)
    adata.uns["adt_names"] = np.array(["CD3"], dtype=object)
    adata.layers["counts"] = np.ones((2, 1), np.float32)
    adata.write_h5ad(path)


def features(n_genes: int) -> tuple[list[str], list[str], list[str]]:
    """Symbols, of which two are the same, ids, and types; the last three are proteins."""
    symbols = [f"GENE{number}" for number in range(n_genes - 1)] + ["GENE1", *PROTEINS]
    ids = [f"ENSG{number:011}" for number in range(n_genes)] + PROTEINS
    return symbols, ids, ["Gene Expression"] * n_genes + ["Antibody Capture"] * len(PROTEINS)


def write_10x(path: Path, version: int) -> Any:
    """As Cell Ranger writes."""
    symbols, ids, types = features(N_GENES)
    x = scipy.sparse.csr_matrix(counts(8, (N_CELLS, len(ids) if version == 3 else N_GENES), np.int32))
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix" if version == 3 else "GRCh38")
        for part in ("data", "indices", "indptr"):
            values = getattr(x, part).astype(np.int64 if part != "data" else np.int32)
            group.create_dataset(part, data=values, compression="gzip")
        group["shape"] = np.array(x.shape[::-1], dtype=np.int32)
        group["barcodes"] = np.array([f"BARCODE{number}-1" for number in range(N_CELLS)], dtype="S")
        if version == 3:
            for name, column in (("name", symbols), ("id", ids), ("feature_type", types)):
                group[f"features/{name}"] = np.array(column, dtype="S")
        else:
            group["gene_names"], group["genes"] = np.array(symbols[:N_GENES], "S"), np.array(ids[:N_GENES], "S")
    return x.toarray()


def trio() -> tuple[dict[str, bytes], Any]:
    """The three files, and the counts by cell."""
    symbols, ids, types = features(N_GENES)
    x = counts(9, (N_CELLS, len(ids)), np.int32)
    buffer = io.BytesIO()
    scipy.io.mmwrite(buffer, scipy.sparse.coo_matrix(x.T))
    rows = zip(ids, symbols, types, strict=True)
    return {
        "matrix.mtx": buffer.getvalue(),
        "barcodes.tsv": "".join(f"BARCODE{number}-1\n" for number in range(N_CELLS)).encode(),
        "features.tsv": "".join("\t".join(row) + "\n" for row in rows).encode(),
    }, x


def column(values: pd.Series) -> list[Any]:
    """A column of obs as JSON has it."""
    return [None if pd.isna(value) else value.item() if hasattr(value, "item") else value for value in values]


def table(adata: anndata.AnnData) -> dict[str, Any]:
    """What Python finds in an AnnData."""
    dense = lambda matrix: np.asarray(matrix.todense() if scipy.sparse.issparse(matrix) else matrix).tolist()  # noqa: E731
    found = {"X": dense(adata.X)} | {name: dense(matrix) for name, matrix in adata.layers.items()}
    if adata.raw is not None:
        found["raw"] = dense(adata.raw.X)
    return {
        "cells": list(adata.obs_names),
        "genes": list(adata.var_names),
        "layers": found,
        "obs": {name: column(adata.obs[name]) for name in adata.obs},
        "obsm": {key: np.asarray(values).tolist() for key, values in adata.obsm.items()},
    }


def main() -> None:
    """Write them all."""
    warnings.simplefilter("ignore")
    FILES.mkdir(exist_ok=True)
    expected: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        adata = cells()
        adata.write_h5ad(folder / "cells.h5ad", compression="gzip")
        adata[:, :3].copy().write_h5ad(folder / "lzf.h5ad", compression="lzf")
        write_old(folder / "old.h5ad")
        write_half(folder / "half.h5ad")
        expected["cells.h5ad"] = table(anndata.read_h5ad(folder / "cells.h5ad"))
        expected["old.h5ad"] = table(anndata.read_h5ad(folder / "old.h5ad"))
        protein = anndata.AnnData(counts(10, (N_CELLS, 3)), obs=pd.DataFrame(index=adata.obs_names))
        protein.var_names = PROTEINS
        rna = adata.copy()
        del rna.obsm, rna.raw, rna.uns, rna.layers
        both = mudata.MuData({"rna": rna, "prot": protein})
        both.obs["sample"] = pd.Categorical(["s"] * N_CELLS)
        both.write_h5mu(folder / "both.h5mu")
        expected["both.h5mu"] = {"rna": table(rna), "prot": table(protein)}
        for version in (2, 3):
            expected[f"tenx_v{version}.h5"] = write_10x(folder / f"tenx_v{version}.h5", version).tolist()
        parts, x = trio()
        expected["trio"] = x.tolist()
        with zipfile.ZipFile(folder / "trio.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("notes.txt"), "not of the three", zipfile.ZIP_DEFLATED)
            for part, content in parts.items():
                # A ZipInfo of its own, whose time is not now.
                archive.writestr(zipfile.ZipInfo(f"sample/filtered/{part}.gz"), gzip.compress(content, mtime=0))
        forms = {"trio.tar": tarfile.PAX_FORMAT, "gnu.tar": tarfile.GNU_FORMAT, "short.tar": tarfile.GNU_FORMAT}
        for tar, form in forms.items():
            with tarfile.open(folder / tar, "w", format=form) as archive:
                for part, content in parts.items():
                    within = "filtered" if tar == "short.tar" else "a long folder " * 9
                    packed = gzip.compress(content, mtime=0)
                    entry = tarfile.TarInfo(f"{within}/{part}.gz")
                    entry.size = len(packed)
                    archive.addfile(entry, io.BytesIO(packed))
        for part, content in parts.items():
            (folder / part).write_bytes(content)
        for path in sorted(folder.iterdir()):
            (FILES / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    (FILES / "expected.json.gz").write_bytes(gzip.compress(json.dumps(expected).encode(), mtime=0))


if __name__ == "__main__":
    main()
