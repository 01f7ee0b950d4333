"""Memory over load-encode-unload cycles: `python -m benchmarks.reload [cycles]`; see docs/decisions/0009-reload.md.

As in the service, models are loaded on one thread and computed on another. Two numbers that no allocator's habits blur:
what is allocated (glibc's own count, over all arenas), and the resident set after a collection.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import ctypes
import gc
import platform
import threading
import time
from pathlib import Path

import torch

from model.device_encoder import DeviceEncoder, example_cells, resolve_device

MODEL = Path(__file__).parents[1] / "examples" / "models" / "pbmc" / "1" / "encoder.pt"
MIB = 1 << 20


class _Mallinfo2(ctypes.Structure):
    """The ten numbers of mallinfo2(3)."""

    _fields_ = (("numbers", ctypes.c_size_t * 10),)


def allocated_bytes() -> int:
    """Bytes that malloc has given out and not got back, in all arenas (`uordblks`) and mappings (`hblkhd`)."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    numbers = mallinfo2().numbers
    return int(numbers[7] + numbers[4])


def resident_bytes() -> int:
    """The resident set of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


class Ticks:
    """How late the interpreter lets a thread of 1 ms naps come: what an event loop beside a load would suffer."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def _tick(self) -> None:
        last_s = time.perf_counter()
        while not self._over.wait(0.001):
            now_s = time.perf_counter()
            self.longest_s, last_s = max(self.longest_s, now_s - last_s), now_s

    def stop(self) -> float:
        """End, and tell the longest silence in seconds."""
        self._over.set()
        self._thread.join()
        return self.longest_s


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cycles", nargs="?", type=int, default=200)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--max-batch-cells", type=int, default=1024)
    parser.add_argument("--leak", action="store_true", help="keep every module, to see what a leak looks like")
    options = parser.parse_args()
    loader, worker = (concurrent.futures.ThreadPoolExecutor(1) for _ in range(2))
    kept: list[object] = []
    device = resolve_device(options.device)

    def load() -> DeviceEncoder:
        return DeviceEncoder.load(options.model, device=options.device, max_batch_cells=options.max_batch_cells)

    def cycle() -> None:
        encoder = loader.submit(load).result()
        worker.submit(encoder.encode, cells).result()
        if options.leak:
            kept.append(encoder)

    cells = example_cells(loader.submit(load).result().spec, 300)
    print(f"torch {torch.__version__}, {device}, {platform.processor() or platform.machine()}, {options.model.name}")
    print(
        "cycle  resident MiB  allocated MiB" + ("  device MiB" if device.type == "cuda" else "") + "  seconds a cycle"
    )
    first_s = last_s = time.perf_counter()
    every = max(1, options.cycles // 10)
    for number in range(1, options.cycles + 1):
        cycle()
        if number % every == 0 or number == 1:
            gc.collect()
            now_s = time.perf_counter()
            on_device = f"  {torch.cuda.memory_allocated(device) / MIB:10.2f}" if device.type == "cuda" else ""
            n = 1 if number == 1 else every - (number == every)
            print(
                f"{number:5d}  {resident_bytes() / MIB:12.1f}  {allocated_bytes() / MIB:13.2f}{on_device}"
                f"  {(now_s - last_s) / max(n, 1):.2f}",
                flush=True,
            )
            last_s = now_s
    print(f"{options.cycles} cycles in {last_s - first_s:.0f} s")
    ticks = Ticks()
    loader.submit(load).result()
    print(f"longest silence of a thread that ticks every millisecond while one load runs: {1000 * ticks.stop():.0f} ms")


if __name__ == "__main__":
    main()
