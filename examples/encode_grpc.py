"""Encodes the example cells over gRPC: python examples/encode_grpc.py [HOST:PORT]."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import grpc
import numpy as np

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs import totalvi_v1_pb2_grpc as pb_grpc


def tensor(values: object, dtype: str) -> pb.Tensor:
    """An array on the wire: C order, little endian; counts fit 16 bits."""
    array = np.asarray(values, dtype=dtype)
    kinds = {"<u2": pb.Tensor.U16, "<i4": pb.Tensor.I32}
    return pb.Tensor(dtype=kinds[dtype], shape=array.shape, data=array.tobytes())


def main() -> None:
    """Send, and print the latent mean of each cell."""
    target = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:8001"
    cells = json.loads((Path(__file__).parent / "request.json").read_text())
    counts = cells["gene_counts"]
    labels = sorted(set(cells["batch"]))
    request = pb.EncodeRequest(
        model="pbmc",
        cells=cells["cells"],
        genes=cells["genes"],
        proteins=cells["proteins"],
        gene_counts=pb.Counts(
            csr=pb.CsrCounts(
                indptr=tensor(counts["indptr"], "<i4"),
                indices=tensor(counts["indices"], "<u2"),
                data=tensor(counts["data"], "<u2"),
            )
        ),
        protein_counts=pb.Counts(dense=tensor(cells["protein_counts"], "<u2")),
        batch=pb.Labels(
            categories=[pb.Label(string_value=label) for label in labels],
            codes=tensor([labels.index(label) for label in cells["batch"]], "<u2"),
        ),
    )
    with grpc.insecure_channel(target) as channel:
        response = pb_grpc.EncoderServiceStub(channel).Encode(request, timeout=10)
    means = np.frombuffer(response.qz.mean.data, "<f4").reshape(response.qz.mean.shape)
    for name, mean in zip(response.cells, means, strict=True):
        print(name, np.array2string(mean, precision=3, max_line_width=200))


if __name__ == "__main__":
    main()
