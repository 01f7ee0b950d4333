"""Made-up cells of a served model, and every file that biologists have such cells in; and files that are none."""

from __future__ import annotations

import dataclasses
import gzip
import io
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp


@dataclasses.dataclass(frozen=True)
class MadeCells:
    """Cells with raw counts.

    Attributes:
        ids: names of the cells.
        genes, proteins: names of the columns.
        gene_counts, protein_counts: raw counts, cells by columns.
        obs: labels and numbers of the cells, by the name of the column.
    """

    ids: list[str]
    genes: list[str]
    proteins: list[str]
    gene_counts: np.ndarray
    protein_counts: np.ndarray
    obs: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, card: Mapping[str, Any], n_cells: int = 40, seed: int = 1) -> MadeCells:
        """Draw cells for a model, by what the service tells of it."""
        rng = np.random.default_rng(seed)
        rate = rng.gamma(0.4, 1.2, len(card["genes"]))
        depth = rng.uniform(0.5, 2, (n_cells, 1))
        obs: dict[str, Sequence[Any]] = {}
        labels = [*([card["batch"]] if card["batch"] else []), *card["categorical_covariates"]]
        for at in labels:
            obs[at["key"]] = [at["categories"][i] for i in rng.integers(len(at["categories"]), size=n_cells)]
        for key in card["continuous_covariates"]:
            obs[key] = rng.normal(size=n_cells).tolist()
        return cls(
            ids=[f"CELL{i:05}-1" for i in range(n_cells)],
            genes=list(card["genes"]),
            proteins=list(card["proteins"]),
            gene_counts=rng.poisson(depth * rate),
            protein_counts=rng.poisson(rng.lognormal(3, 1, len(card["proteins"])) * depth),
            obs=obs,
        )

    def without_genes(self, n: int) -> MadeCells:
        """The last of the genes left out."""
        return dataclasses.replace(self, genes=self.genes[:-n], gene_counts=self.gene_counts[:, :-n])

    def with_strange_genes(self, n: int) -> MadeCells:
        """Genes that no model knows, before the others."""
        strange = np.full((len(self.ids), n), 3)
        return dataclasses.replace(
            self,
            genes=[f"STRANGE{i}" for i in range(n)] + self.genes,
            gene_counts=np.hstack([strange, self.gene_counts]),
        )

    def with_label(self, key: str, label: str, cells: slice = slice(None)) -> MadeCells:
        """Some of the cells with another label."""
        labels = list(self.obs[key])
        labels[cells] = [label] * len(labels[cells])
        return dataclasses.replace(self, obs={**self.obs, key: labels})

    def request(self, cells: slice = slice(None), **options: Any) -> dict[str, Any]:
        """As a request to /v1, with all labels in `options`."""
        return {
            "genes": self.genes,
            "proteins": self.proteins,
            "gene_counts": self.gene_counts[cells].tolist(),
            "protein_counts": self.protein_counts[cells].tolist(),
            **options,
        }


FORMS: Mapping[str, Any] = {
    "csr": lambda counts: sp.csr_matrix(np.asarray(counts, dtype=np.float32)),
    "csc": lambda counts: sp.csc_matrix(np.asarray(counts, dtype=np.float32)),
    "dense": lambda counts: np.asarray(counts, dtype=np.float32),
}


def h5ad(
    path: Path, cells: MadeCells, form: str = "csr", *, counts_in: str | None = None, compression: str | None = None
) -> Path:
    """An AnnData's file: raw counts in X, or in a layer (or nowhere: "") with log-normalised X; proteins in obsm."""
    counts = FORMS[form](cells.gene_counts)
    depth = cells.gene_counts.sum(axis=1, keepdims=True)
    logged = FORMS[form](np.log1p(cells.gene_counts / depth * 1e4))
    index = pd.Index(cells.ids)
    with _Quiet():
        anndata.AnnData(
            counts if counts_in is None else logged,
            obs=_obs(cells),
            var=pd.DataFrame(index=pd.Index(cells.genes)),
            obsm={"protein_expression": pd.DataFrame(cells.protein_counts, index=index, columns=cells.proteins)},
            layers={counts_in: counts} if counts_in else {},
        ).write_h5ad(path, compression=compression)
    return path


