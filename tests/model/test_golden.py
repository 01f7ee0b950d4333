"""scvi-tools' own answers, kept, so that fidelity is checked where scvi-tools is not installed.

`pbmc.npz` holds cells drawn from the example model's decoder (examples/draw_cells.py made them), the folders beside it
whole saves with made-up cells (tests/golden/make_golden.py made them).
"""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from model.artifact import read_artifact
from model.contract import CellBatch, LatentParams
from model.device_encoder import DeviceEncoder
from model.export import ExportReport, encode_eagerly, export_save
from model.logistic_normal import softmax_mean
from model.scvi_save import read_save
from tests.parity.cells import Cells
from tests.parity.exactness import Deviations
from tests.saves import EXAMPLE_MODELS, ROOT, SHARED_SAVES

ARTIFACT = EXAMPLE_MODELS / "pbmc" / "1" / "encoder.pt"
FOLDER = ROOT / "tests" / "golden"
GOLDEN = np.load(FOLDER / "pbmc.npz", allow_pickle=False)
SAVES = sorted(file.parent for file in FOLDER.glob("*/model.pt"))
OUTPUTS = [field.name for field in dataclasses.fields(LatentParams)]


def golden_cells() -> CellBatch:
    cells = Cells(
        genes=GOLDEN["genes"],
        gene_names=GOLDEN["gene_names"].tolist(),
        proteins=GOLDEN["proteins"],
        protein_names=GOLDEN["protein_names"].tolist(),
        obs={"batch": GOLDEN["batch"].tolist()},
    )
    return cells.batch(read_artifact(ARTIFACT).spec)


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


@dataclasses.dataclass(frozen=True)
class Kept:
    """A kept save, exported: our answers, and all that was kept of scvi-tools'."""

    report: ExportReport
    ours: LatentParams
    exact: LatentParams
    theirs: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=SAVES, ids=lambda folder: folder.name)
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    with np.load(request.param / "cells.npz", allow_pickle=False) as archive:
        theirs = dict(archive)
    report = export_save(request.param, name="m", version=1, into=tmp_path_factory.mktemp("models"))
    encoder = DeviceEncoder.load(report.path, device="cpu", max_batch_cells=16)
    cells = Cells(
        genes=theirs["genes"],
        gene_names=theirs["gene_names"].tolist(),
        proteins=theirs["proteins"],
        protein_names=theirs["protein_names"].tolist(),
        obs={name.removeprefix("obs_"): theirs[name].tolist() for name in theirs if name.startswith("obs_")},
    ).batch(encoder.spec)
    return Kept(report, encoder.encode(cells), encode_eagerly(report.saved.encoder, encoder.spec, cells), theirs)


def test_the_kept_saves_are_all_there_and_tell_nothing_of_the_machine_they_were_made_on() -> None:
    names = {"normal", "ln", "layer_norm", "latent_library", "no_logarithm", "scvi_1.3.0"}
    assert {folder.name for folder in SAVES} == names
    for folder in SAVES:
        content = (folder / "model.pt").read_bytes()
        # Any absolute path of two parts or more, not only those of one machine.
        assert not re.findall(rb"(?<![\w.])/[a-z]+/[\w.-]*|run_name", content)


def test_only_the_kept_save_of_scvi_tools_1_3_0_has_the_old_transform(
    kept: Kept, request: pytest.FixtureRequest
) -> None:
    """DOMAIN 9.1, and 3: such a save holds a pyro_param_store among its tensors."""
    spec, version = kept.report.artifact.spec, kept.report.artifact.spec.scvi_version
    assert spec.input_transform == ("log1p" if version == "1.3.0" else "scaled")
    assert not kept.report.saved.notes
    assert (version == "1.3.0") is ("scvi_1.3.0" in request.node.name)


@pytest.mark.parametrize("output", OUTPUTS)
def test_our_float64_is_the_kept_one_of_scvi_tools(output: str, kept: Kept) -> None:
    np.testing.assert_allclose(getattr(kept.exact, output), kept.theirs[f"exact_{output}"], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("output", OUTPUTS)
def test_our_float32_is_no_further_from_float64_than_twice_the_kept_one(output: str, kept: Kept) -> None:
    Deviations.of(getattr(kept.ours, output), kept.theirs[output], kept.theirs[f"exact_{output}"]).check()


def test_library_and_z_are_the_kept_ones(kept: Kept) -> None:
    library = kept.ours.ql_mean + kept.ours.ql_variance / 2
    np.testing.assert_allclose(library, np.log(kept.theirs["library"].astype(np.float64)), rtol=1e-5, atol=1e-5)
    z = kept.ours.qz_mean
    if kept.report.artifact.spec.latent_distribution == "ln":
        z = softmax_mean(kept.ours.qz_mean, kept.ours.qz_variance)
    assert np.all(np.abs(z - kept.theirs["z"]) <= 6.0 * kept.theirs["z_error"] + 1e-5)
