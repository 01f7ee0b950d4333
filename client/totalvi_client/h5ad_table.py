"""An h5ad file, or a modality of an h5mu one, as it lies on disk: nothing is read that is not asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from totalvi_client.elements import read_element
from totalvi_client.errors import InputError
from totalvi_client.matrices import ArrayMatrix, Matrix, StoredCsr, StoredFrame
from totalvi_client.obs_columns import LabelColumn, label_column
from totalvi_client.spill import stored_csc
from totalvi_client.tables import Names

SPARSE_FORMATS = {"csr_matrix": "csr", "csc_matrix": "csc", "csr": "csr", "csc": "csc"}


class H5adTable:
    """The group of an AnnData in an open HDF5 file.

    Args:
        group: the file's root, or a modality.
        path: of the file, for messages and beside which temporary files may lie.
        title: what messages call it.
        scratch: folder for temporary files.

    Raises:
        InputError: the group is not one of an AnnData, or of a version before 0.7.
    """

    choose_names = False

    def __init__(self, group: Any, path: Path, title: str, scratch: Path) -> None:
        self.title = title
        self._group, self._path, self._scratch = group, path, scratch
        self._matrices: dict[str, Matrix] = {}
        for part in ("obs", "var"):
            if part not in group:
                raise InputError(
                    f"{path} has no {part!r} in {group.name!r}, so it is not an AnnData file (.h5ad); "
                    "if it is a 10x file give it the ending .h5, if a MuData .h5mu"
                )
        old = [part for part in ("obs", "var", "obsm", "varm") if part in group and hasattr(group[part], "dtype")]
        if old:
            raise InputError(
                f"{path} was written by an anndata older than 0.7 ({', '.join(old)} as one table); write it anew with "
                f"a current one: import anndata; anndata.read_h5ad({str(path)!r}).write_h5ad('new.h5ad')"
            )
        self.n_cells = int(self._index("obs").shape[0])

    @property
    def group(self) -> Any:
        """Where it lies."""
        return self._group

    def layers(self) -> list[str]:
        """Layers that there are."""
        found = ["X"] if "X" in self._group and not _is_null(self._group["X"]) else []
        found += [str(name) for name in self._group["layers"]] if "layers" in self._group else []
        return [*found, "raw"] if self._has_raw and "raw" not in found else found

    @property
    def _has_raw(self) -> bool:
        raw = self._group.get("raw")
        return raw is not None and "X" in raw and "var" in raw

    def matrix(self, layer: str) -> Matrix:
        """The numbers of a layer."""
        if layer not in self._matrices:
            path = {"X": "X", "raw": "raw/X" if self._has_raw else "layers/raw"}.get(layer, f"layers/{layer}")
            matrix = self._matrix(self._group[path], path)
            n_columns = self._index(self._var(layer)).shape[0]
            if matrix.shape != (self.n_cells, n_columns):
                raise InputError(
                    f"{self._path} is damaged: {path} is {matrix.shape[0]} x {matrix.shape[1]}, but there are "
                    f"{self.n_cells} cells and {n_columns} columns; get a new copy"
                )
            self._matrices[layer] = matrix
        return self._matrices[layer]

    def _matrix(self, node: Any, where: str) -> Matrix:
        if hasattr(node, "dtype"):
            if len(node.shape) != 2 or node.dtype.kind not in "iufb":
                raise InputError(f"{where} in {self._path} is not a matrix of numbers")
            return ArrayMatrix(node)
        form = SPARSE_FORMATS.get(_text(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", ""))))
        size = node.attrs.get("shape", node.attrs.get("h5sparse_shape"))
        if form is None or size is None or any(part not in node for part in ("data", "indices", "indptr")):
            raise InputError(f"{where} in {self._path} is not a matrix that this package can read")
        shape = (int(size[0]), int(size[1]))
        return StoredCsr(node, shape) if form == "csr" else stored_csc(node, shape, self._scratch)

    def _var(self, layer: str) -> str:
        return "raw/var" if layer == "raw" and self._has_raw else "var"

    def _index(self, part: str) -> Any:
        frame = self._group[part]
        name = _text(frame.attrs.get("_index", "_index" if "_index" in frame else "index"))
        if name not in frame:
            raise InputError(f"{self._path} is damaged: {part} has no names")
        column = frame[name]
        # A categorical or nullable index is a group.
        return column if hasattr(column, "dtype") else self._column(part, name)

    def _column(self, part: str, name: str) -> Any:
        node = self._group[part][name]
        reference = node.attrs.get("categories")
        if hasattr(node, "dtype") and reference is not None:
            # anndata 0.7: codes that point at their categories.
            import pandas as pd  # noqa: PLC0415

            return pd.Categorical.from_codes(node[:], _texts(node.file[reference][:]))
        values = read_element(node)
        return _texts(values) if getattr(values, "dtype", None) is not None and values.dtype.kind in "SO" else values

    def _columns(self, part: str) -> list[str]:
        frame = self._group[part]
        order = frame.attrs.get("column-order")
        index = _text(frame.attrs.get("_index", ""))
        names = [_text(name) for name in order] if order is not None else list(frame)
        return [name for name in names if name in frame and name not in (index, "__categories")]

    def var_names(self, layer: str) -> Names:
        """Names of the columns of a layer."""
        return np.asarray(self._names(self._var(layer)), dtype=object)

    def _names(self, part: str) -> Any:
        index = self._index(part)
        return _texts(index[:]) if hasattr(index, "chunks") else np.asarray(index).astype(str)

    def var_columns(self, layer: str) -> list[str]:
        """What else is told of those columns."""
        return self._columns(self._var(layer))

    def var_column(self, layer: str, name: str) -> Names:
        """One of these, as text."""
        return np.asarray([str(value) for value in np.asarray(self._column(self._var(layer), name))], dtype=object)

    def obs_columns(self) -> list[str]:
        """What is told of the cells."""
        return self._columns("obs")

    def obs_column(self, name: str) -> LabelColumn:
        """One of these."""
        return label_column(self._column("obs", name))

    def obs_names(self) -> Names:
        """Names of the cells."""
        return np.asarray(self._names("obs"), dtype=object)

    def obsm_keys(self) -> list[str]:
        """Further matrices of the cells."""
        return [str(key) for key in self._group["obsm"]] if "obsm" in self._group else []

    def obsm(self, key: str) -> tuple[Matrix, list[str] | None]:
        """One of these; the columns of a data frame have names."""
        node = self._group["obsm"][key]
        if hasattr(node, "dtype") or _text(node.attrs.get("encoding-type", "")) != "dataframe":
            return self._matrix(node, f"obsm[{key!r}]"), None
        names = self._columns(f"obsm/{key}")
        columns = [node[name] for name in names]
        if all(hasattr(column, "dtype") and column.dtype.kind in "iufb" for column in columns):
            return StoredFrame(columns, self.n_cells), names
        raise InputError(f"obsm[{key!r}] in {self._path} has columns that are no plain numbers; write them as numbers")

    def uns(self, key: str) -> Any:
        """Something unstructured, or None."""
        return read_element(self._group["uns"][key]) if "uns" in self._group and key in self._group["uns"] else None


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _texts(values: Any) -> Any:
    if getattr(values, "dtype", None) is None or values.dtype.kind not in "SO":
        return values
    return np.asarray([_text(value) if isinstance(value, bytes | str) else value for value in values], dtype=object)


def _is_null(node: Any) -> bool:
    return _text(node.attrs.get("encoding-type", "")) == "null"
