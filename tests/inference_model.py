"""The model behind the Open Inference Protocol's unit tests, and cells for it as the protocol's tensors."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from model.contract import CategoricalField
from tests.fakes import FakeEncoder, make_spec

SPEC = make_spec(
    batch=("a", "b"),
    categorical_covariates=(CategoricalField("lane", (1, 2, 3)), CategoricalField("dose", (0.5, 1.0))),
    continuous_covariates=("age",),
)

COUNTS = np.array([[3, 0, 1, 0, 2], [0, 7, 0, 0, 0]], dtype=np.uint16)
PROTEINS = np.array([[10, 0], [4, 6]], dtype=np.uint8)

TENSORS: dict[str, tuple[str, Any]] = {
    "gene_counts": ("UINT16", COUNTS),
    "protein_counts": ("UINT8", PROTEINS),
    "batch": ("BYTES", ["a", "b"]),
    "covariate.lane": ("BYTES", ["3"]),
    "covariate.dose": ("BYTES", ["0.5", "1.0"]),
    "covariate.age": ("FP32", np.array([1.5, 2.0], dtype=np.float32)),
}
"""Name → datatype and values of a good request."""

CSR: dict[str, tuple[str, Any]] = {
    "gene_counts.data": ("UINT16", np.array([3, 1, 2, 7], dtype=np.uint16)),
    "gene_counts.indices": ("INT32", np.array([0, 2, 4, 1], dtype=np.int32)),
    "gene_counts.indptr": ("INT64", np.array([0, 3, 4], dtype=np.int64)),
}
"""The same genes, sparse."""

SPARSE = CSR | {name: tensor for name, tensor in TENSORS.items() if name != "gene_counts"}


def encoder() -> FakeEncoder:
    return FakeEncoder(SPEC)


def raw_texts(texts: list[str]) -> bytes:
    return b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)


def raw(values: Any) -> bytes:
    return raw_texts(values) if isinstance(values, list) else values.tobytes()
