"""Loading, encoding and dropping a model again and again keeps no memory; decisions/0009-reload.md has 200 cycles."""

from __future__ import annotations

import concurrent.futures
import ctypes
import gc
import weakref
from pathlib import Path

import pytest

from benchmarks.reload import MIB, allocated_bytes
from model.device_encoder import DeviceEncoder, example_cells
from model.export import export_save
from tests.saves import SaveRecipe

N_CYCLES = 30
MOST_PER_CYCLE = 32 * 1024
"""Of an encoder that is kept some 2 MiB stay, nearly all of them TorchScript's code."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc (2.33) counts what is allocated")
def test_memory_is_flat_over_reloads(tmp_path: Path) -> None:
    """As in the service: one thread loads, another computes."""
    path = export_save(SaveRecipe().write(tmp_path / "save"), name="m", version=1, into=tmp_path).path

    def load() -> DeviceEncoder:
        return DeviceEncoder.load(path, device="cpu", max_batch_cells=16)

    with concurrent.futures.ThreadPoolExecutor(1) as loader, concurrent.futures.ThreadPoolExecutor(1) as worker:
        encoder = loader.submit(load).result()
        cells = example_cells(encoder.spec, 5)

        def cycle() -> DeviceEncoder:
            encoder = loader.submit(load).result()
            worker.submit(encoder.encode, cells).result()
            return encoder

        # The first ones fill caches.
        for _ in range(3):
            gone = weakref.ref(cycle())
        gc.collect()
        before = allocated_bytes()
        for _ in range(N_CYCLES):
            cycle()
        gc.collect()
        per_cycle = (allocated_bytes() - before) / N_CYCLES
        kept = [cycle() for _ in range(2)]
        gc.collect()
        per_kept = (allocated_bytes() - before) / len(kept)

    assert gone() is None
    assert per_cycle < MOST_PER_CYCLE
    # The measure sees what it is to see.
    assert per_kept > 0.5 * MIB
