"""What is measured: each gives its answers to be checked, then rounds of what they cost."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import torch

from benchmarks.bodies import Answer, joined
from benchmarks.cells import parts
from benchmarks.load import Callers, Load, Measured, Target
from model.contract import CellBatch, EncoderSpec, LatentParams


class NotAvailable(Exception):
    """This cannot be measured here; the text says why."""


class Subject(Protocol):
    """Something that encodes cells."""

    def answer(self, size: int) -> Answer:
        """The answer for all cells, asked for in requests of `size`."""
        ...

    def measure(self, size: int, seconds: float) -> Measured:
        """What the requests that `answer` was last asked for cost, for about so long."""
        ...


class InProcess:
    """An encoder called here, one request at a time. `prepare` makes a call of a part of the cells, unmeasured."""

    def __init__(self, cells: CellBatch, prepare: Callable[[CellBatch], Callable[[], LatentParams]]) -> None:
        self._cells = cells
        self._prepare = prepare
        self._calls: list[Callable[[], LatentParams]] = []

    def answer(self, size: int) -> Answer:
        """The posterior of z; the warm-up at the same time."""
        torch.set_num_threads(1)
        self._calls = [self._prepare(part) for part in parts(self._cells, size)]
        params = LatentParams.concatenate([call() for call in self._calls])
        return {"qz_mean": params.qz_mean, "qz_variance": params.qz_variance, "z": params.qz_mean}

    def measure(self, size: int, seconds: float) -> Measured:
        """One call after another."""
        calls = self._calls
        latencies: list[float] = []
        torch.set_num_threads(1)
        begin, cpu = time.perf_counter(), time.process_time()
        while (start := time.perf_counter()) - begin < seconds:
            calls[len(latencies) % len(calls)]()
            latencies.append(time.perf_counter() - start)
        return Measured(time.process_time() - cpu, time.perf_counter() - begin, latencies)


class Scvi:
    """scvi-tools in a process of its own, because it wants an environment of its own; as a context manager."""

    def __init__(
        self, python: Path, folder: Path, spec: EncoderSpec, encoder: torch.nn.Module, cells: CellBatch
    ) -> None:
        self.versions: dict[str, str] = {}
        self._command = [str(python), str(Path(__file__).with_name("peers") / "scvi_in_process.py"), str(folder)]
        self._folder = folder
        torch.save(encoder.state_dict(), folder / "state.pt")
        np.savez(
            folder / "cells.npz",
            shape=(cells.n_cells, len(spec.genes)),
            n_latent=spec.n_latent,
            codes=cells.codes[:, 0],
            **{name: getattr(cells, name) for name in ("indptr", "indices", "counts", "proteins")},
        )

    def __enter__(self) -> Self:
        """Start it.

        Raises:
            NotAvailable: there is no scvi-tools.
        """
        log = self._folder / "scvi.log"
        pipe = subprocess.PIPE
        with log.open("w") as errors:
            try:
                self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, stderr=errors, text=True)
            except OSError:
                raise NotAvailable(f"scvi-tools is not installed: no {self._command[0]}") from None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            raise NotAvailable(f"scvi-tools did not start: {log.read_text().strip().rpartition(chr(10))[2]}")
        self.versions = json.loads(line)
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def answer(self, size: int) -> Answer:
        """Its latent representation of all cells."""
        return {"z": np.load(self._folder / "z.npy")}

    def measure(self, size: int, seconds: float) -> Measured:
        """One call after another, in its process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps({"n_cells": size, "seconds": seconds}), file=self._process.stdin, flush=True)
        return Measured(**json.loads(self._process.stdout.readline()))


@dataclasses.dataclass
class Served:
    """A server under load.

    Attributes:
        callers: who calls.
        pid: of the server.
        port: on 127.0.0.1.
        where: path or method.
        media_type: None for gRPC.
        cells: to be sent.
        body: of cells, as they are sent.
        read: the arrays of an answer.
        in_flight: calls at a time.
        load: of the size that was asked for last.
    """

    callers: Callers
    pid: int
    port: int
    where: str
    media_type: str | None
    cells: CellBatch
    body: Callable[[CellBatch], bytes]
    read: Callable[[bytes], Answer]
    in_flight: int = 16
    load: Load = dataclasses.field(init=False)

    def answer(self, size: int) -> Answer:
        """Every body's answer, which is kept: under load each must be the same to the byte."""
        bodies = tuple(map(self.body, parts(self.cells, size)))
        target = Target(self.pid, self.port, self.where, self.media_type, bodies)
        expected = self.callers.answers(target)
        self.load = Load(target, expected, self.in_flight, seconds=0.0)
        return joined([self.read(answer) for answer in expected])

    def measure(self, size: int, seconds: float) -> Measured:
        """Under load, with the calls in flight."""
        return self.callers.run(dataclasses.replace(self.load, seconds=seconds))
