"""Arrays on their way to a GPU: all of a batch in one piece of pinned memory, so that there is one copy to wait for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

_ALIGNMENT = 256
"""Bytes; what CUDA's own allocations are aligned to, so that kernels may read whole vectors."""


class Courier:
    """Carries a batch's arrays to a device.

    The pinned memory is used again for every batch: whoever carries the next one must have waited for an answer of the
    last. It grows to the largest batch and stays.

    Args:
        device: where to.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pinned = torch.empty(0, dtype=torch.uint8)
        self._pins = device.type == "cuda"  # only there is memory worth pinning; tests carry to the CPU

    def carry(self, arrays: Sequence[np.ndarray[Any, Any]]) -> list[torch.Tensor]:
        """Copies of the arrays on the device, as they are and in order; the device may still be copying."""
        starts, end = [], 0
        for array in arrays:
            starts.append(end)
            end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
        if len(self._pinned) < end:
            # Half as much again, or batches that grow by a cell would each pin anew, which takes milliseconds.
            self._pinned = torch.empty(end + end // 2, dtype=torch.uint8, pin_memory=self._pins)
        for start, array in zip(starts, arrays, strict=True):
            # torch's copy, because it runs on several threads where the batch is large.
            place = self._pinned[start : start + array.nbytes].view(_DTYPES[array.dtype]).view(array.shape)
            place.copy_(torch.from_numpy(array if array.flags.writeable else array.copy()))
        carried = self._pinned[:end].to(self._device, non_blocking=True, copy=True)
        return [
            carried[start : start + array.nbytes].view(_DTYPES[array.dtype]).view(array.shape)
            for start, array in zip(starts, arrays, strict=True)
        ]


_DTYPES = {np.dtype("i4"): torch.int32, np.dtype("f4"): torch.float32}
