"""Cells as bodies of requests, and bodies of answers as arrays."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from benchmarks.cells import BATCHES, dense_genes
from model.contract import CellBatch, EncoderSpec
from service.protobuf.stubs import totalvi_v1_pb2 as pb

Answer: TypeAlias = dict[str, npt.NDArray[np.float32]]
"""Arrays by output, as a caller has them in the end."""

OUTPUTS = ("qz", "z", "library")

_DTYPES = {np.dtype("u1"): pb.Tensor.U8, np.dtype("u2"): pb.Tensor.U16}
_DTYPES |= {np.dtype("i4"): pb.Tensor.I32, np.dtype("f4"): pb.Tensor.F32}


def message(
    cells: CellBatch,
    *,
    model: str = "",
    names: EncoderSpec | None = None,
    options: bool = True,
    narrow: bool = False,
) -> bytes:
    """An `EncodeRequest` of CSR counts.

    Args:
        cells: to encode.
        model: to encode them with; none: the only one.
        names: whose columns are named; None: the columns are the model's.
        options: whether the outputs are named.
        narrow: counts and indices in the smallest integers; else as scipy holds them, int32 and float32.
    """
    indices, counts, proteins = cells.indices, cells.counts, cells.proteins
    if narrow:
        indices, counts, proteins = (_narrowest(values) for values in (indices, counts, proteins))
    request = pb.EncodeRequest(
        model=model,
        genes=names.genes if names else (),
        proteins=names.proteins if names else (),
        gene_counts=pb.Counts(
            csr=pb.CsrCounts(indptr=_tensor(cells.indptr), indices=_tensor(indices), data=_tensor(counts))
        ),
        protein_counts=pb.Counts(dense=_tensor(proteins)),
        batch=pb.Labels(
            categories=[pb.Label(string_value=label) for label in BATCHES], codes=_tensor(cells.codes[:, 0])
        ),
        outputs=[f"OUTPUT_{name.upper()}" for name in OUTPUTS] if options else (),
    )
    return request.SerializeToString()


def json_csr(cells: CellBatch) -> bytes:
    """Genes as CSR, proteins as rows."""
    return _json(cells, {"indptr": cells.indptr, "indices": cells.indices, "data": cells.counts.astype(np.int64)})


def json_dense(cells: CellBatch, n_genes: int) -> bytes:
    """Genes and proteins as rows."""
    return _json(cells, dense_genes(cells, n_genes).astype(np.int64))


def repeated_rows(body: bytes, limit_bytes: int) -> tuple[bytes, int]:
    """A dense JSON body with all its cells over and over, as often as they fit; and how often that is."""
    content = orjson.loads(body)
    rows = {name: orjson.dumps(content.pop(name))[1:-1] for name in ("gene_counts", "protein_counts", "batch")}
    times = (limit_bytes - 4096) // sum(len(row) + 1 for row in rows.values())
    fields = [b'"%s":[%s]' % (name.encode(), b",".join([row] * times)) for name, row in rows.items()]
    return b"{%s,%s}" % (b",".join(fields), orjson.dumps(content)[1:-1]), times


def from_message(body: bytes) -> Answer:
    """The arrays of an `EncodeResponse`."""
    reply = pb.EncodeResponse.FromString(body)
    tensors = {
        "qz_mean": reply.qz.mean,
        "qz_variance": reply.qz.variance,
        "z": reply.z,
        "library": reply.library.observed,
    }
    return {name: np.frombuffer(wire.data, "<f4").reshape(wire.shape) for name, wire in tensors.items()}


def from_json(body: bytes) -> Answer:
    """The arrays of a JSON answer, ours or the hand-written endpoint's."""
    reply: dict[str, Any] = orjson.loads(body)
    found = {
        "qz_mean": reply["qz"]["mean"],
        "qz_variance": reply["qz"]["variance"],
        "z": reply.get("z"),
        "library": reply["library"]["observed"],
    }
    return {name: np.array(values, np.float32) for name, values in found.items() if values is not None}


def library(cells: CellBatch) -> npt.NDArray[np.float32]:
    """The sum of each cell's gene counts."""
    sums = np.concatenate([[0.0], np.cumsum(cells.counts, dtype=np.float64)])
    return np.diff(sums[cells.indptr]).astype(np.float32)


def joined(answers: Sequence[Answer]) -> Answer:
    """Answers one after another as one."""
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def far_from(answer: Answer, reference: Answer) -> float:
    """The largest difference from the first cells of the reference, relative where values are large."""
    pairs = [(values, reference[name][: len(values)]) for name, values in answer.items()]
    return float(max((np.abs(values - right) / np.maximum(1, np.abs(right))).max() for values, right in pairs))


def same_bits(answers: Sequence[Answer]) -> bool:
    """Whether all hold the same arrays, to the last bit."""
    return all(
        one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)
        for one, other in itertools.pairwise(answers)
    )


def _tensor(values: npt.NDArray[Any]) -> pb.Tensor:
    return pb.Tensor(dtype=_DTYPES[values.dtype], shape=values.shape, data=values.tobytes())


def _narrowest(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return values.astype(np.uint8 if values.max(initial=0) < 1 << 8 else np.uint16)


def _json(cells: CellBatch, gene_counts: object) -> bytes:
    fields = {
        "gene_counts": gene_counts,
        "protein_counts": cells.proteins.astype(np.int64),
        "batch": [BATCHES[code] for code in cells.codes[:, 0]],
        "outputs": OUTPUTS,
    }
    return orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY)
