"""Made-up cells of the fake client's model, in every form that biologists have them in."""

from __future__ import annotations

import gzip
import warnings
from pathlib import Path
from typing import Any

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp

from tests.client.fake_client import GENES, PROTEINS, answer

N_CELLS = 50
_RNG = np.random.default_rng(7)
COUNTS = _RNG.poisson(1.2, (N_CELLS, len(GENES)))
COUNTS[3] = 0
PROTEIN_COUNTS = _RNG.poisson(6, (N_CELLS, len(PROTEINS)))
BATCH = _RNG.choice(["b0", "b1"], N_CELLS).tolist()
CELLS = [f"cell{i % 45}" for i in range(N_CELLS)]
"""Some twice, as when samples were joined."""

Z = answer(COUNTS, PROTEIN_COUNTS, BATCH)
"""What the fake client answers for them."""

LOG = np.log1p(COUNTS / np.maximum(COUNTS.sum(axis=1, keepdims=True), 1) * 1e4)

FORMS: dict[str, Any] = {
    "dense": lambda counts: np.asarray(counts, dtype=np.float32),
    "csr": lambda counts: sp.csr_matrix(np.asarray(counts, dtype=np.float32)),
    "csc": lambda counts: sp.csc_matrix(np.asarray(counts, dtype=np.float32)),
    "csr array": lambda counts: sp.csr_array(np.asarray(counts, dtype=np.float64)),
    "int": lambda counts: np.asarray(counts, dtype=np.int64),
    "u16 csr": lambda counts: sp.csr_matrix(np.asarray(counts, dtype=np.uint16)),
    "fortran": lambda counts: np.asfortranarray(np.asarray(counts, dtype=np.float32)),
}


def adata(
    x: Any = None,
    *,
    genes: Any = GENES,
    batch: Any = BATCH,
    proteins: bool = True,
    n_cells: int = N_CELLS,
    **parts: Any,
) -> Any:
    """An AnnData with everything where it is expected."""
    index = pd.Index(CELLS[:n_cells])
    obs = pd.DataFrame(index=index)
    if batch is not None:
        obs["batch"] = batch[:n_cells] if isinstance(batch, list) else batch
    obsm = {}
    if proteins:
        obsm["protein_expression"] = pd.DataFrame(PROTEIN_COUNTS[:n_cells], columns=list(PROTEINS), index=index)
    x = FORMS["csr"](COUNTS[:n_cells]) if x is None else x
    with quiet():
        return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=pd.Index(genes)), obsm=obsm, **parts)


def mdata(**changes: Any) -> Any:
    """A MuData with the modalities `rna` and `prot`, the batch with the genes."""
    index = pd.Index([f"cell{i}" for i in range(N_CELLS)])
    rna = anndata.AnnData(
        changes.get("x", FORMS["csr"](COUNTS)), obs=pd.DataFrame({"batch": BATCH}, index=index), var=_frame(GENES)
    )
    prot = anndata.AnnData(PROTEIN_COUNTS.astype(np.float32), obs=pd.DataFrame(index=index), var=_frame(PROTEINS))
    with quiet():
        return mudata.MuData({changes.get("rna", "rna"): rna, changes.get("prot", "prot"): prot})


def quiet() -> Any:
    """Without what anndata and mudata say of duplicate names and of themselves."""
    block = warnings.catch_warnings()

    class Quiet:
        def __enter__(self) -> None:
            block.__enter__()
            warnings.simplefilter("ignore")

        def __exit__(self, *error: Any) -> None:
            block.__exit__(*error)

    return Quiet()


def written(data: Any, path: Path) -> Path:
    """The file of it."""
    with quiet():
        (data.write_h5ad if path.suffix == ".h5ad" else data.write)(path)
    return path


def read(path: Path) -> Any:
    """What others read from it."""
    with quiet():
        return anndata.read_h5ad(path) if path.suffix == ".h5ad" else mudata.read_h5mu(path)


def tenx_counts() -> tuple[Any, list[tuple[str, str, str]]]:
    """Features x barcodes, as Cell Ranger has them, and id, name and type of each feature; one symbol stands twice."""
    features = [(f"ENSG{i:011}", name, "Gene Expression") for i, name in enumerate(GENES)]
    features.append(("ENSG00000009999", GENES[2], "Gene Expression"))
    features += [(name.split("_")[0], name, "Antibody Capture") for name in PROTEINS]
    counts = np.concatenate([COUNTS, np.full((N_CELLS, 1), 9), PROTEIN_COUNTS], axis=1)
    return sp.csc_matrix(counts.T), features


def tenx_h5(path: Path, layout: int = 3) -> Path:
    """A file of Cell Ranger 2 (genes only) or 3."""
    counts, features = tenx_counts()
    with h5py.File(path, "w") as file:
        if layout == 3:
            group = file.create_group("matrix")
            names = group.create_group("features")
            for position, name in enumerate(("id", "name", "feature_type")):
                names[name] = np.array([feature[position] for feature in features], dtype="S32")
            names["genome"] = np.array(["GRCh38"] * len(features), dtype="S6")
        else:
            counts, features = counts[: len(GENES)], features[: len(GENES)]
            group = file.create_group("GRCh38")
            group["genes"] = np.array([feature[0] for feature in features], dtype="S32")
            group["gene_names"] = np.array([feature[1] for feature in features], dtype="S32")
        counts = sp.csc_matrix(counts)
        group["barcodes"] = np.array([f"AAAC{i}-1" for i in range(N_CELLS)], dtype="S18")
        group["data"], group["indices"] = counts.data.astype(np.int32), counts.indices.astype(np.int64)
        group["indptr"], group["shape"] = counts.indptr.astype(np.int64), np.array(counts.shape, dtype=np.int32)
    return path


def tenx_mtx(folder: Path, *, packed: bool = True, genes_only: bool = False, shuffled: bool = False) -> Path:
    """The folder of Cell Ranger 2 (`genes.tsv`) or 3 (`features.tsv.gz`)."""
    folder.mkdir()
    counts, features = tenx_counts()
    if genes_only:
        counts, features = sp.csc_matrix(counts[: len(GENES)]), features[: len(GENES)]
    entries = sp.coo_matrix(counts)
    order = np.lexsort((entries.row, entries.col))
    if shuffled:
        order = np.random.default_rng(1).permutation(order)
    lines = [f"{entries.row[i] + 1} {entries.col[i] + 1} {entries.data[i]}" for i in order]
    head = '%%MatrixMarket matrix coordinate integer general\n%metadata_json: {"software_version": "x"}\n'
    texts = {
        "matrix.mtx": head + f"{counts.shape[0]} {counts.shape[1]} {len(lines)}\n" + "\n".join(lines) + "\n",
        "barcodes.tsv": "".join(f"AAAC{i}-1\n" for i in range(N_CELLS)),
        "genes.tsv" if genes_only else "features.tsv": "".join(
            "\t".join(feature[: 2 if genes_only else 3]) + "\n" for feature in features
        ),
    }
    for name, text in texts.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
        else:
            (folder / name).write_text(text)
    return folder


def _frame(names: Any) -> Any:
    return pd.DataFrame(index=pd.Index(list(names)))
