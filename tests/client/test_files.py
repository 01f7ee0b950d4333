"""Files that are old, damaged, or something else: each is told what to do about it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pytest
from anndata.io import write_elem

from tests.client.fake_client import GENES, PROTEINS, FakeClient
from tests.client.made_up import (
    BATCH,
    CELLS,
    COUNTS,
    FORMS,
    N_CELLS,
    PROTEIN_COUNTS,
    Z,
    adata,
    mdata,
    quiet,
    read,
    written,
)
from totalvi_client import InputError
from totalvi_client.embedding import embed
from totalvi_client.run import encode_file


def encoded(source: Path, **choices: Any) -> Any:
    out = source.parent / f"out{'.h5mu' if source.suffix == '.h5mu' else '.h5ad'}"
    encode_file(source, out, FakeClient(), slice_cells=9, **choices)
    return read(out).obsm["X_totalVI"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cells.h5ad", None, "there is no file"),
        ("cells.h5ad", b"", "is empty; was its download or its disk cut short"),
        ("cells.h5ad.gz", gzip.compress(b"x" * 99), r"compressed by gzip; unpack it first: gunzip .*cells\.h5ad\.gz"),
        ("cells.zip", b"PK\x03\x04" + bytes(40), "is a zip archive; unpack it first"),
        ("cells.rds", gzip.compress(b"RDX3"), r"is R's own; docs/from-r\.md"),
        ("matrix.mtx", b"%%MatrixMarket matrix coordinate integer general\n", "give the folder that it is in"),
        ("cells.csv", b"cell,gene\nc1,3\n", r"is no HDF5 file .* what is read is \.h5ad, \.h5mu, a 10x \.h5"),
        ("cells.h5ad", b"\x89HDF\r\n\x1a\n" + bytes(100), "is damaged or cut short"),
    ],
)
def test_what_is_no_file_of_cells(tmp_path: Path, name: str, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        encoded(tmp_path / name)


def test_a_folder_that_is_no_10x_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no matrix\.mtx\.gz or matrix\.mtx"):
        encoded(tmp_path)
    (tmp_path / "zarr.json").write_text("{}")
    with pytest.raises(InputError, match=r"is a zarr store; write it as one file: anndata\.read_zarr"):
        encoded(tmp_path)


def test_hdf5_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["numbers"] = np.arange(3)
    with pytest.raises(InputError, match=r"has no 'obs' in '/', so it is not an AnnData file .* 10x .* \.h5"):
        encoded(tmp_path / "x.h5")
    with h5py.File(tmp_path / "x.loom", "w") as file:
        for name in ("row_attrs", "col_attrs", "layers"):
            file.create_group(name)
    with pytest.raises(InputError, match=r"is a loom file; .*scanpy\.read_loom"):
        encoded(tmp_path / "x.loom")


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_cut_short_anywhere(tmp_path: Path, form: str) -> None:
    source = written(adata(FORMS[form](COUNTS)), tmp_path / "cells.h5ad")
    whole = source.read_bytes()
    for share in np.linspace(0.01, 0.99, 25):
        source.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=r"cut short|no HDF5|is damaged"):
            encoded(source)


@pytest.mark.parametrize("form", ["dense", "csr", "csc"])
def test_damaged_anywhere_is_refused_or_does_no_harm(tmp_path: Path, form: str) -> None:
    source = written(adata(FORMS[form](COUNTS)), tmp_path / "cells.h5ad")
    whole = source.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for start in rng.integers(0, len(whole) - 64, 60):
        broken = bytearray(whole)
        broken[start : start + 64] = rng.bytes(64)
        source.write_bytes(broken)
        try:
            with quiet():
                encode_file(source, tmp_path / "out.npz", FakeClient())
        except InputError:
            refused += 1
    # Most of the bytes are counts or names that nobody can check; none of them ends in anybody else's exception.
    assert refused > 5


def test_a_sparse_matrix_that_cannot_be(tmp_path: Path) -> None:
    for form in ("csr", "csc"):
        for part, value, says in (
            ("indptr", 10**6, "the index of the sparse matrix /X is wrong"),
            ("indices", 10**6, "an entry stands outside of the|an entry of /X stands outside"),
            ("indices", -1, "an entry stands outside of the|an entry of /X stands outside"),
        ):
            source = written(adata(FORMS[form](COUNTS)), tmp_path / "cells.h5ad")
            with h5py.File(source, "r+") as file:
                file["X"][part][7] = value
            with pytest.raises(InputError, match=says):
                encoded(source)


def test_a_matrix_of_another_size(tmp_path: Path) -> None:
    source = written(adata(FORMS["dense"](COUNTS)), tmp_path / "cells.h5ad")
    with h5py.File(source, "r+") as file:
        del file["X"]
        file["X"] = COUNTS[:, :5]
    with pytest.raises(InputError, match="X is 50 x 5, but there are 50 cells and 12 columns"):
        encoded(source)


# Written by others, long ago


def old_file(path: Path, sparse: bool) -> Path:
    """As anndata 0.6 wrote it: tables as compound data sets."""
    names = [f"cell{i}" for i in range(N_CELLS)]
    with h5py.File(path, "w") as file:
        obs = np.zeros(N_CELLS, dtype=[("index", "S10"), ("batch", "i1")])
        obs["index"], obs["batch"] = names, [int(label[1]) for label in BATCH]
        file["obs"] = obs
        var = np.zeros(len(GENES), dtype=[("index", "S10")])
        var["index"] = list(GENES)
        file["var"] = var
        obsm = np.zeros(N_CELLS, dtype=[("protein_expression", "f4", (len(PROTEINS),))])
        obsm["protein_expression"] = PROTEIN_COUNTS
        file["obsm"] = obsm
        file.create_group("uns")["batch_categories"] = np.array([b"b0", b"b1"])
        file["uns"]["protein_names"] = np.array([name.encode() for name in PROTEINS])
        if sparse:
            matrix = FORMS["csr"](COUNTS)
            group = file.create_group("X")
            group.attrs["h5sparse_format"], group.attrs["h5sparse_shape"] = "csr", matrix.shape
            for part in ("data", "indices", "indptr"):
                group[part] = getattr(matrix, part)
        else:
            file["X"] = COUNTS.astype(np.float32)
    return path


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_an_h5ad_older_than_0_7_says_how_to_write_it_anew(tmp_path: Path, sparse: bool) -> None:
    source = old_file(tmp_path / "old.h5ad", sparse)

    with pytest.raises(InputError) as refusal:
        encoded(source)

    says = str(refusal.value)
    assert "was written by an anndata older than 0.7 (obs, var, obsm as one table); write it anew" in says
    # What is advised works.
    advice = says[says.index("import anndata") :].replace("'new.h5ad'", repr(str(tmp_path / "new.h5ad")))
    with quiet():
        exec(advice, {})
    assert np.array_equal(encoded(tmp_path / "new.h5ad"), Z)


def test_an_h5ad_older_than_0_7_in_memory(tmp_path: Path) -> None:
    with quiet():
        data = anndata.read_h5ad(old_file(tmp_path / "old.h5ad", sparse=True))
        embed(data, FakeClient())
    assert np.array_equal(data.obsm["X_totalVI"], Z)


def test_an_h5ad_of_0_7(tmp_path: Path) -> None:
    """Categories beside their columns, groups without the names of their kind."""
    source = written(adata(), tmp_path / "cells.h5ad")
    with h5py.File(source, "r+") as file:
        del file["obs"]["batch"]
        categories = file["obs"].create_group("__categories")
        categories["batch"] = np.array(["b0", "b1"], dtype=h5py.string_dtype())
        file["obs"]["batch"] = np.array([int(label[1]) for label in BATCH], dtype=np.int8)
        file["obs"]["batch"].attrs["categories"] = categories["batch"].ref
        file["obs"].attrs["encoding-version"] = "0.1.0"
        for name in ("obsm", "uns", "layers", "varm", "obsp", "varp"):
            for key in list(file[name].attrs):
                del file[name].attrs[key]
        for key in list(file.attrs):
            del file.attrs[key]

    assert np.array_equal(encoded(source), Z)


def test_h5mu_whose_modalities_differ(tmp_path: Path) -> None:
    import mudata

    data = mdata()
    with quiet():
        other = mudata.MuData({"rna": data.mod["rna"][:40].copy(), "prot": data.mod["prot"].copy()})
    source = written(other, tmp_path / "cells.h5mu")
    with pytest.raises(InputError, match=r"modality 'rna' has not the same cells .*40 and 50.*intersect_obs"):
        encoded(source)


def test_h5mu_with_modalities_of_other_names(tmp_path: Path) -> None:
    source = written(mdata(rna="one", prot="two"), tmp_path / "cells.h5mu")
    assert np.array_equal(encoded(source), Z)
    with pytest.raises(InputError, match="no modality 'three'; modality= may be: one, two"):
        encoded(source, modality="three")


@pytest.mark.parametrize("names", ["uns", "frame"])
def test_proteins_of_a_file(tmp_path: Path, names: str) -> None:
    data = adata(proteins=names == "frame")
    if names == "uns":
        data.obsm["protein_expression"] = PROTEIN_COUNTS
        data.uns["protein_names"] = np.array(PROTEINS)
    assert np.array_equal(encoded(written(data, tmp_path / "cells.h5ad")), Z)


def test_names_that_are_a_column(tmp_path: Path) -> None:
    data = adata(genes=[f"ENSG{i:011}" for i in range(len(GENES))])
    data.var["symbol"] = list(GENES)
    data.obs["sample"] = data.obs.pop("batch")
    source = written(data, tmp_path / "cells.h5ad")
    with pytest.raises(InputError, match="give gene_column='symbol'"):
        encoded(source)
    with pytest.raises(InputError, match="batch_key='sample'"):
        encoded(source, gene_column="symbol")
    assert np.array_equal(encoded(source, gene_column="symbol", batch_key="sample"), Z)


def test_a_file_without_cells(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no cells; was everything filtered out"):
        encoded(written(adata(n_cells=0), tmp_path / "cells.h5ad"))


def test_names_that_are_nullable_text(tmp_path: Path) -> None:
    """As anndata may write what pandas 3 has."""
    source = written(adata(), tmp_path / "cells.h5ad")
    with h5py.File(source, "r+") as file, quiet():
        for part, names in (("obs", CELLS), ("var", GENES)):
            del file[part]["_index"]
            group = file[part].create_group("_index")
            group.attrs["encoding-type"], group.attrs["encoding-version"] = "nullable-string-array", "0.1.0"
            write_elem(group, "values", np.array(names, dtype=object))
            write_elem(group, "mask", np.zeros(len(names), dtype=bool))
    encode_file(source, tmp_path / "out.npz", FakeClient())
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["cells"].tolist() == CELLS
        assert np.array_equal(arrays["X_totalVI"], Z)


def test_a_name_says_nothing(tmp_path: Path) -> None:
    written(adata(), tmp_path / "cells.h5ad").rename(tmp_path / "cells.dat")
    encode_file(tmp_path / "cells.dat", tmp_path / "out.h5ad", FakeClient())
    assert np.array_equal(read(tmp_path / "out.h5ad").obsm["X_totalVI"], Z)
