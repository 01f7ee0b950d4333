"""Everything that a biologist may hold, against the real service: the bits of `/v1` asked by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import h5py
import httpx
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from tests.client.made_up import quiet, read, written
from tests.end_to_end.server import RunningServer
from tests.saves import EXAMPLE_MODELS, ROOT
from totalvi_client import Client, InputError, TooLarge
from totalvi_client.embedding import check, embed
from totalvi_client.run import check_file, encode_file

N_CELLS = 40
CHOICES: dict[str, Any] = {"distribution": True, "library": True, "n_samples": 2, "seed": 11, "slice_cells": 9}


class Cells:
    """Cells drawn from the example model's own decoder, and what the service answers when asked by hand."""

    def __init__(self, http_port: int) -> None:
        with np.load(ROOT / "tests" / "golden" / "pbmc.npz") as golden:
            self.counts = golden["genes"].astype(np.int64)
            self.proteins = golden["proteins"].astype(np.int64)
            self.genes, self.protein_names = golden["gene_names"].tolist(), golden["protein_names"].tolist()
            self.batch = golden["batch"].tolist()
        self.names = [f"AAAC{i}-1" for i in range(N_CELLS)]
        request = {
            "genes": self.genes,
            "gene_counts": self.counts.tolist(),
            "proteins": self.protein_names,
            "protein_counts": self.proteins.tolist(),
            "batch": self.batch,
            "n_samples": 2,
            "seed": 11,
        }
        url = f"http://127.0.0.1:{http_port}/v1/models/pbmc/encode"
        self.answer = httpx.post(url, json=request, timeout=60).raise_for_status().json()
        self.answer_of_one_batch = (
            httpx.post(url, json=request | {"batch": "PBMC5k"}, timeout=60).raise_for_status().json()
        )

    def obs(self) -> Any:
        return pd.DataFrame({"batch": pd.Categorical(self.batch)}, index=pd.Index(self.names))

    def adata(self, x: Any, **parts: Any) -> Any:
        with quiet():
            data = anndata.AnnData(x, obs=self.obs(), var=pd.DataFrame(index=pd.Index(self.genes)), **parts)
        frame = pd.DataFrame(self.proteins, columns=self.protein_names, index=data.obs_names)
        data.obsm["protein_expression"] = frame
        return data

    def mdata(self) -> Any:
        obs = self.obs()
        rna = anndata.AnnData(
            sp.csr_matrix(self.counts.astype(np.float32)), obs=obs, var=pd.DataFrame(index=pd.Index(self.genes))
        )
        prot = anndata.AnnData(
            self.proteins.astype(np.float32), obs=obs[[]], var=pd.DataFrame(index=pd.Index(self.protein_names))
        )
        with quiet():
            return mudata.MuData({"rna": rna, "prot": prot})

    def features(self) -> tuple[Any, list[tuple[str, str, str]]]:
        """Features x barcodes, with what the model does not know among them."""
        features = [(f"ENSG{i:011}", name, "Gene Expression") for i, name in enumerate(self.genes)]
        features.insert(7, ("ENSG00000999999", "NOT-A-GENE-OF-IT", "Gene Expression"))
        features += [(name, name, "Antibody Capture") for name in self.protein_names]
        counts = np.insert(self.counts, 7, 5, axis=1)
        return sp.csc_matrix(np.concatenate([counts, self.proteins], axis=1).T), features


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with RunningServer(EXAMPLE_MODELS) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="module")
def cells(server: RunningServer) -> Cells:
    return Cells(server.http_port)


