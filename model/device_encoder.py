"""An artifact loaded and warmed on a device: what the worker calls."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from model.artifact import Artifact, read_artifact
from model.contract import CellBatch, DeviceLost, EncoderSpec, LatentParams, OutOfDeviceMemory, Precision
from model.courier import Courier
from model.device_faults import raise_if_of_device
from model.errors import ModelFileError
from model.staging import CUDA_ROW_MULTIPLE, stage

SINGLE_THREAD_CELLS = 1024
"""Below this many cells a second thread costs more than it saves; see docs/decisions/0005-threads.md."""

SMALL_BATCH_ROWS = 64
"""Up to so many rows a CPU looks a gene table up in one piece."""

COMPARED_CELLS = 300
"""Made-up cells over which one arithmetic is compared with another."""

WARM_CELLS = 64
"""Distinct cells to warm with; larger batches repeat them, since made-up cells are drawn as dense rows."""

WARM_ROUNDS = 3
"""TorchScript profiles its first run, compiles on the second and is steady from the third on."""


class DeviceEncoder:
    """Implements `model.contract.Encoder` on a CPU or a CUDA device.

    Args:
        artifact: what to load.
        device: where to.
        threads: of one product on a CPU.
        precision: of its products; any but `float32` is compared with `float32` on a CPU first.

    Raises:
        ModelFileError: the artifact contradicts itself, or the device has no such precision.
    """

    def __init__(
        self, artifact: Artifact, device: torch.device, threads: int = 1, precision: Precision = "float32"
    ) -> None:
        self.spec: EncoderSpec = artifact.spec
        self.sha256 = artifact.sha256
        self.device = device
        self.threads = threads
        self.precision: Precision = precision
        self.deviation_from_float32: Mapping[str, float] = {}
        self._module = artifact.module(device)
        self._courier = Courier(device) if device.type == "cuda" else None
        self._check_sizes()
        self._fit_to_device()
        if precision == "float32":
            return
        if precision == "tf32":
            if device.type != "cuda":
                raise ModelFileError("precision tf32 is a CUDA device's; on a cpu there are float32 and bfloat16")
            # One flag for the process, as the precision is one setting for all models. Off unless chosen here.
            torch.backends.cuda.matmul.allow_tf32 = True
        else:
            self._module = self._module.to(torch.bfloat16)
        cells = example_cells(self.spec, COMPARED_CELLS)
        exact = DeviceEncoder(artifact, torch.device("cpu")).encode(cells)
        self.deviation_from_float32 = largest_deviation(self.encode(cells), exact)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        device: str = "auto",
        threads: int = 0,
        max_batch_cells: int = 1024,
        precision: Precision = "float32",
        allowed_sha256: Container[str] | None = None,
    ) -> Self:
        """Read an artifact, put it on the device and warm it for batches up to `max_batch_cells`.

        Args:
            path: the `encoder.pt`.
            device: `auto`, `cpu`, `cuda` or `cuda:N`.
            threads: of one product of a large batch on a CPU; 0: as many as there are cores for this process.
            max_batch_cells: largest batch that `encode` will be given.
            precision: of its products.
            allowed_sha256: digests of which the artifact must have one; None: it may have any.

        Raises:
            ModelFileError: the artifact is damaged or not allowed, or the device is not there or has no such precision.
            OutOfDeviceMemory: the device has no room for it.
            DeviceLost: the device failed for good.
        """
        artifact = read_artifact(path, allowed_sha256)
        where = resolve_device(device)
        try:
            encoder = cls(artifact, where, threads or available_cores(), precision)
        except (DeviceLost, OutOfDeviceMemory):
            raise
        except RuntimeError as error:
            raise_if_of_device(error, where)
            raise
        try:
            encoder.warm(max_batch_cells)
        except (DeviceLost, OutOfDeviceMemory):
            raise
        except RuntimeError as error:
            raise ModelFileError("the artifact's module fails on made-up cells; export the save again") from error
        return encoder

    def encode(self, cells: CellBatch, *, library: bool = True) -> LatentParams:
        """The posterior of each cell, in order.

        Args:
            cells: checked and aligned by the caller.
            library: whether q(l) is asked for; NaN stands there where it is not.

        Raises:
            OutOfDeviceMemory: fewer cells may fit.
            DeviceLost: the device failed for good.
        """
        try:
            # Per calling thread, and cheap: under a microsecond.
            torch.set_num_threads(self.threads if cells.n_cells >= SINGLE_THREAD_CELLS else 1)
            with torch.inference_mode():
                z, ql = self._module(*self._staged(cells), library)
                return self._on_host(z, ql, cells.n_cells)
        except RuntimeError as error:
            raise_if_of_device(error, self.device)
            raise

    def _staged(self, cells: CellBatch) -> list[torch.Tensor]:
        """The cells on the device, as the module takes them."""
        if self._courier is not None:
            return self._courier.carry(stage(cells, CUDA_ROW_MULTIPLE, entry_rows=False))
        # A caller's own bytes, which nobody may write to; torch takes no such array.
        return [torch.from_numpy(array if array.flags.writeable else array.copy()) for array in stage(cells)]

    def _on_host(self, z: torch.Tensor, ql: torch.Tensor, n_cells: int) -> LatentParams:
        n_latent = self.spec.n_latent
        if self._courier is not None and len(ql):
            # One copy is waited for, not two.
            both = torch.cat([z, ql], dim=1).cpu()
            z, ql = both[:, : 2 * n_latent], both[:, 2 * n_latent :]
        rows = z[:n_cells].cpu().numpy()
        library = ql[:n_cells].numpy() if len(ql) else np.full((n_cells, 2), np.nan, dtype=np.float32)
        halves = (rows[:, :n_latent], rows[:, n_latent:], library[:, 0], library[:, 1])
        return LatentParams(*map(np.ascontiguousarray, halves))

    def _fit_to_device(self) -> None:
        """Tell the module how its device likes to compute, and give it its gene tables in one piece.

        A CPU takes a table in one piece for batches so small that calls cost more than they do; a GPU has room in its
        cache for all of it.
        """
        module: Any = self._module
        on_cpu = self.device.type == "cpu"
        for branch in (module.z_first, module.l_first):
            blocks = branch.gene_blocks
            branch.gene_table = blocks.transpose(0, 1).reshape(blocks.shape[1], -1).contiguous()
            branch.most_rows_at_once = SMALL_BATCH_ROWS if on_cpu else sys.maxsize
        parts: Any = self._module.modules()
        for part in parts:
            if hasattr(part, "rows_at_once"):
                part.rows_at_once = 0 if on_cpu else CUDA_ROW_MULTIPLE

    def _check_sizes(self) -> None:
        """Compare the manifest with the module it came with: a mismatch would answer wrongly without an error."""
        spec = self.spec
        by_manifest = {
            "genes": len(spec.genes),
            "proteins": len(spec.proteins),
            "continuous inputs": len(spec.continuous_inputs),
            "categories": sum(len(field.categories) for field in spec.categorical_inputs),
            "categorical inputs": len(spec.categorical_inputs),
            "latent dimensions": spec.n_latent,
            "hidden nodes": spec.n_hidden,
            "scaled transform": spec.input_transform == "scaled",
            "logarithm": spec.log_variational,
        }
        try:
            module: Any = self._module
            by_module = {
                "genes": module.z_first.gene_blocks.shape[1],
                "proteins": module.n_proteins,
                "continuous inputs": module.z_first.dense.weight.shape[0] - module.n_proteins,
                "categories": module.n_categories,
                "categorical inputs": module.first_rows.shape[0],
                "latent dimensions": module.z_weight.shape[0] // 2,
                "hidden nodes": module.z_weight.shape[1],
                "scaled transform": module.scaled,
                "logarithm": module.log_variational,
            }
        except AttributeError as error:
            raise ModelFileError(
                "the artifact holds another module than export writes; export the save again"
            ) from error
        for fact, value in by_manifest.items():
            if value != by_module[fact]:
                raise ModelFileError(
                    f"the artifact contradicts itself: {fact} {value} by its manifest, {by_module[fact]} by its module"
                )

    def warm(self, max_batch_cells: int) -> None:
        """Run every batch size class often enough that no caller meets a compiling module."""
        sizes = {size for size in (1, 16, 64, 256) if size < max_batch_cells} | {max_batch_cells}
        few = example_cells(self.spec, WARM_CELLS)
        for size in sorted(sizes):
            cells = CellBatch.concatenate([few] * -(-size // WARM_CELLS)).cells(0, size)
            for library in (True, False) * WARM_ROUNDS:
                self.encode(cells, library=library)


def available_cores() -> int:
    """Cores this process may use: its affinity, and in a container its CPU quota (cgroup v2)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):
        return cores


