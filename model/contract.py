"""What travels between the service and a totalVI encoder: numpy arrays and plain facts.

Everything here is numpy and the standard library, so that both sides can import it without loading torch.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Float32Array: TypeAlias = npt.NDArray[np.float32]
Int32Array: TypeAlias = npt.NDArray[np.int32]

Label: TypeAlias = str | int | float | bool
"""A category as the trainer's data frame held it; its Python type is part of it (1 is not "1")."""

ARTIFACT_FILE = "encoder.pt"
"""A served model lies at MODELS/<name>/<version>/encoder.pt."""

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
MODEL_VERSION = re.compile(r"[1-9][0-9]{0,17}")

Precision: TypeAlias = Literal["float32", "tf32", "bfloat16"]
"""Arithmetic of the encoder's products: IEEE float32, or a shorter one by the operator's explicit choice. `tf32` rounds
the factors to 10 bits and is a CUDA device's; `bfloat16` holds weights and hidden layers in 8 bits."""

LatentDistribution: TypeAlias = Literal["normal", "ln"]
InputTransform: TypeAlias = Literal["log1p", "scaled"]
"""What scvi-tools did to counts before layer 0: `log1p` up to 1.3.0, `scaled` from 1.3.1 on.

`log1p`: log(1 + x). `scaled`: log(1 + x / (1 + mean(x))), the mean over all model features of the kind. A model trained
with `log_variational=False` leaves the logarithm out of either.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class CategoricalField:
    """One categorical input of the encoder: the batch, or a covariate.

    Attributes:
        key: the column of `adata.obs` it was set up with.
        categories: the labels in code order (code 0 first).
    """

    key: str
    categories: tuple[Label, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class EncoderSpec:
    """All that a caller needs to know of an encoder: its columns, its fields, its sizes and where it came from.

    Attributes:
        model_class: the scvi-tools class that was saved, `TOTALVI` or `TOTALANVI`.
        genes: names of the gene columns, in the model's order.
        proteins: names of the protein columns, in the model's order.
        batch: the batch field; None where the model was set up without one.
        categorical_covariates: in the order the encoder takes them.
        continuous_covariates: names, in the order the encoder takes them.
        n_latent: dimensions of z.
        n_hidden: width of the hidden layers.
        n_layers: hidden layers of the z branch (the l branch always has one).
        latent_distribution: `normal` or `ln` (logistic normal).
        encode_covariates: whether the encoder sees batch and covariates at all.
        input_transform: see `InputTransform`.
        log_variational: False where the model was trained without the logarithm.
        input_transform_decision: how that was decided, for people.
        library_encoder_trained: False where the model used the observed library size: q(l) is then noise.
        proteins_missing_per_batch: batch (or panel) label → proteins that were not measured in it.
        scvi_version: as recorded in the save; proves nothing alone (DOMAIN 2).
        save_sha256: of the save's `model.pt`, lower-case hex.
        deviation_from_eager: largest |compiled - eager| / max(1, |eager|) seen at export, by output; eager in float64.
    """

    model_class: str
    genes: tuple[str, ...]
    proteins: tuple[str, ...]
    batch: CategoricalField | None
    categorical_covariates: tuple[CategoricalField, ...]
    continuous_covariates: tuple[str, ...]
    n_latent: int
    n_hidden: int
    n_layers: int
    latent_distribution: LatentDistribution
    encode_covariates: bool
    input_transform: InputTransform
    log_variational: bool
    input_transform_decision: str
    library_encoder_trained: bool
    proteins_missing_per_batch: Mapping[str, tuple[str, ...]]
    scvi_version: str | None
    save_sha256: str
    deviation_from_eager: Mapping[str, float]

    @property
    def categorical_inputs(self) -> tuple[CategoricalField, ...]:
        """The fields that enter the encoder, in the order of `CellBatch.codes`: batch first, then covariates.

        A field with fewer than two categories has no column (DOMAIN 9.3), nor has any if covariates are not encoded.
        """
        if not self.encode_covariates:
            return ()
        fields = (() if self.batch is None else (self.batch,)) + self.categorical_covariates
        return tuple(field for field in fields if len(field.categories) > 1)

    @property
    def continuous_inputs(self) -> tuple[str, ...]:
        """The continuous covariates that enter the encoder, in the order of `CellBatch.continuous`."""
        return self.continuous_covariates if self.encode_covariates else ()

    def public(self) -> dict[str, Any]:
        """The spec as JSON-ready values, for the model's card. Its lists are not copied: they hold every gene."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["batch"] = None if self.batch is None else dataclasses.asdict(self.batch)
        values["categorical_covariates"] = tuple(map(dataclasses.asdict, self.categorical_covariates))
        return values


