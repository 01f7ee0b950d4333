"""The compiled encoder equals the eager one, and a cell's bits are its own."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from model import torchscript
from model.artifact import Artifact, read_artifact, write_artifact
from model.compiled_encoder import compile_encoder
from model.contract import CellBatch, LatentParams
from model.device_encoder import SINGLE_THREAD_CELLS, DeviceEncoder, example_cells
from model.export import deviation_from_eager, encode_eagerly
from model.scvi_save import SavedModel, read_save
from tests.saves import SaveRecipe

RECIPES = {
    "default": SaveRecipe(),
    "one layer": SaveRecipe(model_kwargs={"n_hidden": 16, "n_layers_encoder": 1}),
    "three layers": SaveRecipe(model_kwargs={"n_hidden": 16, "n_layers_encoder": 3}),
    "no batch norm": SaveRecipe(model_kwargs={"n_hidden": 16, "use_batch_norm": "decoder"}),
    "layer norm only": SaveRecipe(
        model_kwargs={"n_hidden": 16, "use_batch_norm": "none", "use_layer_norm": "both", "n_layers_encoder": 3}
    ),
    "both norms": SaveRecipe(model_kwargs={"n_hidden": 16, "use_layer_norm": "encoder"}),
    "no batch": SaveRecipe(batches=None, efficiency=None),
    "one batch": SaveRecipe(batches=["only"], efficiency=None),
    "covariates": SaveRecipe(
        categorical={"donor": ["d1", "d2", "d3"], "one": ["x"], "site": ["s1", "s2"]}, continuous=["age", "dose"]
    ),
    "covariates not encoded": SaveRecipe(
        categorical={"donor": ["d1", "d2"]}, continuous=["age"], model_kwargs={"encode_covariates": False}
    ),
    "log1p": SaveRecipe(efficiency=None),
    "no logarithm": SaveRecipe(model_kwargs={"n_hidden": 16, "log_variational": False}),
    "no logarithm, unscaled": SaveRecipe(model_kwargs={"n_hidden": 16, "log_variational": False}, efficiency=None),
    "wide and odd": SaveRecipe(model_kwargs={"n_hidden": 150}, latent_distribution="ln", n_latent=1),
}


def compiled(saved: SavedModel, folder: Path) -> DeviceEncoder:
    path = folder / "encoder.pt"
    write_artifact(path, torchscript.script(compile_encoder(saved.encoder, saved.spec)), saved.spec)
    return DeviceEncoder(read_artifact(path), torch.device("cpu"))


def same_bits(left: LatentParams, right: LatentParams) -> bool:
    return all(
        np.array_equal(getattr(left, field.name).view(np.uint32), getattr(right, field.name).view(np.uint32))
        for field in dataclasses.fields(LatentParams)
    )


@pytest.mark.parametrize("name", RECIPES)
def test_it_equals_the_eager_encoder_in_float64(name: str, tmp_path: Path) -> None:
    saved = read_save(RECIPES[name].write(tmp_path))
    encoder = compiled(saved, tmp_path)
    for output, deviation in deviation_from_eager(encoder, saved.encoder).items():
        assert deviation < 2e-5, output


@pytest.mark.parametrize("change", ["input_transform", "log_variational"])
def test_the_transform_is_inside(change: str, tmp_path: Path) -> None:
    saved = read_save(SaveRecipe().write(tmp_path))
    other = {"input_transform": "log1p", "log_variational": False}[change]
    changed = dataclasses.replace(saved, spec=dataclasses.replace(saved.spec, **{change: other}))
    cells = example_cells(saved.spec, 20)
    before = compiled(saved, tmp_path).encode(cells)
    after = compiled(changed, tmp_path).encode(cells)
    assert not np.allclose(before.qz_mean, after.qz_mean, atol=1e-2)


def test_continuous_covariates_stand_behind_the_proteins_and_are_not_logged(tmp_path: Path) -> None:
    """DOMAIN 9.4."""
    recipe = dataclasses.replace(RECIPES["covariates"], model_kwargs={"n_hidden": 16, "use_batch_norm": "none"})
    saved = read_save(recipe.write(tmp_path))
    first = saved.encoder.encoder.fc_layers[0][0].weight.data
    dose = len(saved.spec.genes) + len(saved.spec.proteins) + 1
    first[:, np.arange(first.shape[1]) != dose] = 0
    cells = example_cells(saved.spec, 8)

    def answer(**continuous: float) -> np.ndarray:
        values = np.array([[continuous.get(name, 0.0) for name in saved.spec.continuous_inputs]] * 8, dtype=np.float32)
        return compiled(saved, tmp_path).encode(dataclasses.replace(cells, continuous=values)).qz_mean

    assert np.array_equal(answer(age=-9.0), answer(age=7.0))
    below, at, above = answer(dose=-9.0), answer(), answer(dose=7.0)
    assert np.isfinite(below).all()  # a logarithm of -9 would not be
    assert not np.allclose(below, at) and not np.allclose(above, at)


@pytest.fixture(scope="module", params=["covariates", "layer norm only"])
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DeviceEncoder:
    folder = tmp_path_factory.mktemp("save")
    recipe = dataclasses.replace(
        RECIPES[request.param],
        genes=[f"g{i}" for i in range(700)],
        model_kwargs={**RECIPES[request.param].model_kwargs, "n_hidden": 256},
    )
    return compiled(read_save(recipe.write(folder)), folder)


def test_a_cell_has_the_same_bits_alone_in_sevens_and_in_a_crowd(encoder: DeviceEncoder) -> None:
    """DOMAIN 9.13."""
    cells = example_cells(encoder.spec, 600)
    crowd = encoder.encode(cells)
    for size in (1, 7, 16, 257):
        parts = [
            encoder.encode(cells.cells(start, min(start + size, 600)))
            for start in range(0, 600 if size > 1 else 60, size)
        ]
        joined = LatentParams.concatenate(parts)
        assert same_bits(joined, crowd.cells(0, joined.n_cells)), f"slices of {size}"


@pytest.mark.parametrize("n_cells", [SINGLE_THREAD_CELLS, 2 * SINGLE_THREAD_CELLS - 5])
def test_a_cell_has_the_same_bits_on_any_number_of_threads(encoder: DeviceEncoder, n_cells: int) -> None:
    cells = example_cells(encoder.spec, n_cells)
    answers, threads_before, threads = [], torch.get_num_threads(), encoder.threads
    try:
        for encoder.threads in (1, 2, 3):
            answers.append(encoder.encode(cells))
            assert torch.get_num_threads() == encoder.threads
    finally:
        encoder.threads = threads
        torch.set_num_threads(threads_before)
    assert same_bits(answers[0], answers[1]) and same_bits(answers[0], answers[2])
    assert same_bits(encoder.encode(cells.cells(0, 1)), answers[0].cells(0, 1))


def test_a_cell_has_the_same_bits_at_every_position_of_a_batch(encoder: DeviceEncoder) -> None:
    cells = example_cells(encoder.spec, 40)
    alone = encoder.encode(cells.cells(25, 26))
    for position in range(0, 40, 3):
        order = [cells.cells(i, i + 1) for i in range(40) if i != 25]
        order.insert(position, cells.cells(25, 26))
        assert same_bits(encoder.encode(CellBatch.concatenate(order)).cells(position, position + 1), alone)


def test_the_bits_of_z_do_not_depend_on_the_library_branch(encoder: DeviceEncoder) -> None:
    cells = example_cells(encoder.spec, 100)
    both, alone = encoder.encode(cells), encoder.encode(cells, library=False)
    assert np.array_equal(both.qz_mean.view(np.uint32), alone.qz_mean.view(np.uint32))
    assert np.array_equal(both.qz_variance.view(np.uint32), alone.qz_variance.view(np.uint32))
    assert np.isnan(alone.ql_mean).all() and np.isnan(alone.ql_variance).all()


@pytest.mark.parametrize("n_entries", [0, 1, 63, 64, 65, 127, 128, 129, 700])
def test_runs_begin_at_each_cells_own_first_entry(encoder: DeviceEncoder, n_entries: int) -> None:
    """A cell of any number of genes has its own bits behind cells of any other number."""
    cells = example_cells(encoder.spec, 3)
    cell = dataclasses.replace(
        cells.cells(0, 1),
        indptr=np.array([0, n_entries], dtype=np.int32),
        indices=np.arange(n_entries, dtype=np.int32),
        counts=np.arange(1, n_entries + 1, dtype=np.float32),
    )
    alone = encoder.encode(cell)
    for n_others in (1, 15, 16):
        others = [cells.cells(1, 2)] * n_others
        assert same_bits(encoder.encode(CellBatch.concatenate([*others, cell])).cells(n_others, n_others + 1), alone)
        assert same_bits(encoder.encode(CellBatch.concatenate([cell, *others])).cells(0, 1), alone)


@pytest.mark.parametrize("log", [True, False])
def test_many_genes_lose_no_more_than_in_a_dense_product(log: bool, tmp_path: Path) -> None:
    """One by one, the thousand genes of a cell would be added up with twice to four times the error."""
    recipe = SaveRecipe(
        genes=[f"g{i}" for i in range(2000)], model_kwargs={"n_hidden": 256, "log_variational": log}, efficiency=None
    )
    saved = read_save(recipe.write(tmp_path))
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, size=(64, 2000)).astype(np.float32) * (rng.random((64, 2000)) < 0.6)
    rows, columns = np.nonzero(counts)
    cells = dataclasses.replace(
        example_cells(saved.spec, 64),
        indptr=np.searchsorted(rows, np.arange(65)).astype(np.int32),
        indices=columns.astype(np.int32),
        counts=counts[rows, columns],
    )
    exact, dense = (encode_eagerly(saved.encoder, saved.spec, cells, dtype) for dtype in (torch.float64, torch.float32))
    ours = compiled(saved, tmp_path).encode(cells)
    for name in ("qz_mean", "ql_mean"):
        truth = getattr(exact, name)
        assert np.abs(getattr(ours, name) - truth).max() < 2 * np.abs(getattr(dense, name) - truth).max()


def test_no_cells_give_no_rows(encoder: DeviceEncoder) -> None:
    params = encoder.encode(example_cells(encoder.spec, 0))
    assert params.n_cells == 0
    assert params.qz_mean.shape == (0, encoder.spec.n_latent)


def test_a_cell_without_counts_is_encoded(encoder: DeviceEncoder) -> None:
    cells = example_cells(encoder.spec, 16)
    assert cells.indptr[1] == 0
    params = encoder.encode(cells)
    assert np.isfinite(params.qz_mean).all()


def test_absurd_counts_give_infinity_not_an_error(tmp_path: Path) -> None:
    content = SaveRecipe(model_kwargs={"n_hidden": 16, "log_variational": False}, efficiency=None).build()
    content["model_state_dict"]["encoder.z_var_encoder.weight"].fill_(1.0)
    torch.save(content, tmp_path / "model.pt")
    encoder = compiled(read_save(tmp_path), tmp_path)
    cells = example_cells(encoder.spec, 32)
    huge = dataclasses.replace(cells, proteins=np.full_like(cells.proteins, 1e30))
    assert np.isinf(encoder.encode(huge).qz_variance).any()


def test_the_artifact_is_read_before_it_is_replaced(tmp_path: Path) -> None:
    artifact: Artifact = read_artifact(_written(tmp_path))
    (tmp_path / "encoder.pt").write_bytes(b"half")
    assert DeviceEncoder(artifact, torch.device("cpu")).encode(example_cells(artifact.spec, 3)).n_cells == 3


def _written(folder: Path) -> Path:
    compiled(read_save(SaveRecipe().write(folder)), folder)
    return folder / "encoder.pt"