def h5mu(path: Path, cells: MadeCells) -> Path:
    """A MuData's file with the modalities `rna` and `prot`, the labels with the genes."""
    index = pd.Index(cells.ids)
    rna = anndata.AnnData(
        FORMS["csr"](cells.gene_counts), obs=_obs(cells), var=pd.DataFrame(index=pd.Index(cells.genes))
    )
    prot = anndata.AnnData(
        FORMS["dense"](cells.protein_counts),
        obs=pd.DataFrame(index=index),
        var=pd.DataFrame(index=pd.Index(cells.proteins)),
    )
    with _Quiet():
        mudata.MuData({"rna": rna, "prot": prot}).write(path)
    return path


def tenx_h5(path: Path, cells: MadeCells) -> Path:
    """A file of Cell Ranger 3 or later: features by cells, genes and antibodies together, no labels."""
    counts = sp.csc_matrix(np.hstack([cells.gene_counts, cells.protein_counts]).T)
    ids, names, types = zip(*_features(cells), strict=True)
    with h5py.File(path, "w") as file:
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(cells.ids, dtype="S18")
        matrix["data"], matrix["indices"] = counts.data.astype(np.int32), counts.indices.astype(np.int64)
        matrix["indptr"], matrix["shape"] = counts.indptr.astype(np.int64), np.array(counts.shape, dtype=np.int32)
        features = matrix.create_group("features")
        for name, texts in (("id", ids), ("name", names), ("feature_type", types), ("genome", ["GRCh38"] * len(ids))):
            features[name] = np.array(texts, dtype="S40")
    return path


def trio(cells: MadeCells) -> dict[str, bytes]:
    """The three files of Cell Ranger 3, packed, by name."""
    counts = sp.coo_matrix(np.hstack([cells.gene_counts, cells.protein_counts]).T)
    lines = [f"{row + 1} {column + 1} {value}" for row, column, value in zip(*_by_cell(counts), strict=True)]
    head = ["%%MatrixMarket matrix coordinate integer general", f"{counts.shape[0]} {counts.shape[1]} {len(lines)}"]
    texts = {
        "matrix.mtx.gz": [*head, *lines],
        "barcodes.tsv.gz": cells.ids,
        "features.tsv.gz": ["\t".join(feature) for feature in _features(cells)],
    }
    return {name: gzip.compress("".join(f"{line}\n" for line in text).encode()) for name, text in texts.items()}


def trio_zip(path: Path, cells: MadeCells) -> Path:
    """The trio's folder, zipped."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in trio(cells).items():
            archive.writestr(f"filtered_feature_bc_matrix/{name}", content)
    return path


def trio_tar_gz(path: Path, cells: MadeCells) -> Path:
    """The trio's folder as 10x offers it for download."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in trio(cells).items():
            entry = tarfile.TarInfo(f"filtered_feature_bc_matrix/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def csv(path: Path, cells: MadeCells) -> Path:
    """Cells by genes and proteins, as from `to_csv`."""
    counts = np.hstack([cells.gene_counts, cells.protein_counts])
    pd.DataFrame(counts, index=pd.Index(cells.ids), columns=[*cells.genes, *cells.proteins]).to_csv(path)
    return path


def png(path: Path) -> Path:
    """A picture of one grey pixel."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\x00\x7f")),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def truncated(path: Path, share: float = 0.6) -> Path:
    """A file cut short, as by a download that broke off."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    return path


def strange_zip(path: Path) -> Path:
    """A zip without any of the trio."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no counts here")
    return path


def _features(cells: MadeCells) -> list[tuple[str, str, str]]:
    genes = [(f"ENSG{i:011}", name, "Gene Expression") for i, name in enumerate(cells.genes)]
    return genes + [(name.split("_")[0], name, "Antibody Capture") for name in cells.proteins]


def _by_cell(counts: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order = np.lexsort((counts.row, counts.col))
    return counts.row[order], counts.col[order], counts.data[order]


def _obs(cells: MadeCells) -> pd.DataFrame:
    columns = {
        key: values if isinstance(values[0], float) else pd.Categorical(values) for key, values in cells.obs.items()
    }
    return pd.DataFrame(columns, index=pd.Index(cells.ids))


class _Quiet(warnings.catch_warnings):
    """Without what anndata and mudata say of themselves."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered
