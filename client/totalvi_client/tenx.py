"""What Cell Ranger writes: one HDF5 file, or a folder with a Matrix Market file and two lists of names."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from totalvi_client.errors import InputError
from totalvi_client.matrices import Matrix, StoredCsr
from totalvi_client.obs_columns import LabelColumn
from totalvi_client.spill import ENTRIES_AT_ONCE, Entries, Spilled
from totalvi_client.tables import Names

SYMBOLS, IDS, TYPES = "gene_symbols", "gene_ids", "feature_types"
GENE_EXPRESSION = "Gene Expression"
_HEADER = b"%%MatrixMarket"


class TenXTable:
    """Counts of features by barcode.

    Args:
        matrix: [cells, features].
        var: text [features] by name of the column.
        barcodes: text [cells].
        title: what messages call it.
    """

    choose_names = True

    def __init__(self, matrix: Matrix, var: Mapping[str, Names], barcodes: Names, title: str) -> None:
        self.title = title
        self.n_cells = matrix.shape[0]
        self._matrix, self._var, self._barcodes = matrix, dict(var), barcodes
        for name, column in var.items():
            _check_length(title, name, len(column), matrix.shape[1])
        _check_length(title, "barcodes", len(barcodes), matrix.shape[0])

    def layers(self) -> list[str]:
        """One."""
        return ["X"]

    def matrix(self, layer: str) -> Matrix:
        """All features."""
        return self._matrix

    def var_names(self, layer: str) -> Names:
        """Symbols, which may repeat."""
        names: Names = self._var[SYMBOLS].copy()
        return names

    def var_columns(self, layer: str) -> list[str]:
        """What is told of the features."""
        return list(self._var)

    def var_column(self, layer: str, name: str) -> Names:
        """One of these."""
        return self._var[name]

    def obs_columns(self) -> list[str]:
        """Cell Ranger tells nothing of the cells."""
        return []

    def obs_column(self, name: str) -> LabelColumn:
        """There is none."""
        raise KeyError(name)

    def obs_names(self) -> Names:
        """The barcodes."""
        return self._barcodes

    def obsm_keys(self) -> list[str]:
        """There is none."""
        return []

    def obsm(self, key: str) -> tuple[Matrix, list[str] | None]:
        """There is none."""
        raise KeyError(key)

    def uns(self, key: str) -> Any:
        """There is none."""
        return None


def is_10x_h5(file: Any) -> bool:
    """Whether an open HDF5 file looks like one of Cell Ranger's, of either layout."""
    return bool(_genomes(file)) or ("matrix" in file and "barcodes" in file["matrix"])


def _genomes(file: Any) -> list[str]:
    return [name for name in file if hasattr(file[name], "keys") and {"barcodes", "genes", "indptr"} <= set(file[name])]


def table_of_10x_h5(file: Any, path: Path) -> TenXTable:
    """The counts of an open HDF5 file of Cell Ranger 2 (a group for each genome) or later (`matrix`).

    Raises:
        InputError: it is none, or of several genomes.
    """
    genomes = _genomes(file)
    if "matrix" in file and "features" in file["matrix"]:
        group = file["matrix"]
        features = group["features"]
        var = {SYMBOLS: _texts(features["name"]), IDS: _texts(features["id"])}
        var[TYPES] = _texts(features["feature_type"])
        if "genome" in features:
            var["genome"] = _texts(features["genome"])
    elif len(genomes) == 1:
        group = file[genomes[0]]
        var = {SYMBOLS: _texts(group["gene_names"]), IDS: _texts(group["genes"])}
        var[TYPES] = np.full(len(var[IDS]), GENE_EXPRESSION, dtype=object)
    elif genomes:
        raise InputError(
            f"{path} holds the genomes {', '.join(genomes)}; read one with scanpy.read_10x_h5(…, genome=…), write it "
            "with write_h5ad and give that file"
        )
    else:
        raise InputError(f"{path} is HDF5, but no 10x file: it has {', '.join(list(file)[:8]) or 'nothing'} in it")
    n_features, n_cells = (int(length) for length in group["shape"][:])
    return TenXTable(StoredCsr(group, (n_cells, n_features)), var, _texts(group["barcodes"]), str(path))


def table_of_mtx(folder: Path, scratch: Path) -> TenXTable:
    """The counts of a folder with `matrix.mtx`, `barcodes.tsv` and `features.tsv` (or `genes.tsv`), each maybe `.gz`.

    Args:
        folder: Cell Ranger's.
        scratch: folder for temporary files.

    Raises:
        InputError: a file is missing, or is not what its name says.
    """
    paths = mtx_files(folder)
    columns = _read_tsv(paths["features"])
    barcodes = _read_tsv(paths["barcodes"])
    if not columns or not barcodes:
        raise InputError(f"{folder} has an empty list of features or barcodes")
    var = {IDS: columns[0], SYMBOLS: columns[min(1, len(columns) - 1)]}
    var[TYPES] = columns[2] if len(columns) > 2 else np.full(len(columns[0]), GENE_EXPRESSION, dtype=object)
    matrix = _mtx_matrix(paths["matrix"], scratch)
    return TenXTable(matrix, var, barcodes[0], str(folder))


