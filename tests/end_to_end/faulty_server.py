"""The real program with a device that fails where a caller's cells say so; its arguments are those of the program.

The first protein's count of any cell of a batch names the fault. With the variable FAULTY_WARMING set, models are never
warm.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from model.contract import CellBatch, DeviceLost, LatentParams, OutOfDeviceMemory

LOST, STUCK, NO_MEMORY, LITTLE_MEMORY = 70_001, 70_002, 70_003, 70_004
"""The device is lost; it never answers; it has memory for no such cell; it has memory for three cells."""

ENOUGH_CELLS = 3


class FaultyEncoder:
    """An encoder that computes what it is given, but for the cells that bring a fault."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, cells: CellBatch, *, library: bool = True) -> LatentParams:
        faults = set(np.unique(cells.proteins[:, 0]).astype(int))
        if LOST in faults:
            raise DeviceLost("cuda:0 failed")
        if STUCK in faults:
            threading.Event().wait()
        if NO_MEMORY in faults or (LITTLE_MEMORY in faults and cells.n_cells > ENOUGH_CELLS):
            raise OutOfDeviceMemory("cuda:0 has too little memory left")
        return self._encoder.encode(cells, library=library)  # type: ignore[no-any-return]


def main() -> int:
    # As `cli` has it, before grpc is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from service import assembly, cli

    real = assembly._device_encoder

    def faulty(settings: Any) -> Callable[[Path], FaultyEncoder]:
        load = real(settings)

        def load_faulty(path: Path) -> FaultyEncoder:
            encoder = FaultyEncoder(load(path))
            if "FAULTY_WARMING" in os.environ:
                print("warming for ever", flush=True)
                threading.Event().wait()
            return encoder

        return load_faulty

    assembly._device_encoder = faulty  # type: ignore[assignment]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
