"""The mean of softmax(z) for a normal z, without random draws.

scvi-tools estimates it from 5,000 draws, so that two calls differ. Here it is an integral over one line. By the
Gumbel-max identity softmax(z)_k is the chance that z_k + g_k is the largest, the g being independent standard Gumbel
variables. With F_j the distribution function of z_j + g_j, the z_j being independent,

    E[softmax(z)_k] = ∫ F_k'(u) ∏_{j≠k} F_j(u) du,    F_j(u) = E[exp(-exp(z_j - u))],

and both the integral and the expectation are sums over a fixed grid (trapezoid rule, which converges exponentially for
functions this smooth). Cost, error and what happens to very wide posteriors are in docs/decisions/0004-the-ln-mean.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from model.contract import Float32Array
from model.sampling import softmax, standard_normals

# Largest standard deviation of the cell → points along u, points along each z, reach of the latter in deviations.
_RULES = ((1.0, 40, 16, 5.0), (2.5, 48, 22, 5.0))
_TAIL_LEFT, _TAIL_RIGHT, _REACH = 14.0, 3.0, 5.5

# Wider posteriors are far from any cell's; the grid that resolves them grows with the deviation, so there the mean is
# taken over the same draws for every cell, in pairs of opposite sign: bounded in cost, and as close as 5,000 draws.
_DRAW_PAIRS, _PAIRS_AT_ONCE = 2048, 64

CELLS_AT_ONCE = 256
"""Cells worked on together; a caller that may lose interest splits its cells so."""


def softmax_mean(mean: Float32Array, variance: Float32Array) -> Float32Array:
    """E[softmax(z)] for z ~ Normal(mean, diag(variance)).

    Args:
        mean: float32 [n, n_latent].
        variance: float32 [n, n_latent].

    Returns:
        float32 [n, n_latent], each row summing to 1. A row depends on its own cell alone, to the last bit.
    """
    deviation = np.sqrt(variance)
    widest = deviation.max(axis=1, initial=0.0)
    result = np.empty(mean.shape, dtype=np.float32)
    lower = -1.0
    for upper, n_points, n_inner, reach in _RULES:
        for cells in _chunks((widest > lower) & (widest <= upper)):
            mu, sigma = mean[cells].astype(np.float64), deviation[cells].astype(np.float64)
            result[cells] = _integrate(mu, sigma, n_points, n_inner, reach)
        lower = upper
    for cells in _chunks(~(widest <= lower)):
        result[cells] = _average(mean[cells], deviation[cells])
    return result


def _chunks(chosen: npt.NDArray[np.bool_]) -> Iterator[npt.NDArray[np.intp]]:
    (cells,) = np.nonzero(chosen)
    for start in range(0, cells.shape[0], CELLS_AT_ONCE):
        yield cells[start : start + CELLS_AT_ONCE]


def _average(mean: Float32Array, deviation: Float32Array) -> npt.NDArray[np.float64]:
    """The mean over draws that are the same for every cell."""
    noise = standard_normals(0, 0, 1, _DRAW_PAIRS, mean.shape[1])[:, 0, :]
    total = np.zeros(mean.shape, dtype=np.float64)
    for start in range(0, _DRAW_PAIRS, _PAIRS_AT_ONCE):
        shift = deviation[:, None, :] * noise[start : start + _PAIRS_AT_ONCE]
        for draws in (mean[:, None, :] + shift, mean[:, None, :] - shift):
            total += softmax(draws).sum(axis=1, dtype=np.float64)
    return np.asarray(total / (2 * _DRAW_PAIRS), dtype=np.float64)


def _integrate(
    mu: npt.NDArray[np.float64], deviation: npt.NDArray[np.float64], n_points: int, n_inner: int, reach: float
) -> npt.NDArray[np.float64]:
    """The rule for cells of one class. Only sums along a cell's own axes: no product that mixes or blocks cells."""
    nodes = np.linspace(-reach, reach, n_inner)
    weights = np.exp(-0.5 * nodes * nodes)
    weights /= weights.sum()
    # t = -u runs from where every F is 1 to where their product is 0.
    first = -(mu + _REACH * deviation).max(axis=1) - _TAIL_LEFT
    last = -(mu - _REACH * deviation).max(axis=1) + _TAIL_RIGHT
    t = first[:, None] + (last - first)[:, None] * np.linspace(0.0, 1.0, n_points)
    distribution = np.zeros((*t.shape, mu.shape[1]))
    density = np.zeros_like(distribution)
    for node, weight in zip(nodes, weights, strict=True):
        # exp(-rate) is 0 long before the rate overflows.
        rate = np.exp(np.minimum(t[:, :, None] + (mu + deviation * node)[:, None, :], 50.0))
        survival = weight * np.exp(-rate)
        distribution += survival
        density += rate * survival
    log_distribution = np.log(np.maximum(distribution, 1e-300))
    others = np.exp(log_distribution.sum(axis=2, keepdims=True) - log_distribution)
    mass = (density * others).sum(axis=1)
    return np.asarray(mass / mass.sum(axis=1, keepdims=True), dtype=np.float64)