def mtx_files(folder: Path) -> dict[str, Path]:
    """The three files of a folder: `matrix`, `barcodes`, `features`; a sample's prefix before their names is fine.

    Raises:
        InputError: one is missing.
    """
    found = {}
    for part, names in {
        "matrix": ("matrix.mtx",),
        "barcodes": ("barcodes.tsv",),
        "features": ("features.tsv", "genes.tsv"),
    }.items():
        endings = [name + ending for name in names for ending in (".gz", "")]
        candidates = [path for ending in endings for path in sorted(folder.glob(f"*{ending}"))]
        if not candidates:
            raise InputError(
                f"{folder} has no {' or '.join(endings)}; a 10x folder has matrix.mtx.gz, barcodes.tsv.gz and "
                "features.tsv.gz (or the same without .gz, and genes.tsv)"
            )
        if len({path.name.removesuffix(".gz") for path in candidates}) > 1:
            some = ", ".join(path.name for path in candidates[:4])
            raise InputError(f"{folder} has the files of several samples ({some}); put each sample into its own folder")
        found[part] = candidates[0]
    return found


def _mtx_matrix(path: Path, scratch: Path) -> Spilled:
    n_features, n_cells, n_entries, kind = _mtx_size(path)

    def entries() -> Iterator[Entries]:
        import pandas as pd  # noqa: PLC0415

        seen = 0
        try:
            with _opened(path) as file:
                _skip_head(file, path)
                # An empty list of entries is no table to pandas.
                chunks = (
                    pd.read_csv(
                        file,
                        sep=r"\s+",
                        header=None,
                        names=["feature", "cell", "count"],
                        dtype={
                            "feature": np.int64,
                            "cell": np.int64,
                            "count": np.float64 if kind == "real" else np.int64,
                        },
                        chunksize=ENTRIES_AT_ONCE,
                    )
                    if n_entries
                    else ()
                )
                for chunk in chunks:
                    features, cells = chunk["feature"].to_numpy() - 1, chunk["cell"].to_numpy() - 1
                    for what, numbers, most in (("feature", features, n_features), ("cell", cells, n_cells)):
                        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < most:
                            raise InputError(f"{path} is damaged: an entry's {what} is not in 1 to {most}")
                    seen += len(chunk)
                    yield cells, features, chunk["count"].to_numpy()
        except (ValueError, EOFError, zlib.error, OSError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{path} is damaged or cut short after some {seen} entries ({error}); copy it anew"
            ) from error
        if seen != n_entries:
            raise InputError(f"{path} is cut short: {seen} of {n_entries} entries are there; copy it anew")

    return Spilled((n_cells, n_features), entries, n_entries, np.float64 if kind == "real" else np.int64, scratch)


def _mtx_size(path: Path) -> tuple[int, int, int, str]:
    try:
        with _opened(path) as file:
            kind, line = _skip_head(file, path)
        n_features, n_cells, n_entries = map(int, line.split())
    except (ValueError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is not a Matrix Market file of counts ({error})") from error
    return n_features, n_cells, n_entries, kind


def _skip_head(file: BinaryIO, path: Path) -> tuple[str, bytes]:
    first = file.readline(1024)
    words = first.decode("ascii", "replace").lower().split()
    if not first.startswith(_HEADER) or words[1:3] != ["matrix", "coordinate"] or words[3:4] == ["complex"]:
        raise InputError(f"{path} does not begin with '%%MatrixMarket matrix coordinate'; is it a matrix of counts?")
    if words[4:5] not in ([], ["general"]) or words[3] == "pattern":
        raise InputError(
            f"{path} is a Matrix Market file of the kind {' '.join(words[3:])}; counts are general numbers"
        )
    line = file.readline(1 << 16)
    while line.startswith(b"%") or line in (b"\n", b"\r\n"):
        line = file.readline(1 << 16)
    return words[3], line


def _read_tsv(path: Path) -> list[Names]:
    try:
        with _opened(path) as file:
            lines = file.read().decode("utf-8").splitlines()
    except (UnicodeDecodeError, EOFError, zlib.error, OSError) as error:
        raise InputError(f"{path} cannot be read ({error}); copy it anew") from error
    rows = [line.split("\t") for line in lines if line]
    width = min((len(row) for row in rows), default=0)
    return [np.asarray([row[column] for row in rows], dtype=object) for column in range(width)]


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        magic = file.read(2)
    # By what is in it: many a .gz was unpacked without losing its name.
    return gzip.open(path, "rb") if magic == b"\x1f\x8b" else path.open("rb")


def _texts(dataset: Any) -> Names:
    values = dataset[:]
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8").astype(object)
    return np.asarray([value.decode() if isinstance(value, bytes) else str(value) for value in values], dtype=object)


def _check_length(title: str, name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise InputError(f"{title} is damaged: there are {found} {name} for {wanted} rows of the matrix; copy it anew")
