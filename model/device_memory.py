"""What the CUDA devices' memory is taken by."""

from __future__ import annotations

import torch


def device_memory() -> dict[tuple[str, str], float]:
    """Bytes by device and kind, of each CUDA device that this process has put anything on.

    Kinds: `total` and `used` are the device's own, of all its processes; `reserved` is what torch holds of it here, and
    `allocated` the part of that which is in use.

    Raises:
        RuntimeError: the device does not answer.
    """
    memory: dict[tuple[str, str], float] = {}
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return memory
    for index in range(torch.cuda.device_count()):
        reserved = torch.cuda.memory_reserved(index)
        if not reserved:
            continue  # to ask a device for its memory would first put something on it
        free, total = torch.cuda.mem_get_info(index)
        kinds = {
            "total": total,
            "used": total - free,
            "reserved": reserved,
            "allocated": torch.cuda.memory_allocated(index),
        }
        memory |= {(f"cuda:{index}", kind): float(n_bytes) for kind, n_bytes in kinds.items()}
    return memory
