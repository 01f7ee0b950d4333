"""What a failed computation says of its device: that memory is short, or that the device is lost."""

from __future__ import annotations

import torch

from model.contract import DeviceLost, OutOfDeviceMemory

NO_MEMORY = (
    "CUDA out of memory",  # a `torch.OutOfMemoryError` until TorchScript has passed it on
    "CUDA error: out of memory",  # of memory that torch's allocator does not hold: pinned, or the driver's own
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't allocate memory",  # torch's allocator on a CPU
)
"""In the words of a `RuntimeError` that is no `torch.OutOfMemoryError`."""


def raise_if_of_device(error: RuntimeError, device: torch.device) -> None:
    """Raise what `error` means where it is the device's; return where it is the computation's own.

    Whether a CUDA device is lost its messages do not say: some faults end the context (an illegal address, a failed
    assertion in a kernel), others in much the same words do not (a launch that was refused). But after one of the
    former every later call fails, so the device is asked.

    Raises:
        OutOfDeviceMemory: a smaller batch may fit.
        DeviceLost: nothing will be computed in this process any more.
    """
    if isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY):
        raise OutOfDeviceMemory(f"{device} has too little memory left") from error
    if device.type == "cuda" and _is_lost(device):
        raise DeviceLost(f"{device} failed") from error


def _is_lost(device: torch.device) -> bool:
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False
