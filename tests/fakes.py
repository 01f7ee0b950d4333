"""Stand-ins for the parts that are slow, random or far away. None of them sleeps, and every wait is bounded."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np

from model.contract import CategoricalField, CellBatch, EncoderSpec, Label, LatentParams, Precision
from service.core.batch import Batch, BatcherLimits
from service.core.batcher import Batcher
from service.core.recorder import Call

PATIENCE_S = 20.0
"""A wait that takes longer fails its test; nothing here waits for time to pass."""

T = TypeVar("T")


class FakeClock:
    """A monotonic clock that stands still until it is told: call it for the time, `advance` it.

    `condition` is what a `Batcher` should wait on: it ignores the real time, notes every wait with its timeout in
    `waits`, and wakes when the clock advances. `watch` is the same for the one who watches a `Worker`.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.condition = FakeCondition()
        self.watch = FakeCondition()

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        with self.condition, self.watch:
            self.now += seconds
            self.condition.notify_all()
            self.watch.notify_all()

    def next_wait(self) -> float | None:
        """The timeout of the next wait that begins on `condition`, or began unseen; None: it has none."""
        return self.condition.next_wait()


class FakeCondition(threading.Condition):
    def __init__(self) -> None:
        super().__init__()
        self.waits: queue.Queue[float | None] = queue.Queue()
        self.n_notified = 0

    def next_wait(self) -> float | None:
        try:
            return self.waits.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError("nobody waits on the clock") from None

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.put(timeout)
        if not super().wait(PATIENCE_S):
            raise AssertionError("nobody woke the one who waits on the clock")
        return True

    def notify(self, n: int = 1) -> None:
        self.n_notified += 1
        super().notify(n)


class FakeWorkload:
    """Cells for the batcher, as three sizes and a name.

    `entries_per_cell` is one number for all cells, or one per cell.
    """

    def __init__(
        self, n_cells: int = 1, tag: object = None, entries_per_cell: int | Sequence[int] = 0, nbytes: int | None = None
    ) -> None:
        per_cell = [entries_per_cell] * n_cells if isinstance(entries_per_cell, int) else list(entries_per_cell)
        assert len(per_cell) == n_cells
        self.n_cells = n_cells
        self.tag = tag
        self.nbytes = n_cells if nbytes is None else nbytes
        self._ends = [0]
        for entries in per_cell:
            self._ends.append(self._ends[-1] + entries)

    def entries(self, start: int, stop: int) -> int:
        return self._ends[stop] - self._ends[start]

    def __repr__(self) -> str:
        return f"FakeWorkload({self.n_cells}, {self.tag!r})"


Part: TypeAlias = tuple[Any, int, int]
"""A slice in a few words: tag, start, stop."""


def parts(batch: Batch[FakeWorkload, Any] | float | None) -> list[Part]:
    """The contents of a batch, which must be one."""
    assert isinstance(batch, Batch)
    return [(piece.item.tag, piece.start, piece.stop) for piece in batch.slices]


def make_batcher(
    *,
    clock: FakeClock | None = None,
    post: Callable[[Callable[[], None]], object] = lambda callback: callback(),
    soon: Callable[[Callable[[], None]], object] | None = None,
    recorder: RecordingRecorder | None = None,
    **limits: Any,
) -> Batcher[FakeWorkload, Part]:
    """A batcher under a fake clock, generous where `limits` says nothing; by default it answers on the spot."""
    generous = {
        "max_batch_cells": 256,
        "max_batch_entries": 1_000_000,
        "max_delay_s": 0.0,
        "max_queue_cells": 1_000_000,
        "max_queue_bytes": 1_000_000_000,
    }
    clock = FakeClock() if clock is None else clock
    return Batcher(
        BatcherLimits(**(generous | limits)),
        post=post,
        soon=soon,
        clock=clock,
        recorder=recorder,
        condition=clock.condition,
    )


class Gate:
    """Holds up the thread that passes it, so that a test may act while a batch runs.

    The worker calls `pass_through`; the test `wait_entered`s, acts, and `release`s it. `open` lets all pass for good.
    """

    def __init__(self) -> None:
        self.n_entered = 0
        self._entered = threading.Semaphore(0)
        self._released = threading.Semaphore(0)
        self._open = False

    def pass_through(self) -> None:
        self.n_entered += 1
        self._entered.release()
        if not self._open and not self._released.acquire(timeout=PATIENCE_S):
            raise AssertionError("the gate was never released")

    def wait_entered(self) -> None:
        """Wait until one more thread has come to the gate."""
        assert self._entered.acquire(timeout=PATIENCE_S), "nobody came to the gate"

    def release(self, n: int = 1) -> None:
        """Let `n` pass, now or when they come."""
        self._released.release(n)

    def open(self) -> None:
        """Let everyone pass from now on, and the one who waits."""
        self._open = True
        self._released.release()


