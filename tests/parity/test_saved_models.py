"""Models trained and saved by scvi-tools, exported, and asked the same as scvi-tools (pip install -e '.[parity]')."""

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.contract import CellBatch, LatentParams
from model.device_encoder import DeviceEncoder
from model.export import ExportReport, encode_eagerly, export_save
from model.logistic_normal import softmax_mean
from model.scvi_save import read_save
from tests.parity.exactness import Deviations
from tests.parity.models import CASES, GRID, MC_CELLS, NUMBERS, Answers, Case, build, table, to_scvi

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

OUTPUTS = [field.name for field in dataclasses.fields(LatentParams)]


@dataclasses.dataclass(frozen=True)
class Served:
    """A model of scvi-tools, exported, with the answers of both for the same cells."""

    case: Case
    report: ExportReport
    cells: CellBatch
    ours: LatentParams
    exact: LatentParams
    theirs: Answers


@pytest.fixture(scope="module", params=CASES, ids=str)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("models")
    named_cells, theirs = build(request.param, folder / "save")
    report = export_save(folder / "save", name="m", version=1, into=folder)
    encoder = DeviceEncoder.load(report.path, device="cpu", max_batch_cells=16)
    cells = named_cells.batch(encoder.spec)
    exact = encode_eagerly(read_save(folder / "save").encoder, encoder.spec, cells)
    return Served(request.param, report, cells, encoder.encode(cells), exact, theirs)


def test_every_value_of_an_option_meets_every_value_of_the_others() -> None:
    rows = [dataclasses.asdict(case) for case in table(GRID)]
    for one, other in itertools.combinations(rows[0], 2):
        # What is not encoded cannot be got wrong: those rows show nothing about covariates.
        blind = "coded" not in (one, other) and {"batch", "covs", "numbers"} & {one, other}
        found = {(row[one], row[other]) for row in rows if row["coded"] or not blind}
        expected = set(itertools.product({row[one] for row in rows}, {row[other] for row in rows}))
        if (one, other) == ("batch", "missing"):
            # A protein that no batch has is a protein without counts, not a missing one.
            expected -= {("none", "batch"), ("one", "batch")}
        assert found == expected, f"{one} and {other}"


def test_the_save_says_what_the_model_was_set_up_with(served: Served) -> None:
    case, spec = served.case, served.report.artifact.spec
    assert spec.model_class == ("TOTALANVI" if case.kind in ("totalanvi", "pretrained") else "TOTALVI")
    assert spec.genes == tuple(case.gene_names)
    assert spec.proteins == tuple(case.protein_names)
    if case.batch == "none":
        assert spec.batch is None
    else:
        assert spec.batch is not None and spec.batch.key == "batch"
        assert [(type(label), label) for label in spec.batch.categories] == [(type(b), b) for b in case.batches]
    assert {field.key: list(field.categories) for field in spec.categorical_covariates} == case.covariates
    assert [field.key for field in spec.categorical_covariates] == list(case.covariates)
    assert spec.continuous_covariates == tuple(NUMBERS[: case.numbers])
    assert (spec.encode_covariates, spec.log_variational) == (case.coded, case.log)
    assert (spec.latent_distribution, spec.n_layers) == (case.z, case.layers)
    assert (spec.n_latent, spec.n_hidden) == (case.latent, case.hidden)
    assert spec.library_encoder_trained is (case.library == "latent")
    assert dict(spec.proteins_missing_per_batch) == case.missing_proteins
    assert spec.input_transform == "scaled"
    uncertain = [note for note in served.report.saved.notes if "NOT CERTAIN" in note]
    assert bool(uncertain) is (case.kind == "one_step")


def test_our_float64_is_scvi_tools_own(served: Served) -> None:
    for name in OUTPUTS:
        np.testing.assert_allclose(getattr(served.exact, name), served.theirs.exact[name], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("output", OUTPUTS)
def test_our_float32_is_no_further_from_float64_than_twice_scvi_tools_own(
    output: str, served: Served, record_property: Callable[[str, object], None]
) -> None:
    ours, exact = getattr(served.ours, output), getattr(served.exact, output)
    deviations = Deviations.of(ours, served.theirs.params[output], exact)
    record_property(output, deviations)
    deviations.check()


def test_the_posterior_is_that_of_get_latent_representation(served: Served) -> None:
    for ours, theirs in zip((served.ours.qz_mean, served.ours.qz_variance), served.theirs.latent, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_library_is_that_of_get_latent_library_size(served: Served) -> None:
    # Compared as logarithms: where counts enter without one, libraries of 1e12 come out.
    ours = served.ours.ql_mean + served.ours.ql_variance / 2
    np.testing.assert_allclose(ours, np.log(served.theirs.library.astype(np.float64)), rtol=1e-5, atol=1e-5)


def test_z_is_what_get_latent_representation_estimates(served: Served) -> None:
    z, error = served.theirs.z, served.theirs.z_error
    if served.case.z == "normal":
        np.testing.assert_allclose(served.ours.qz_mean[:MC_CELLS], z, rtol=1e-5, atol=1e-5)
        return
    ours = softmax_mean(served.ours.qz_mean[:MC_CELLS], served.ours.qz_variance[:MC_CELLS])
    assert np.all(np.abs(ours - z) <= 6.0 * error + 1e-5)
    # The errors are that small altogether, too: softmax(mean) would not pass.
    if served.case.latent > 1:
        assert np.sqrt(np.mean(((ours - z) / error) ** 2)) < 1.3


def test_a_query_that_was_not_trained_is_random_in_its_new_batches(tmp_path: Path) -> None:
    """Each save is served as it is; that two of the same reference differ is scvi-tools' doing (DOMAIN 5)."""
    import scvi

    case = next(case for case in CASES if case.kind == "query" and case.covs == "none")
    answers = []
    cells, _ = build(case, tmp_path / "first")
    for seed in (1, 2):
        scvi.settings.seed = seed
        query = scvi.model.TOTALVI.load_query_data(
            to_scvi(case, cells), str(tmp_path / "first_reference"), accelerator="cpu"
        )
        query.is_trained_ = True
        query.save(str(tmp_path / str(seed)))
        path = export_save(tmp_path / str(seed), name="m", version=seed, into=tmp_path).path
        encoder = DeviceEncoder.load(path, device="cpu", max_batch_cells=16)
        ours = encoder.encode(cells.batch(encoder.spec)).qz_mean
        np.testing.assert_allclose(ours, query.get_latent_representation(), rtol=1e-5, atol=1e-5)
        answers.append(ours)
    known = np.array([label in ("b1", "b10", "b2") for label in cells.obs["batch"]])
    assert 0 < known.sum() < len(known)
    np.testing.assert_array_equal(answers[0][known], answers[1][known])
    assert np.abs(answers[0] - answers[1])[~known].max() > 0.01
