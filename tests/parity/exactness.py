"""The claim of fidelity: our float32 is no further from float64 than twice scvi-tools' own. Knows no scvi-tools."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

NOISE = 1e-6
"""A largest deviation below it is chance: which of the cells happened to round worst."""


@dataclasses.dataclass(frozen=True)
class Deviations:
    """From float64, relative to max(1, |value|), over all cells and dimensions of one output."""

    our_largest: float
    their_largest: float
    our_mean: float
    their_mean: float

    @classmethod
    def of(cls, ours: npt.NDArray[Any], theirs: npt.NDArray[Any], exact: npt.NDArray[Any]) -> Deviations:
        """Root mean squares and largest of |ours - exact| and |theirs - exact|."""
        assert ours.dtype == theirs.dtype == np.float32 and exact.dtype == np.float64
        assert ours.shape == theirs.shape == exact.shape and ours.size > 0
        largest, means = [], []
        for values in (ours, theirs):
            deviation = np.abs(values - exact) / np.maximum(1.0, np.abs(exact))
            largest.append(float(deviation.max()))
            means.append(float(np.sqrt(np.mean(deviation**2))))
        return cls(*largest, *means)

    def check(self) -> None:
        """Twice at most: in the mean, where no chance is left to allow for, and in the worst cell."""
        assert self.our_mean <= 2.0 * self.their_mean, self
        assert self.our_largest <= max(2.0 * self.their_largest, NOISE), self
