"""Draws are addressed: the same place gives the same draw, whatever else was drawn."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.contract import LatentParams
from model.sampling import Draws, draw, philox, softmax, standard_normals


def params(n_cells: int, n_latent: int = 5, seed: int = 0) -> LatentParams:
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return rng.normal(size=shape).astype(np.float32)

    return LatentParams(
        array(n_cells, n_latent), np.exp(array(n_cells, n_latent)), array(n_cells), np.exp(array(n_cells))
    )


KNOWN_ANSWERS = [
    ([0, 0, 0, 0], 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, (1 << 64) - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        0x299F31D0A4093822,
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers_of_its_authors(counter: list[int], key: int, expected: list[int]) -> None:
    words = philox([np.array([word], dtype=np.uint64) for word in counter], key)
    assert [int(word[0]) for word in words] == expected


def test_normals_are_standard_and_independent() -> None:
    noise = standard_normals(7, 0, 2000, 40, 6).astype(np.float64)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.var() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.05
    flat = noise.reshape(-1, 6)
    assert np.abs(np.corrcoef(flat.T) - np.eye(6)).max() < 0.02
    assert np.abs(np.corrcoef(noise[:, :, 0])[0, 1:]).max() < 0.1
    assert np.abs(noise).max() < 6.7


def test_seeds_cells_and_samples_all_matter() -> None:
    base = standard_normals(7, 0, 3, 3, 5)
    assert not np.isin(standard_normals(8, 0, 3, 3, 5), base).any()
    assert not np.isin(standard_normals(7 + (1 << 32), 0, 3, 3, 5), base).any()
    assert not np.isin(standard_normals(7, 3, 3, 3, 5), base).any()
    assert not np.isin(standard_normals(7, 1 << 32, 3, 3, 5), base).any()
    assert np.unique(base).size == base.size


@settings(deadline=None)
@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 63) - 100), st.integers(1, 40), st.integers(1, 5), st.data())
def test_any_split_of_the_cells_gives_the_same_draws(
    seed: int, first_cell: int, n_cells: int, n_samples: int, data: st.DataObject
) -> None:
    posterior = params(n_cells)
    whole = draw(posterior, "ln", n_samples=n_samples, seed=seed, first_cell=first_cell)
    cut = data.draw(st.integers(0, n_cells))
    parts = [
        draw(posterior.cells(start, stop), "ln", n_samples=n_samples, seed=seed, first_cell=first_cell + start)
        for start, stop in ((0, cut), (cut, n_cells))
    ]
    for field in dataclasses.fields(Draws):
        joined = np.concatenate([getattr(part, field.name) for part in parts], axis=1)
        assert np.array_equal(joined.view(np.uint32), getattr(whole, field.name).view(np.uint32))


def test_more_samples_begin_with_the_same_ones() -> None:
    few, many = (draw(params(4), "normal", n_samples=n, seed=1) for n in (3, 300))
    assert np.array_equal(few.latent_z, many.latent_z[:3])


def test_draws_have_the_posteriors_moments() -> None:
    posterior = params(3)
    draws = draw(posterior, "normal", n_samples=40_000, seed=11)
    np.testing.assert_allclose(draws.latent_z.mean(0), posterior.qz_mean, atol=0.06)
    np.testing.assert_allclose(draws.latent_z.var(0), posterior.qz_variance, rtol=0.05)
    np.testing.assert_allclose(draws.untran_latent_l.mean(0), posterior.ql_mean, atol=0.06)


def test_the_two_dictionaries_are_those_of_forward() -> None:
    posterior = params(6)
    normal, ln = (draw(posterior, distribution, n_samples=4, seed=1) for distribution in ("normal", "ln"))
    assert normal.latent_z.shape == (4, 6, 5) and normal.latent_l.shape == (4, 6)
    assert np.array_equal(normal.latent_z, normal.untran_latent_z)
    assert np.array_equal(ln.untran_latent_z, normal.untran_latent_z)
    assert np.array_equal(ln.latent_z, softmax(ln.untran_latent_z))
    np.testing.assert_allclose(ln.latent_z.sum(-1), 1, rtol=1e-6)
    assert np.array_equal(ln.latent_l, np.exp(ln.untran_latent_l))
    assert all(getattr(ln, field.name).dtype == np.float32 for field in dataclasses.fields(Draws))


def test_library_draws_are_clamped_at_15() -> None:
    posterior = dataclasses.replace(params(3), ql_mean=np.full(3, 40, dtype=np.float32))
    draws = draw(posterior, "ln", n_samples=2, seed=0)
    assert (draws.untran_latent_l == 15).all()
    assert np.array_equal(draws.latent_l, np.exp(np.full((2, 3), 15, dtype=np.float32)))


def test_one_latent_dimension_under_ln_is_one() -> None:
    """DOMAIN 9.10."""
    assert (draw(params(3, n_latent=1), "ln", n_samples=2, seed=0).latent_z == 1).all()


def test_no_cells_and_no_samples_give_empty_arrays() -> None:
    assert draw(params(0), "ln", n_samples=2, seed=0).latent_z.shape == (2, 0, 5)
    assert draw(params(2), "ln", n_samples=0, seed=0).latent_l.shape == (0, 2)
