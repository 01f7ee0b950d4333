"""Writes a finished run: aside, and moved into place when it is whole."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from totalvi_client.elements import CsrWriter, empty_array, empty_column, section, storable, write_element
from totalvi_client.errors import InputError
from totalvi_client.genes_in import feature_types, made_unique
from totalvi_client.left_over import forget_in_file
from totalvi_client.matrices import as_csr, as_dense
from totalvi_client.part_file import PartFile
from totalvi_client.plan import Kept, Plan
from totalvi_client.proteins_in import PROTEIN_TYPES
from totalvi_client.report import Report
from totalvi_client.tenx import SYMBOLS

WRITTEN = (".h5ad", ".h5mu", ".csv", ".npz")
ROWS_AT_ONCE = 4096
PROTEINS = "protein_expression"
"""Key of `obsm` where scvi-tools' users have them."""


def check_out(out: Path, source: Path, kind: str, needed_bytes: int) -> None:
    """Refuse, before anything is computed, what could not be written.

    Args:
        out: the file that will be.
        source: what is read.
        kind: of the source: `anndata`, `mudata` or `10x`.
        needed_bytes: that it will take.

    Raises:
        InputError: the kind of file does not fit, its folder is not there, or its disk is full.
    """
    suffix = out.suffix.casefold()
    if suffix not in WRITTEN:
        raise InputError(f"{out}: what is written is told by the ending, one of {', '.join(WRITTEN)}")
    container = {"anndata": ".h5ad", "mudata": ".h5mu", "10x": ".h5ad"}[kind]
    if suffix in (".h5ad", ".h5mu") and suffix != container:
        raise InputError(f"{source} becomes a {container} file, so name the result {out.with_suffix(container).name}")
    if not out.parent.is_dir():
        raise InputError(f"there is no folder {out.parent} to write {out.name} into")
    if out.is_dir():
        raise InputError(f"{out} is a folder; name a file")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"the folder {out.parent} may not be written to")
    free = shutil.disk_usage(out.parent).free
    if free < needed_bytes:
        raise InputError(
            f"{out.parent} has {free / 1e9:.1f} GB left and about {needed_bytes / 1e9:.1f} GB are needed; make room, "
            "or write a .csv or .npz, which hold the latent space only"
        )


def write_out(out: Path, source: Path, plan: Plan, part: PartFile, report: Report, *, with_counts: bool) -> None:
    """Write the result of finished slices, all of it or nothing.

    Args:
        out: the file.
        source: what was read.
        plan: of the run.
        part: with every cell.
        report: whose provenance goes with it.
        with_counts: of 10x, put the counts into the new file, too.
    """
    suffix = out.suffix.casefold()
    with _aside(out) as unfinished:
        if suffix == ".csv":
            _write_csv(unfinished, plan, part)
        elif suffix == ".npz":
            _write_npz(unfinished, plan, part)
        elif plan.holdings.kind == "10x":
            _write_new(unfinished, plan, part, report, with_counts)
        else:
            shutil.copyfile(source, unfinished)
            _add(unfinished, plan, part, report)


