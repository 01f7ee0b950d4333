"""10x files and folders of every age, whole and damaged."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.client.fake_client import GENES, PROTEINS, FakeClient, answer, card
from tests.client.made_up import COUNTS, N_CELLS, PROTEIN_COUNTS, tenx_h5, tenx_mtx
from totalvi_client import InputError
from totalvi_client.run import check_file, encode_file

BARCODES = [f"AAAC{i}-1" for i in range(N_CELLS)]
Z = answer(COUNTS, PROTEIN_COUNTS, ["b1"] * N_CELLS)
GENES_ONLY = answer(COUNTS, None, ["b1"] * N_CELLS)


def encoded(source: Path, client: FakeClient | None = None, **choices: object) -> np.ndarray:
    out = source.with_name("out.npz")
    encode_file(source, out, client or FakeClient(), batch="b1", slice_cells=7, **choices)
    with np.load(out) as arrays:
        assert arrays["cells"].tolist() == BARCODES
        return arrays["X_totalVI"]


def test_h5_of_cell_ranger_3(tmp_path: Path) -> None:
    source = tenx_h5(tmp_path / "cells.h5")

    report = check_file(source, FakeClient(), batch="b1")

    assert np.array_equal(encoded(source), Z)
    assert (report.genes.given, report.proteins.given) == (13, 3)
    assert report.protein_counts == "the columns of the feature type Antibody Capture"
    notices = {notice.code: notice for notice in report.warnings}
    assert notices["repeated_genes"].examples == ("G2",)


def test_h5_of_cell_ranger_2(tmp_path: Path) -> None:
    source = tenx_h5(tmp_path / "cells.h5", layout=2)

    with pytest.raises(InputError, match="the model needs the counts of 3 proteins"):
        encoded(source)

    assert np.array_equal(encoded(source, proteins=False), GENES_ONLY)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("shuffled", [False, True], ids=["sorted", "shuffled"])
def test_mtx_of_cell_ranger_3(tmp_path: Path, packed: bool, shuffled: bool) -> None:
    assert np.array_equal(encoded(tenx_mtx(tmp_path / "cells", packed=packed, shuffled=shuffled)), Z)


def test_mtx_of_cell_ranger_2(tmp_path: Path) -> None:
    source = tenx_mtx(tmp_path / "cells", packed=False, genes_only=True)
    assert np.array_equal(encoded(source, proteins=False), GENES_ONLY)


def test_mtx_in_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("totalvi_client.spill.BLOCK_BYTES", 700)
    monkeypatch.setattr("totalvi_client.tenx.ENTRIES_AT_ONCE", 64)
    assert np.array_equal(encoded(tenx_mtx(tmp_path / "cells")), Z)


def test_names_are_told_by_the_model(tmp_path: Path) -> None:
    ids = tuple(f"ENSG{i:011}" for i in range(len(GENES)))
    source = tenx_h5(tmp_path / "cells.h5")
    client = FakeClient(card(genes=ids, proteins=("CD3", "CD19", "CD4")))

    assert np.array_equal(encoded(source, client), Z)
    assert check_file(source, client, batch="b1").gene_column == "gene_ids"
    with pytest.raises(InputError, match="give gene_column='gene_ids'"):
        encoded(source, client, gene_column="gene_symbols")


def test_a_sample_s_name_before_the_files(tmp_path: Path) -> None:
    source = tenx_mtx(tmp_path / "cells")
    for path in list(source.iterdir()):
        path.rename(path.with_name(f"GSM1_{path.name}"))
    assert np.array_equal(encoded(source), Z)
    for path in list(source.iterdir()):
        shutil.copy(path, path.with_name(f"GSM2_{path.name.removeprefix('GSM1_')}"))
    with pytest.raises(InputError, match="has the files of several samples"):
        encoded(source)


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
def test_a_file_is_missing(tmp_path: Path, name: str) -> None:
    source = tenx_mtx(tmp_path / "cells")
    (source / name).unlink()
    with pytest.raises(InputError, match=f"has no {name.replace('.', '[.]')} or .*a 10x folder has matrix.mtx.gz"):
        encoded(source)


@pytest.mark.parametrize("name", ["matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_is_cut_short(tmp_path: Path, name: str, share: float) -> None:
    source = tenx_mtx(tmp_path / "cells")
    whole = (source / name).read_bytes()
    (source / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=r"cut short|copy it anew|empty list|does not begin with|is damaged"):
        encoded(source)


def test_an_unpacked_matrix_that_is_cut_short(tmp_path: Path) -> None:
    source = tenx_mtx(tmp_path / "cells", packed=False)
    lines = (source / "matrix.mtx").read_text().splitlines(keepends=True)
    (source / "matrix.mtx").write_text("".join(lines[:-5]))
    with pytest.raises(InputError, match=rf"cut short: {len(lines) - 3 - 5} of {len(lines) - 3} entries are there"):
        encoded(source)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("99 1 3\n", "feature is not in 1 to 16"),
        ("1 0 3\n", "cell is not in 1 to 50"),
        ("x y z\n", "damaged"),
    ],
)
def test_entries_that_cannot_be(tmp_path: Path, line: str, says: str) -> None:
    source = tenx_mtx(tmp_path / "cells", packed=False)
    lines = (source / "matrix.mtx").read_text().splitlines(keepends=True)
    (source / "matrix.mtx").write_text("".join([*lines[:9], line, *lines[10:]]))
    with pytest.raises(InputError, match=says):
        encoded(source)


@pytest.mark.parametrize(
    ("head", "says"),
    [
        ("%%MatrixMarket matrix array real general\n2 2\n", "does not begin with"),
        ("%%MatrixMarket matrix coordinate pattern general\n2 2 0\n", "of the kind pattern general"),
        ("%%MatrixMarket matrix coordinate real symmetric\n2 2 0\n", "of the kind real symmetric"),
        ("%%MatrixMarket matrix coordinate integer general\nno numbers\n", "not a Matrix Market file of counts"),
        ("not at all\n", "does not begin with"),
    ],
)
def test_a_matrix_of_another_kind(tmp_path: Path, head: str, says: str) -> None:
    source = tenx_mtx(tmp_path / "cells", packed=False)
    (source / "matrix.mtx").write_text(head)
    with pytest.raises(InputError, match=says):
        encoded(source)


def test_lists_that_do_not_fit_the_matrix(tmp_path: Path) -> None:
    source = tenx_mtx(tmp_path / "cells")
    (source / "barcodes.tsv.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    with pytest.raises(InputError, match="there are 2 barcodes for 50 rows of the matrix"):
        encoded(source)


def test_several_genomes(tmp_path: Path) -> None:
    source = tenx_h5(tmp_path / "cells.h5", layout=2)
    with h5py.File(source, "r+") as file:
        file.copy("GRCh38", "mm10")
    with pytest.raises(InputError, match=r"holds the genomes GRCh38, mm10; read one with scanpy\.read_10x_h5"):
        encoded(source)


def test_10x_has_no_batch_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'batch' in obs \(there is: nothing\); or give batch= one label"):
        check_file(tenx_h5(tmp_path / "cells.h5"), FakeClient())


def test_the_proteins_names_are_those_of_the_file() -> None:
    assert all("_TotalSeqB" in name for name in PROTEINS)
