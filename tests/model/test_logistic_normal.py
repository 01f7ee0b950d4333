"""The mean of softmax under a normal, without draws."""

import numpy as np
import pytest

from model.logistic_normal import softmax_mean


def posterior(n: int, n_latent: int, variance: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 1.5, size=(n, n_latent)).astype(np.float32)
    return mean, (variance * rng.uniform(0.3, 3, size=(n, n_latent))).astype(np.float32)


def by_draws(mean: np.ndarray, variance: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total = np.zeros(mean.shape)
    for cell in range(mean.shape[0]):
        z = mean[cell] + np.sqrt(variance[cell]) * rng.standard_normal((n, mean.shape[1]))
        e = np.exp(z - z.max(axis=1, keepdims=True))
        total[cell] = (e / e.sum(axis=1, keepdims=True)).mean(axis=0)
    return total


@pytest.mark.parametrize(
    ("n_latent", "variance"), [(10, 0.1), (20, 0.5), (10, 1.0), (10, 4.0), (5, 30.0), (5, 400.0), (2, 1.0)]
)
def test_it_is_closer_to_the_truth_than_5000_draws(n_latent: int, variance: float) -> None:
    mean, var = posterior(24, n_latent, variance)
    truth = by_draws(mean, var, 200_000)
    ours = np.abs(softmax_mean(mean, var) - truth)
    theirs = np.abs(by_draws(mean, var, 5_000, seed=1) - truth)
    # The truth itself is uncertain by a sixth of what 5,000 draws are.
    bound = 0.5 if variance <= 1 else 1.25
    assert np.sqrt((ours**2).mean()) < bound * np.sqrt((theirs**2).mean())


@pytest.mark.parametrize("variance", [1e-4, 0.3, 2.0, 30.0, 1e4, 1e18, 1e35])
def test_rows_are_distributions(variance: float) -> None:
    z = softmax_mean(*posterior(20, 7, variance))
    assert z.dtype == np.float32
    assert (z >= 0).all()
    np.testing.assert_allclose(z.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("deviation", [2.4, 2.6, 20.0, 231.0, 740.0, 43_745.0, 1e9])
def test_wide_posteriors_agree_with_the_limit_of_two_dimensions(deviation: float) -> None:
    """In two dimensions softmax is a logistic function of one normal; the wider, the more it is a coin."""
    mean = np.array([[0.5, -0.5]], dtype=np.float32)
    variance = np.full((1, 2), deviation**2, dtype=np.float32)
    grid = np.linspace(-8, 8, 400_001)
    weights = np.exp(-0.5 * grid * grid)
    difference = np.clip(1.0 + np.sqrt(2.0) * deviation * grid, -700, 700)
    expected = (weights / (1 + np.exp(-difference))).sum() / weights.sum()
    assert softmax_mean(mean, variance)[0, 0] == pytest.approx(expected, abs=0.006)


def test_without_variance_it_is_the_softmax_and_with_it_it_is_not() -> None:
    """DOMAIN 9.10: softmax(mean) is not E[softmax]."""
    mean, _ = posterior(5, 6, 1.0)
    e = np.exp(mean - mean.max(axis=1, keepdims=True))
    softmax = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax_mean(mean, np.full_like(mean, 1e-8)), softmax, atol=1e-5)
    assert np.abs(softmax_mean(mean, np.full_like(mean, 2.0)) - softmax).max() > 0.05


def test_equal_dimensions_share_equally() -> None:
    z = softmax_mean(np.full((1, 8), 3.0, np.float32), np.full((1, 8), 0.7, np.float32))
    np.testing.assert_allclose(z, 0.125, rtol=1e-6)


def test_one_dimension_is_one() -> None:
    assert (softmax_mean(*posterior(4, 1, 1.0)) == 1).all()


def test_extreme_means_stay_finite() -> None:
    mean = np.array([[500.0, -500.0, 0.0], [-500.0, -500.0, -500.0]], dtype=np.float32)
    z = softmax_mean(mean, np.full_like(mean, 0.5))
    np.testing.assert_allclose(z, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], atol=1e-6)


def test_a_row_is_its_own_to_the_last_bit() -> None:
    mean, var = posterior(600, 10, 0.5)
    var[::3] *= 20
    whole = softmax_mean(mean, var)
    for size in (1, 7, 250):
        parts = [softmax_mean(mean[i : i + size], var[i : i + size]) for i in range(0, 100, size)]
        joined = np.concatenate(parts)
        assert np.array_equal(joined.view(np.uint32), whole[: len(joined)].view(np.uint32))


def test_no_cells_give_no_rows() -> None:
    assert softmax_mean(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)).shape == (0, 4)