@contextlib.contextmanager
def _aside(out: Path) -> Iterator[Path]:
    unfinished = out.with_name(f".{out.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        if out.exists():
            shutil.copymode(out, unfinished)
        os.replace(unfinished, out)
    finally:
        unfinished.unlink(missing_ok=True)


def _add(path: Path, plan: Plan, part: PartFile, report: Report) -> None:
    import h5py  # noqa: PLC0415

    with h5py.File(path, "r+") as file:
        modality = plan.holdings.gene_modality
        groups = [file, file["mod"][modality]] if modality is not None else [file]
        _fill(groups, plan, part, report)


def _fill(groups: list[Any], plan: Plan, part: PartFile, report: Report) -> None:
    """Write what is kept into the groups of an AnnData, and of the MuData that it is in."""
    targets = [[_target(group, kept, plan.n_cells) for group in groups] for kept in plan.kept]
    for first, arrays in part.slices():
        for arrays_targets, array in zip(targets, arrays, strict=True):
            for target in arrays_targets:
                target[first : first + len(array)] = array
    for group in groups:
        forget_in_file(group, plan.choices.key, report.written)
        uns = section(group, "uns")
        write_element(uns, plan.choices.key, storable(report.provenance()))


def _target(group: Any, kept: Kept, n_cells: int) -> Any:
    if kept.place == "obs":
        return empty_column(group["obs"], kept.name, n_cells)
    return empty_array(section(group, "obsm"), kept.name, (n_cells, *kept.shape))


def _write_new(path: Path, plan: Plan, part: PartFile, report: Report, with_counts: bool) -> None:
    """A new AnnData of 10x counts: genes in X, antibodies in obsm, as scanpy and scvi-tools would have them."""
    import anndata  # noqa: PLC0415
    import h5py  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    table = plan.holdings.genes
    obs = pd.DataFrame(index=pd.Index(table.obs_names().astype(str)))
    columns = table.var_columns("X")
    kinds = feature_types(table, "X")
    is_protein = np.zeros(plan.counts.matrix.shape[1], dtype=bool)
    if kinds is not None:
        is_protein = np.isin(kinds, PROTEIN_TYPES)
    names = table.var_names("X")
    names[~is_protein], names[is_protein] = made_unique(names[~is_protein]), made_unique(names[is_protein])
    var = pd.DataFrame({name: table.var_column("X", name) for name in columns if name != SYMBOLS})
    var.index = pd.Index(names.astype(str))
    proteins = list(names[is_protein])
    if plan.proteins.matrix is not None and len(plan.proteins.names) == len(proteins):
        proteins = list(plan.proteins.names)
    anndata.AnnData(obs=obs, var=var[~is_protein] if with_counts else var[:0]).write_h5ad(path)
    with h5py.File(path, "r+") as file:
        if with_counts:
            _write_counts(file, plan, ~is_protein, proteins, obs)
        _fill([file], plan, part, report)


def _write_counts(file: Any, plan: Plan, is_gene: Any, proteins: list[str], obs: Any) -> None:
    matrix = plan.counts.matrix
    genes, antibodies = np.flatnonzero(is_gene), np.flatnonzero(~is_gene)
    writer = CsrWriter(file, "X", (plan.n_cells, len(genes)), np.float32)
    array, columns = None, []
    if any("/" in name for name in proteins):
        # HDF5 would take CD16/32 for a group and something in it.
        array = empty_array(section(file, "obsm"), PROTEINS, (plan.n_cells, len(proteins)))
        write_element(section(file, "uns"), f"{PROTEINS}_names", storable(proteins))
    elif proteins:
        write_element(section(file, "obsm"), PROTEINS, obs)
        columns = [empty_column(file["obsm"][PROTEINS], name, plan.n_cells) for name in proteins]
    for start in range(0, plan.n_cells, ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, plan.n_cells)
        with plan.holdings.reading():
            block = as_csr(matrix.rows(start, stop))
        writer.append(as_csr(block[:, genes]))
        counts = as_dense(block[:, antibodies])
        if array is not None:
            array[start:stop] = counts
        for position, column in enumerate(columns):
            column[start:stop] = counts[:, position]


def _write_csv(path: Path, plan: Plan, part: PartFile) -> None:
    names = plan.holdings.genes.obs_names()
    header = ["cell"]
    for kept in plan.kept:
        header += [f"{kept.name}_{i}" for i in range(kept.size)] if kept.shape else [kept.name]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for first, arrays in part.slices():
            rows = np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)
            # Nine digits tell every float32 from its neighbours.
            writer.writerows(
                [names[first + i], *(f"{value:.9g}" for value in row)] for i, row in enumerate(rows.tolist())
            )


def _write_npz(path: Path, plan: Plan, part: PartFile) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _store(
            archive, "cells", lambda file: np.lib.format.write_array(file, plan.holdings.genes.obs_names().astype(str))
        )
        for position, kept in enumerate(plan.kept):

            def write(file: Any, position: int = position, kept: Kept = kept) -> None:
                shape = (plan.n_cells, *kept.shape)
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for _, arrays in part.slices():
                    file.write(np.ascontiguousarray(arrays[position], dtype="<f4").tobytes())

            _store(archive, kept.name, write)


def _store(archive: zipfile.ZipFile, name: str, write: Callable[[Any], None]) -> None:
    # Its date is the first that a zip can have, whenever it was written.
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
        write(file)
