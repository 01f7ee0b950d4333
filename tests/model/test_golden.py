"""scvi-tools' own answers for cells drawn from the example model's decoder (examples/draw_cells.py made them)."""

import json
from pathlib import Path

import numpy as np
import pytest

from model.artifact import read_artifact
from model.contract import CellBatch, LatentParams
from model.device_encoder import DeviceEncoder
from model.export import encode_eagerly, export_save
from model.scvi_save import read_save
from tests.saves import EXAMPLE_MODELS, ROOT, SHARED_SAVES

ARTIFACT = EXAMPLE_MODELS / "pbmc" / "1" / "encoder.pt"
GOLDEN = np.load(ROOT / "tests" / "golden" / "pbmc.npz", allow_pickle=False)


def golden_cells() -> CellBatch:
    spec = read_artifact(ARTIFACT).spec
    assert spec.batch is not None
    genes = GOLDEN["genes"][:, [GOLDEN["gene_names"].tolist().index(name) for name in spec.genes]]
    proteins = GOLDEN["proteins"][:, [GOLDEN["protein_names"].tolist().index(name) for name in spec.proteins]]
    rows, columns = np.nonzero(genes)
    codes = [spec.batch.categories.index(label) for label in GOLDEN["batch"].tolist()]
    return CellBatch(
        indptr=np.searchsorted(rows, np.arange(len(genes) + 1)).astype(np.int32),
        indices=columns.astype(np.int32),
        counts=genes[rows, columns].astype(np.float32),
        proteins=proteins.astype(np.float32),
        continuous=np.zeros((len(genes), 0), dtype=np.float32),
        codes=np.array(codes, dtype=np.int32)[:, None],
    )


def check(params: LatentParams) -> None:
    np.testing.assert_allclose(params.qz_mean, GOLDEN["qz_mean"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(params.qz_variance, GOLDEN["qz_variance"], rtol=1e-5, atol=1e-5)


def test_the_example_model_gives_scvi_tools_numbers() -> None:
    check(DeviceEncoder.load(ARTIFACT, device="cpu").encode(golden_cells()))


@pytest.mark.shared_data
def test_the_eager_encoder_with_the_saved_weights_gives_scvi_tools_numbers() -> None:
    saved = read_save(SHARED_SAVES / "pbmc")
    check(encode_eagerly(saved.encoder, saved.spec, golden_cells()))


@pytest.mark.shared_data
def test_the_example_model_is_what_export_makes_today(tmp_path: Path) -> None:
    report = export_save(SHARED_SAVES / "pbmc", name="pbmc", version=1, into=tmp_path)
    assert report.artifact.sha256 == read_artifact(ARTIFACT).sha256, "export it again: make example"


def test_the_example_request_holds_the_first_of_these_cells() -> None:
    request = json.loads((ROOT / "examples" / "request.json").read_text())
    counts = request["gene_counts"]
    for cell, (start, stop) in enumerate(zip(counts["indptr"][:-1], counts["indptr"][1:], strict=True)):
        expected = GOLDEN["genes"][cell]
        found = np.zeros_like(expected)
        found[counts["indices"][start:stop]] = counts["data"][start:stop]
        np.testing.assert_array_equal(found, expected)
