"""Into what calls a matrix is cut, so that each is within the server's limits."""

from __future__ import annotations

import dataclasses
import re
from typing import Final

import numpy as np
import numpy.typing as npt

from totalvi_client.results import Limits

_NAMED = re.compile(r"(max_[a-z_]+)(?: = |, )(\d+)")
_GRPC_OWN = re.compile(r"larger than max \(\d+ vs\. (\d+)\)")
_FRAMING_BYTES: Final = 4096
"""Fields and lengths around the arrays of a message, more or less."""

_SHARE: Final = 4
"""A matrix that has to be cut anyway is cut into parts of a quarter of the limits: several are under way at a time."""


def cut(
    row_bytes: npt.NDArray[np.int64], limits: Limits, *, common_bytes: int, n_samples: int, n_latent: int
) -> list[tuple[int, int]]:
    """First cell and the one behind the last of each part; one part where all fits one call.

    Args:
        row_bytes: [cells], what each takes on the wire.
        limits: of the server.
        common_bytes: of what every call bears besides.
        n_samples: draws per cell.
        n_latent: of the model.
    """
    n_cells = len(row_bytes)
    most_cells = max(1, limits.max_request_cells)
    if n_samples:
        most_cells = min(most_cells, max(1, limits.max_sample_values // (n_samples * (n_latent + 1))))
    most_bytes = limits.max_request_bytes - common_bytes - _FRAMING_BYTES
    if n_cells <= most_cells and int(row_bytes.sum()) <= most_bytes:
        return [(0, n_cells)]
    most_cells, most_bytes = max(1, most_cells // _SHARE), most_bytes // _SHARE
    ends = np.cumsum(row_bytes)
    parts, start = [], 0
    while start < n_cells:
        before = int(ends[start - 1]) if start else 0
        fits = int(np.searchsorted(ends, before + most_bytes, side="right"))
        # A cell that alone is too large goes alone: the server says so.
        stop = min(n_cells, max(fits, start + 1), start + most_cells)
        parts.append((start, stop))
        start = stop
    return parts


def learned(limits: Limits, detail: str, n_bytes: int) -> Limits | None:
    """What a refusal as too large tells of the limits; None: of one that no cut can keep.

    Args:
        limits: as they were known.
        detail: of the refusal, by the service, by gRPC itself or by something between.
        n_bytes: of what was refused.
    """
    known = dataclasses.asdict(limits)
    named = {name: int(number) for name, number in _NAMED.findall(detail) if name in known}
    if "max_samples" in named or "max_columns" in named:
        return None
    if own := _GRPC_OWN.search(detail):
        named = {"max_request_bytes": int(own[1])}
    # Somebody between has a limit of its own and does not say which.
    return Limits(**{**known, **(named or {"max_request_bytes": n_bytes // 2})})