class GatedRun:
    """A worker's `run` that waits at its gate and then answers each slice with its own name; remembers the batches."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.batches: list[list[Part]] = []

    def __call__(self, batch: Batch[FakeWorkload, Part]) -> Sequence[Part]:
        self.batches.append(parts(batch))
        self.gate.pass_through()
        return self.batches[-1]


class RecordingRecorder:
    """Keeps what it is told; `Recorder` says what that is."""

    def __init__(self) -> None:
        self.started: list[Call] = []
        self.finished: list[tuple[Call, float]] = []
        self.batches: list[tuple[int, int, float]] = []
        self.queue: list[tuple[int, int]] = []

    @property
    def n_in_flight(self) -> int:
        return len(self.started) - len(self.finished)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(call.outcome for call, _ in self.finished)

    def call_started(self, call: Call) -> None:
        self.started.append(call)

    def call_finished(self, call: Call, duration_s: float) -> None:
        self.finished.append((call, duration_s))

    def batch_computed(self, n_cells: int, n_entries: int, seconds: float) -> None:
        self.batches.append((n_cells, n_entries, seconds))

    def queue_changed(self, n_cells: int, n_bytes: int) -> None:
        self.queue.append((n_cells, n_bytes))


def make_spec(
    *,
    genes: int | Sequence[str] = 5,
    proteins: int | Sequence[str] = 2,
    batch: Sequence[Label] | None = ("a", "b"),
    categorical_covariates: Sequence[CategoricalField] = (),
    continuous_covariates: Sequence[str] = (),
    n_latent: int = 3,
    **changes: Any,
) -> EncoderSpec:
    """A spec of a small model: names are given, or made (`gene0`, …); `changes` are any other fields of it."""
    facts: dict[str, Any] = {
        "model_class": "TOTALVI",
        "genes": tuple(f"gene{i}" for i in range(genes)) if isinstance(genes, int) else tuple(genes),
        "proteins": tuple(f"protein{i}" for i in range(proteins)) if isinstance(proteins, int) else tuple(proteins),
        "batch": None if batch is None else CategoricalField("batch", tuple(batch)),
        "categorical_covariates": tuple(categorical_covariates),
        "continuous_covariates": tuple(continuous_covariates),
        "n_latent": n_latent,
        "n_hidden": 8,
        "n_layers": 2,
        "latent_distribution": "normal",
        "encode_covariates": True,
        "input_transform": "log1p",
        "log_variational": True,
        "input_transform_decision": "made up",
        "library_encoder_trained": True,
        "proteins_missing_per_batch": {},
        "scvi_version": "1.3.1",
        "save_sha256": "0" * 64,
        "deviation_from_eager": {},
    }
    return EncoderSpec(**(facts | changes))


class FakeEncoder:
    """An `Encoder` in numpy whose answer for a cell depends on that cell alone, and on everything in it.

    With `mark` the cell's sum of count x (column + 1) over genes, then proteins, continuous covariates and codes (each
    kind with its own factor), `qz_mean[:, k]` is mark x (k + 1), `qz_variance` 1 + (k + 1) / 8, `ql_mean` the sum of
    the gene counts and `ql_variance` 1/2 (NaN where not asked for): all exact in float32 for small counts.

    Attributes:
        gate: where set, every `encode` waits there first.
        errors: raised one per call, front first, None for a call that works; then all calls work.
        batch_sizes: cells of every call.
    """

    def __init__(self, spec: EncoderSpec | None = None, *, gate: Gate | None = None) -> None:
        self.spec = make_spec() if spec is None else spec
        self.sha256 = "0" * 64
        self.precision: Precision = "float32"
        self.deviation_from_float32: dict[str, float] = {}
        self.gate = gate
        self.errors: list[BaseException | None] = []
        self.batch_sizes: list[int] = []

    @property
    def most_cells(self) -> int:
        return max(self.batch_sizes, default=0)

    def encode(self, cells: CellBatch, *, library: bool = True) -> LatentParams:
        self.batch_sizes.append(cells.n_cells)
        if self.gate is not None:
            self.gate.pass_through()
        if self.errors and (error := self.errors.pop(0)) is not None:
            raise error
        self._check(cells)
        rows = np.repeat(np.arange(cells.n_cells), np.diff(cells.indptr))
        mark = np.bincount(rows, weights=cells.counts * (cells.indices + 1.0), minlength=cells.n_cells) + 0.0
        for factor, columns in ((100.0, cells.proteins), (0.5, cells.continuous), (10_000.0, cells.codes)):
            mark += factor * (columns @ np.arange(1.0, columns.shape[1] + 1.0))
        latent = np.arange(1, self.spec.n_latent + 1)
        asked = np.float32(1 if library else np.nan)
        return LatentParams(
            qz_mean=np.outer(mark, latent).astype(np.float32),
            qz_variance=np.tile((1.0 + latent / 8.0).astype(np.float32), (cells.n_cells, 1)),
            ql_mean=np.bincount(rows, weights=cells.counts, minlength=cells.n_cells).astype(np.float32) * asked,
            ql_variance=np.full(cells.n_cells, 0.5, dtype=np.float32) * asked,
        )

    def _check(self, cells: CellBatch) -> None:
        """What the contract says of a batch; a caller that breaks it fails its test here."""
        spec, n_cells = self.spec, cells.n_cells
        assert cells.indptr[0] == 0
        assert cells.indptr[-1] == cells.n_entries == cells.counts.shape[0]
        assert cells.n_entries == 0 or 0 <= cells.indices.min() <= cells.indices.max() < len(spec.genes)
        assert cells.proteins.shape == (n_cells, len(spec.proteins))
        assert cells.continuous.shape == (n_cells, len(spec.continuous_inputs))
        assert cells.codes.shape == (n_cells, len(spec.categorical_inputs))
        for name in ("counts", "proteins", "continuous"):
            assert getattr(cells, name).dtype == np.float32, name
        for name in ("indptr", "indices", "codes"):
            assert getattr(cells, name).dtype == np.int32, name


@contextlib.contextmanager
def thread_running(target: Callable[[], T]) -> Iterator[queue.Queue[T]]:
    """Run `target` once on a thread beside the test; its result comes through the queue, and it must end."""
    results: queue.Queue[T] = queue.Queue()
    thread = threading.Thread(target=lambda: results.put(target()), daemon=True)
    thread.start()
    yield results
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "the thread beside the test never ended"