def resolve_device(name: str) -> torch.device:
    """The torch device of a setting.

    Args:
        name: `auto` (the first CUDA device where there is one, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Raises:
        ModelFileError: it is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    index = name.removeprefix("cuda:") if name != "cuda" else "0"
    if not name.startswith("cuda") or not index.isdecimal():
        raise ModelFileError(f"device {name!r} is none of auto, cpu, cuda, cuda:N")
    if int(index) >= torch.cuda.device_count():
        raise ModelFileError(f"device {name!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", int(index))


def largest_deviation(found: LatentParams, expected: LatentParams) -> dict[str, float]:
    """Largest |found - expected| / max(1, |expected|) over all cells, by output; `expected` may be float64."""
    deviation = {}
    for field in dataclasses.fields(LatentParams):
        ours, theirs = getattr(found, field.name), getattr(expected, field.name)
        with np.errstate(over="ignore"):
            # Counts without a logarithm can take a variance past float32: then both must say infinity.
            differs = ours != theirs.astype(np.float32)
        ours, theirs = ours[differs], theirs[differs]
        deviation[field.name] = float(np.max(np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs)), initial=0.0))
    return deviation


def example_cells(spec: EncoderSpec, n_cells: int, seed: int = 0) -> CellBatch:
    """Made-up cells with many categories and a wide range of depths, for warming and for the self-check at export.

    Args:
        spec: of the encoder they are for.
        n_cells: how many.
        seed: of the generator.
    """
    rng = np.random.default_rng(seed)
    n_genes, n_proteins = len(spec.genes), len(spec.proteins)
    share = rng.choice([0.02, 0.1, 0.4], size=(n_cells, 1))
    counts = rng.poisson(rng.gamma(0.5, 8.0, size=(n_cells, n_genes))) * (rng.random((n_cells, n_genes)) < share)
    # One cell without a single count: a division by its mean must not fail.
    counts[: n_cells // 16] = 0
    rows, columns = np.nonzero(counts)
    indptr = np.zeros(n_cells + 1, dtype=np.int32)
    np.cumsum(np.bincount(rows, minlength=n_cells), out=indptr[1:])
    cards = [len(field.categories) for field in spec.categorical_inputs]
    codes = [np.arange(n_cells) // max(1, i) % card for i, card in enumerate(cards, start=1)]
    return CellBatch(
        indptr=indptr,
        indices=columns.astype(np.int32),
        counts=counts[rows, columns].astype(np.float32),
        proteins=rng.poisson(rng.gamma(0.5, 200.0, size=(n_cells, n_proteins))).astype(np.float32),
        continuous=rng.normal(size=(n_cells, len(spec.continuous_inputs))).astype(np.float32),
        codes=np.stack(codes, axis=1).astype(np.int32) if codes else np.zeros((n_cells, 0), dtype=np.int32),
    )