@dataclasses.dataclass(frozen=True, slots=True)
class CellBatch:
    """Cells ready for the encoder: raw counts over the model's own columns.

    Attributes:
        indptr: int32 [n + 1], where each cell's entries begin; starts at 0, ends at the number of entries.
        indices: int32 [entries], gene columns, strictly ascending within a cell.
        counts: float32 [entries], raw counts, no zeros.
        proteins: float32 [n, n_proteins], raw counts.
        continuous: float32 [n, len(spec.continuous_inputs)].
        codes: int32 [n, len(spec.categorical_inputs)], category codes.
    """

    indptr: Int32Array
    indices: Int32Array
    counts: Float32Array
    proteins: Float32Array
    continuous: Float32Array
    codes: Int32Array

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.indptr) - 1

    @property
    def n_entries(self) -> int:
        """Number of stored gene counts."""
        return len(self.indices)

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        sparse, dense = (self.indptr, self.indices, self.counts), (self.proteins, self.continuous, self.codes)
        return sum([array.nbytes for array in (*sparse, *dense)])

    def cells(self, start: int, stop: int) -> CellBatch:
        """The cells `start` to `stop` (views, but for the shifted `indptr`)."""
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        return CellBatch(
            indptr=self.indptr[start : stop + 1] - self.indptr[start],
            indices=self.indices[first:last],
            counts=self.counts[first:last],
            proteins=self.proteins[start:stop],
            continuous=self.continuous[start:stop],
            codes=self.codes[start:stop],
        )

    @staticmethod
    def concatenate(batches: list[CellBatch]) -> CellBatch:
        """All cells of `batches`, in order. One batch comes back as it is, uncopied."""
        if len(batches) == 1:
            return batches[0]
        lengths = [np.diff(batch.indptr) for batch in batches]
        indptr = np.zeros(sum(length.shape[0] for length in lengths) + 1, dtype=np.int32)
        np.cumsum(np.concatenate(lengths), out=indptr[1:])
        return CellBatch(
            indptr=indptr,
            indices=np.concatenate([batch.indices for batch in batches]),
            counts=np.concatenate([batch.counts for batch in batches]),
            proteins=np.concatenate([batch.proteins for batch in batches]),
            continuous=np.concatenate([batch.continuous for batch in batches]),
            codes=np.concatenate([batch.codes for batch in batches]),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class LatentParams:
    """The posterior of each cell, as normals before any softmax or exponential.

    Attributes:
        qz_mean: float32 [n, n_latent], mean of q(z).
        qz_variance: float32 [n, n_latent], variance of q(z), at least 1e-4.
        ql_mean: float32 [n], mean of q(l), the log library size; NaN where nobody asked for it.
        ql_variance: float32 [n], variance of q(l), at least 1e-4; NaN where nobody asked for it.
    """

    qz_mean: Float32Array
    qz_variance: Float32Array
    ql_mean: Float32Array
    ql_variance: Float32Array

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return len(self.qz_mean)

    def cells(self, start: int, stop: int) -> LatentParams:
        """The cells `start` to `stop`, as views."""
        return LatentParams(
            qz_mean=self.qz_mean[start:stop],
            qz_variance=self.qz_variance[start:stop],
            ql_mean=self.ql_mean[start:stop],
            ql_variance=self.ql_variance[start:stop],
        )

    @staticmethod
    def empty(n_latent: int) -> LatentParams:
        """Of no cell."""
        matrix, vector = np.zeros((0, n_latent), dtype=np.float32), np.zeros(0, dtype=np.float32)
        return LatentParams(matrix, matrix, vector, vector)

    @staticmethod
    def concatenate(parts: list[LatentParams]) -> LatentParams:
        """All cells of `parts`, in order. One part comes back as it is, uncopied."""
        if len(parts) == 1:
            return parts[0]
        return LatentParams(
            qz_mean=np.concatenate([part.qz_mean for part in parts]),
            qz_variance=np.concatenate([part.qz_variance for part in parts]),
            ql_mean=np.concatenate([part.ql_mean for part in parts]),
            ql_variance=np.concatenate([part.ql_variance for part in parts]),
        )


class Encoder(Protocol):
    """A loaded encoder. `encode` is called from one thread at a time."""

    @property
    def spec(self) -> EncoderSpec:
        """What the encoder is."""
        ...

    @property
    def sha256(self) -> str:
        """Of the artifact it was loaded from, lower-case hex."""
        ...

    @property
    def precision(self) -> Precision:
        """Of its products."""
        ...

    @property
    def deviation_from_float32(self) -> Mapping[str, float]:
        """Largest |value - float32's| / max(1, |float32's|) on made-up cells, by output; empty for float32 itself."""
        ...

    def encode(self, cells: CellBatch, *, library: bool = True) -> LatentParams:
        """The posterior of each cell, in order, to the last bit the same whatever its neighbours.

        Args:
            cells: checked and aligned by the caller.
            library: whether q(l) is asked for too; without it a batch costs about a third less.

        Raises:
            OutOfDeviceMemory: fewer cells may fit.
            DeviceLost: it will not compute again.
        """
        ...


class DeviceLost(RuntimeError):
    """The device will not compute again in this process (a sticky CUDA error): only a new process helps."""


class OutOfDeviceMemory(RuntimeError):
    """The device has no memory for these cells; fewer at a time may fit."""
