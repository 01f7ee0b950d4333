"""Draws from the posterior, addressed instead of sequenced.

Draw number s of cell c under a seed is a pure function of (seed, c, s) and the cell's posterior: however a request was
split, batched or sent, the same address gives the same draw. The generator is Philox4x32-10 (Salmon et al., "Parallel
random numbers: as easy as 1, 2, 3", SC11), counter = (cell low, cell high, sample, block), key = seed.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from model.contract import Float32Array, LatentDistribution, LatentParams

LOG_LIBRARY_MAX = 15.0
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_WORDS_AT_ONCE = 1 << 20

UInt64Array = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True, slots=True)
class Draws:
    """The two dictionaries of `EncoderTOTALVI.forward`, for several samples.

    Attributes:
        latent_z: float32 [samples, n, n_latent], softmax of the draw for `ln`, the draw itself for `normal`.
        latent_l: float32 [samples, n], exp of `untran_latent_l`.
        untran_latent_z: float32 [samples, n, n_latent], the normal draw.
        untran_latent_l: float32 [samples, n], the normal draw of the log library size, at most 15.
    """

    latent_z: Float32Array
    latent_l: Float32Array
    untran_latent_z: Float32Array
    untran_latent_l: Float32Array


def draw(
    params: LatentParams, distribution: LatentDistribution, *, n_samples: int, seed: int, first_cell: int = 0
) -> Draws:
    """Draw from q(z) and q(l).

    Args:
        params: posterior of n cells.
        distribution: of the latent space.
        n_samples: draws per cell.
        seed: 0 to 2**64 - 1.
        first_cell: index of the first of these cells in the caller's matrix, 0 to 2**64 - n.
    """
    n_latent = params.qz_mean.shape[1]
    noise = standard_normals(seed, first_cell, params.n_cells, n_samples, n_latent + 1)
    z = _normal(params.qz_mean, params.qz_variance, noise[:, :, :n_latent])
    log_library = np.minimum(
        _normal(params.ql_mean, params.ql_variance, noise[:, :, n_latent]), np.float32(LOG_LIBRARY_MAX)
    )
    return Draws(softmax(z) if distribution == "ln" else z, np.exp(log_library), z, log_library)


def _normal(mean: Float32Array, variance: Float32Array, noise: Float32Array) -> Float32Array:
    return np.asarray(mean + np.sqrt(variance) * noise, dtype=np.float32)


def softmax(values: Float32Array) -> Float32Array:
    """Softmax over the last axis, float32."""
    shifted = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), dtype=np.float32)


def standard_normals(seed: int, first_cell: int, n_cells: int, n_samples: int, width: int) -> Float32Array:
    """Independent standard normals, float32 [n_samples, n_cells, width], each addressed by its place.

    The address is (seed, first_cell + cell, sample, position). Four positions share a Philox block; Box-Muller turns
    its first two words into positions 0 and 1, the other two into 2 and 3.
    """
    n_blocks = -(-width // 4)
    cells = np.uint64(first_cell) + np.arange(n_cells, dtype=np.uint64)
    blocks = np.arange(n_blocks, dtype=np.uint64)
    normals = np.empty((n_samples, n_cells, n_blocks * 4), dtype=np.float32)
    samples_at_once = max(1, _WORDS_AT_ONCE // max(1, n_cells * n_blocks * 4))
    for start in range(0, n_samples, samples_at_once):
        samples = np.arange(start, min(start + samples_at_once, n_samples), dtype=np.uint64)
        shape = (samples.shape[0], n_cells, n_blocks)
        counter = [
            np.broadcast_to((cells & _LOW)[None, :, None], shape),
            np.broadcast_to((cells >> _HALF)[None, :, None], shape),
            np.broadcast_to(samples[:, None, None], shape),
            np.broadcast_to(blocks[None, None, :], shape),
        ]
        words = philox(counter, seed)
        out = normals[start : start + samples.shape[0]].reshape(*shape, 4)
        for first, second in ((0, 1), (2, 3)):
            # Words become uniforms in (0, 1], so that the logarithm is finite: at most 6.7 standard deviations.
            radius = np.sqrt(-2.0 * np.log((words[first].astype(np.float64) + 1.0) * 2.0**-32))
            angle = words[second].astype(np.float64) * (2.0 * np.pi * 2.0**-32)
            out[..., first] = radius * np.cos(angle)
            out[..., second] = radius * np.sin(angle)
    return normals[:, :, :width]


def philox(counter: list[UInt64Array], seed: int) -> list[UInt64Array]:
    """Philox4x32-10: four 32-bit words (held in uint64 arrays) for each counter of four such words.

    Args:
        counter: four arrays of one shape, values below 2**32.
        seed: the 64-bit key.
    """
    keys = [seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF]
    c0, c1, c2, c3 = counter
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            product1 >> _HALF ^ c1 ^ np.uint64(keys[0]),
            product1 & _LOW,
            product0 >> _HALF ^ c3 ^ np.uint64(keys[1]),
            product0 & _LOW,
        )
        keys = [(key + weyl) & 0xFFFFFFFF for key, weyl in zip(keys, _WEYL, strict=True)]
    return [c0, c1, c2, c3]
