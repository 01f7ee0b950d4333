"""Opens the files that biologists have: h5ad, h5mu, and both forms of 10x."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from totalvi_client.choices import Choices
from totalvi_client.damage import damage, damaged
from totalvi_client.errors import InputError
from totalvi_client.extra import require_anndata
from totalvi_client.h5ad_table import H5adTable
from totalvi_client.holdings import Holdings, of_modalities
from totalvi_client.results import Card
from totalvi_client.spill import scratch_beside
from totalvi_client.tenx import is_10x_h5, mtx_files, table_of_10x_h5, table_of_mtx

READ = ".h5ad, .h5mu, a 10x .h5, or a 10x folder with matrix.mtx.gz"


def open_file(source: Path, card: Card, choices: Choices, *, scratch: Path | None = None) -> Holdings:
    """What a file or folder holds; close it after use. What it is, is told by what is in it.

    Args:
        source: the file, or the folder of a 10x matrix.
        card: of the model, which helps to tell modalities apart.
        choices: the caller's.
        scratch: where temporary files may lie, on disk; None: beside the source.

    Raises:
        InputError: it is not there, damaged, or none of the kinds that are read.
    """
    require_anndata()
    scratch = scratch or scratch_beside(source)
    if source.is_dir():
        if (source / ".zgroup").exists() or (source / "zarr.json").exists():
            raise InputError(
                f"{source} is a zarr store; write it as one file: anndata.read_zarr(…).write_h5ad(…), and give that"
            )
        table = table_of_mtx(source, scratch)
        return Holdings("10x", table, obs=(table,))
    with damaged(source), contextlib.ExitStack() as stack:
        file = stack.enter_context(open_hdf5(source))
        holdings = _of_hdf5(file, source, card, choices, scratch)
        holdings.source = source
        holdings.resources = stack.pop_all()
        return holdings


def _of_hdf5(file: Any, source: Path, card: Card, choices: Choices, scratch: Path) -> Holdings:
    if "mod" in file:
        tables = {name: H5adTable(file["mod"][name], source, f"the modality {name!r}", scratch) for name in file["mod"]}
        whole = H5adTable(file, source, "the MuData", scratch)
        return of_modalities(tables, whole, card, modality=choices.modality, protein_modality=choices.protein_modality)
    if is_10x_h5(file):
        table = table_of_10x_h5(file, source)
        return Holdings("10x", table, obs=(table,))
    if "row_attrs" in file and "col_attrs" in file:
        raise InputError(f"{source} is a loom file; write it as one that is read: scanpy.read_loom(…).write_h5ad(…)")
    h5ad = H5adTable(file, source, str(source), scratch)
    return Holdings("anndata", h5ad, obs=(h5ad,))


def open_hdf5(source: Path, mode: str = "r") -> Any:
    """An HDF5 file, open.

    Raises:
        InputError: it is not there or is none.
    """
    import h5py  # noqa: PLC0415

    if not source.exists():
        raise InputError(f"there is no file {source}")
    if source.stat().st_size == 0:
        raise InputError(f"{source} is empty; was its download or its disk cut short? Get a new copy")
    if not h5py.is_hdf5(source):
        raise InputError(_no_hdf5(source))
    try:
        return h5py.File(source, mode)
    except OSError as error:
        raise InputError(damage(source, error)) from error


def _no_hdf5(source: Path) -> str:
    with source.open("rb") as file:
        first = file.read(16)
    if source.suffix.casefold() in (".rds", ".rda", ".rdata", ".h5seurat", ".qs"):
        return f"{source} is R's own; docs/from-r.md tells how to send a Seurat object, or write it as h5ad there"
    if first.startswith(b"\x1f\x8b"):
        return f"{source} is compressed by gzip; unpack it first: gunzip {source}"
    if first.startswith(b"PK"):
        return f"{source} is a zip archive; unpack it first"
    if first.startswith(b"%%MatrixMarket"):
        return f"{source} is one of the three files of a 10x matrix; give the folder that it is in"
    return f"{source} is no HDF5 file (or its beginning is damaged), and what is read is {READ}"


def identity(source: Path) -> dict[str, list[int]]:
    """By what a file is known again: its place, size and time of change; of a 10x folder all three files."""
    paths = list(mtx_files(source).values()) if source.is_dir() else [source]
    found = {}
    for path in paths:
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"there is no file {path}") from error
        found[str(path.resolve())] = [stat.st_size, stat.st_mtime_ns]
    return found