@pytest.fixture(scope="module", params=["http", "grpc"])
def client(server: RunningServer, request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(f"{request.param}://127.0.0.1:{getattr(server, f'{request.param}_port')}") as asking:
        yield asking


def assert_same(data: Any, answer: Any) -> None:
    """The bits of what was asked by hand."""
    for key, values in (
        ("X_totalVI", answer["z"]),
        ("X_latent_qzm", answer["qz"]["mean"]),
        ("X_latent_qzv", answer["qz"]["variance"]),
    ):
        assert data.obsm[key].dtype == np.float32
        assert np.array_equal(data.obsm[key], np.array(values, dtype=np.float32))
    draws = np.array(answer["samples"]["latent"]["z"], dtype=np.float32)
    assert np.array_equal(data.obsm["X_totalVI_samples"], np.swapaxes(draws, 0, 1))


FORMS = {
    "csr": lambda c: c.adata(sp.csr_matrix(c.counts.astype(np.float32))),
    "csc": lambda c: c.adata(sp.csc_matrix(c.counts.astype(np.float32))),
    "dense": lambda c: c.adata(c.counts.astype(np.float32)),
    "layer": lambda c: c.adata(np.log1p(c.counts), layers={"counts": sp.csr_matrix(c.counts.astype(np.float64))}),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_anndata(cells: Cells, client: Client, form: str) -> None:
    data = FORMS[form](cells)

    report = embed(data, client, **CHOICES, layer="counts" if form == "layer" else None)

    assert_same(data, cells.answer)
    assert np.array_equal(
        data.obs["totalVI_library_size"], np.array(cells.answer["library"]["observed"], dtype=np.float32)
    )
    assert report.sha256 == client.model("pbmc").sha256
    assert not report.warnings


@pytest.mark.parametrize("form", FORMS)
def test_an_h5ad(cells: Cells, client: Client, form: str, tmp_path: Path) -> None:
    source = written(FORMS[form](cells), tmp_path / "in.h5ad")
    encode_file(source, tmp_path / "out.h5ad", client, **CHOICES, layer="counts" if form == "layer" else None)
    assert_same(read(tmp_path / "out.h5ad"), cells.answer)


@pytest.mark.parametrize("form", ["csr", "csc", "dense"])
def test_a_backed_h5ad(cells: Cells, client: Client, form: str, tmp_path: Path) -> None:
    source = written(FORMS[form](cells), tmp_path / "in.h5ad")
    with quiet():
        data = anndata.read_h5ad(source, backed="r")
    embed(data, client, **CHOICES)
    assert_same(data, cells.answer)
    data.file.close()


def test_a_mudata_and_an_h5mu(cells: Cells, client: Client, tmp_path: Path) -> None:
    data = cells.mdata()
    source = written(data, tmp_path / "in.h5mu")

    embed(data, client, **CHOICES)
    encode_file(source, tmp_path / "out.h5mu", client, **CHOICES)

    again = read(tmp_path / "out.h5mu")
    for found in (data, data.mod["rna"], again, again.mod["rna"]):
        assert_same(found, cells.answer)


def test_a_10x_h5(cells: Cells, client: Client, tmp_path: Path) -> None:
    counts, features = cells.features()
    with h5py.File(tmp_path / "in.h5", "w") as file:
        group = file.create_group("matrix")
        names = group.create_group("features")
        for position, name in enumerate(("id", "name", "feature_type")):
            names[name] = np.array([feature[position] for feature in features], dtype="S32")
        group["barcodes"] = np.array(cells.names, dtype="S18")
        for part in ("data", "indices", "indptr"):
            group[part] = getattr(counts, part)
        group["shape"] = np.array(counts.shape, dtype=np.int32)

    report = encode_file(tmp_path / "in.h5", tmp_path / "out.h5ad", client, **CHOICES, batch="PBMC5k")

    data = read(tmp_path / "out.h5ad")
    assert_same(data, cells.answer_of_one_batch)
    assert data.obs_names.tolist() == cells.names
    assert [(notice.code, notice.count) for notice in report.warnings] == [("extra_genes", 1)]


def test_a_10x_folder(cells: Cells, client: Client, tmp_path: Path) -> None:
    counts, features = cells.features()
    folder = tmp_path / "filtered_feature_bc_matrix"
    folder.mkdir()
    entries = sp.coo_matrix(counts)
    order = np.lexsort((entries.row, entries.col))
    lines = [f"{entries.row[i] + 1} {entries.col[i] + 1} {entries.data[i]}\n" for i in order]
    head = f"%%MatrixMarket matrix coordinate integer general\n{counts.shape[0]} {counts.shape[1]} {len(lines)}\n"
    (folder / "matrix.mtx").write_text(head + "".join(lines))
    (folder / "barcodes.tsv").write_text("".join(f"{name}\n" for name in cells.names))
    (folder / "features.tsv").write_text("".join("\t".join(feature) + "\n" for feature in features))

    encode_file(folder, tmp_path / "out.h5ad", client, **CHOICES, batch="PBMC5k")

    assert_same(read(tmp_path / "out.h5ad"), cells.answer_of_one_batch)


def test_looking_first(cells: Cells, client: Client, tmp_path: Path) -> None:
    data = FORMS["csr"](cells)[:, 100:].copy()
    source = written(data, tmp_path / "in.h5ad")
    for report in (check(data, client), check_file(source, client)):
        assert (report.genes.known, report.genes.missing) == (1900, 100)
        assert [(notice.code, notice.count) for notice in report.warnings] == [("missing_genes", 100)]


def test_an_address_will_do(cells: Cells, server: RunningServer) -> None:
    data = FORMS["csr"](cells)
    embed(data, f"http://127.0.0.1:{server.http_port}", **CHOICES)
    assert_same(data, cells.answer)


def test_more_than_the_server_takes_is_cut(cells: Cells, tmp_path: Path) -> None:
    limits = ("--max-request-cells", 5, "--max-request-bytes", 65536, "--max-samples", 3)
    with (
        RunningServer(EXAMPLE_MODELS, *limits) as running,
        Client(f"http://127.0.0.1:{running.wait_until_ready().http_port}") as asking,
    ):
        data = FORMS["dense"](cells)
        embed(data, asking, **(CHOICES | {"slice_cells": None}))
        assert_same(data, cells.answer)
        with pytest.raises(TooLarge, match="4 samples are over max_samples = 3"):
            embed(data, asking, n_samples=4)
        assert_same(data, cells.answer)


MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "log-normalised": (lambda d: _set(d, "X", np.log1p(d.X.toarray())), {}, "looks log-normalised"),
    "Ensembl ids": (lambda d: _set(d, "var_names", [f"ENSG{i:011}" for i in range(2000)]), {}, "model symbols"),
    "unknown batch": (lambda d: d.obs.update({"batch": "PBMC9k"}), {"batch": "PBMC9k"}, "trained with 'PBMC10k', 'PB"),
    "no batch": (lambda d: d.obs.drop(columns="batch", inplace=True), {}, "no column 'batch'"),
    "no proteins": (lambda d: d.obsm.pop("protein_expression"), {}, "needs the counts of 14 proteins"),
    "duplicate genes": (
        lambda d: _set(d, "var_names", [*d.var_names[:1999], "HES4"]),
        {},
        r"'HES4' in var_names.*var_names_make_unique",
    ),
    "negative": (lambda d: _set(d, "X", d.X.toarray() - 1), {}, "looks below zero"),
    "fractions": (lambda d: _set(d, "X", np.maximum(d.X.toarray() * 31.7 - 0.3, 0)), {}, "allow_non_integer=True"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_before_anything_is_sent(cells: Cells, client: Client, mistake: str) -> None:
    make, choices, says = MISTAKES[mistake]
    data = FORMS["csr"](cells)
    with quiet():
        if mistake != "unknown batch":
            make(data)
    with pytest.raises(InputError, match=says):
        embed(data, client, **choices)
    assert "X_totalVI" not in data.obsm


@pytest.mark.slow
def test_scanpy_goes_on_with_what_was_written(cells: Cells, client: Client, tmp_path: Path) -> None:
    import scanpy

    encode_file(written(FORMS["csr"](cells), tmp_path / "in.h5ad"), tmp_path / "out.h5ad", client)
    encode_file(written(cells.mdata(), tmp_path / "in.h5mu"), tmp_path / "out.h5mu", client)

    for data in (read(tmp_path / "out.h5ad"), read(tmp_path / "out.h5mu").mod["rna"]):
        with quiet():
            scanpy.pp.neighbors(data, use_rep="X_totalVI", n_neighbors=5)
            scanpy.tl.umap(data)
        assert data.obsm["X_umap"].shape == (N_CELLS, 2)
        assert np.isfinite(data.obsm["X_umap"]).all()


def _set(data: Any, name: str, value: Any) -> None:
    setattr(data, name, value)
