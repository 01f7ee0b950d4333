"""The latents as the service answers them to a caller, and as the page gives them away; both to the last bit."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np


@dataclasses.dataclass(frozen=True)
class Latents:
    """Float32 arrays of cells.

    Attributes:
        z, mean, variance: [cells, dimensions].
        library: [cells].
        cells: names, where there are any.
    """

    z: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    library: np.ndarray
    cells: list[str] | None = None

    @classmethod
    def answered(cls, answer: Mapping[str, Any]) -> Self:
        """From the JSON of /v1."""
        return cls(
            *(_floats(values) for values in (answer["z"], answer["qz"]["mean"], answer["qz"]["variance"])),
            _floats(answer["library"]["observed"]),
            answer.get("cells"),
        )

    @classmethod
    def of_csv(cls, path: Path) -> Self:
        """From the page's table."""
        head, *rows = csv.reader(io.StringIO(path.read_text("utf-8"), newline=""))
        columns = {name: [row[at] for row in rows] for at, name in enumerate(head)}

        def matrix(name: str) -> np.ndarray:
            wanted = [f"{name}_{k + 1}" for k in range((len(head) - 2) // 3)]
            return _floats([columns[column] for column in wanted]).T

        return cls(matrix("z"), matrix("qz_mean"), matrix("qz_variance"), _floats(columns["library"]), columns["cell"])

    @classmethod
    def of_npz(cls, path: Path) -> Self:
        """From the page's arrays."""
        with np.load(path) as arrays:
            return cls(
                arrays["z"], arrays["qz_mean"], arrays["qz_variance"], arrays["library"], arrays["cells"].tolist()
            )

    def assert_same(self, other: Latents) -> None:
        """The same bits, and the same names where both have them."""
        for field in ("z", "mean", "variance", "library"):
            mine, its = getattr(self, field), getattr(other, field)
            assert (mine.dtype, mine.shape) == (np.float32, its.shape), field
            assert mine.tobytes() == np.ascontiguousarray(its, dtype=np.float32).tobytes(), field
        assert None in (self.cells, other.cells) or self.cells == other.cells


def encoded(rest: httpx.Client, model: str, request: Mapping[str, Any]) -> Latents:
    """What /v1 answers to a request."""
    answer = rest.post(f"/v1/models/{model}/encode", json={"outputs": ["qz", "z", "library"], **request})
    assert answer.status_code == 200, answer.text
    return Latents.answered(json.loads(answer.content))


def _floats(values: Any) -> np.ndarray:
    return np.array(values, dtype=np.float64).astype(np.float32)
