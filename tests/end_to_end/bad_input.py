"""The table of what callers do wrong, and what each transport must say to it (API 6).

Of the kinds that it lacks, `overloaded` and `unavailable` are what a server in trouble says: `test_overload.py` and
`test_lifecycle.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
from collections.abc import Callable
from typing import Any, Final

import grpc
import numpy as np

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Ask, Csr
from tests.end_to_end.clients import GrpcCaller, RestCaller, json_body, message, rest_path, tensor
from tests.end_to_end.conftest import MAX_REQUEST_BYTES
from tests.end_to_end.mistake import SECRET, Case, Says, Warns, calls, calls_bytes, posts, posts_json, posts_with

GOOD: Final = synthetic.cells()


def counts_with(value: float, cell: int = 0, dtype: Any = np.float64) -> np.ndarray:
    """The good gene counts but for the first of a cell."""
    counts = GOOD.gene_counts.astype(dtype)
    counts[cell, 0] = value
    return counts


BAD: Final = GOOD.but(gene_counts=counts_with(SECRET, dtype=np.int64))
"""Right as it is; each mistake is made in it."""

CELLS, COLUMNS = BAD.gene_counts.shape
GENES: Final = list(synthetic.RECIPE.genes)
CSR: Final = Csr.of(BAD.gene_counts)
JSON: Final = json.dumps(json_body(BAD)).encode()
MESSAGE: Final = message(BAD).SerializeToString()
BLANK: Final = b" " * (MAX_REQUEST_BYTES + 1)
LOGGED: Final = np.log1p(GOOD.gene_counts / GOOD.gene_counts.sum(axis=1, keepdims=True) * 1e4)

malformed = functools.partial(Says, "malformed")
invalid = functools.partial(Says, "invalid")
not_found = functools.partial(Says, "not_found")
too_large = functools.partial(Says, "too_large")
unsupported = functools.partial(Says, "unsupported")
deadline = functools.partial(Says, "deadline")


def csr_with(**parts: np.ndarray) -> Ask:
    """The bad ask as CSR, with other parts."""
    return BAD.but(gene_counts=dataclasses.replace(CSR, **parts))


def changed(values: np.ndarray, index: int, value: int) -> np.ndarray:
    """The values, wide enough for another one in one place."""
    copy = values.astype(np.int64)
    copy[index] = value
    return copy


def columns(n: int, **changes: Any) -> Ask:
    """The first `n` genes alone."""
    return BAD.but(genes=GENES[:n], gene_counts=np.ascontiguousarray(BAD.gene_counts[:, :n]), **changes)


def categorical(**labels: Any) -> Ask:
    """With other labels, one for all cells, of some covariates."""
    return BAD.but(categorical={**BAD.categorical, **labels})


def empty_cells(n_cells: int, **changes: Any) -> Ask:
    """Many cells in few bytes."""
    return BAD.but(
        gene_counts=Csr(np.zeros(n_cells + 1, np.uint32), np.zeros(0, np.uint16), np.zeros(0, np.uint16)),
        protein_counts=None,
        proteins=None,
        batch="b0",
        categorical={"donor": "d1", "lane": 1},
        continuous={"age": 0.5},
        **changes,
    )


def dense(**parts: Any) -> Callable[[GrpcCaller], Any]:
    """Call with another dtype, shape or data of the dense counts."""

    def change(request: pb.EncodeRequest) -> None:
        counts = request.gene_counts.dense
        whole = {"dtype": counts.dtype, "shape": counts.shape, "data": counts.data} | parts
        counts.CopyFrom(pb.Tensor(**whole))

    return calls(BAD, change)


def csr(**parts: np.ndarray) -> Callable[[GrpcCaller], Any]:
    """Call with CSR counts of these parts alone."""
    counts = pb.Counts(csr=pb.CsrCounts(**{name: tensor(values) for name, values in parts.items()}))
    return calls(BAD, lambda request: request.gene_counts.CopyFrom(counts))


def row_with(value: Any) -> Callable[[RestCaller], Any]:
    """Post rows with something among them that JSON has and counts have not."""
    return posts_json(BAD, lambda body: body["gene_counts"][1].__setitem__(3, value))


def seven_columns(request: pb.EncodeRequest) -> None:
    """Claim another width than the names make."""
    request.gene_counts.CopyFrom(message(BAD.sparse()).gene_counts)
    request.gene_counts.csr.n_columns = 7


NO_JSON = malformed("not valid JSON")
NO_NUMBERS = malformed("gene_counts must hold numbers alone", "gene_counts")
NO_DTYPE = malformed("the dtype must be one of", "gene_counts")
NO_INDICES = malformed("gene_counts.indices: the dtype must be one of", "gene_counts.indices")

MALFORMED = [
    Case(
        "not decodable",
        NO_JSON,
        rest=posts(BAD, b'{"gene_counts": [[1, 2'),
        rpc=calls_bytes(b"\xff\xff\xff"),
        rpc_outcome=malformed("not a serialised totalvi.v1.EncodeRequest"),
    ),
    Case("empty body", NO_JSON, rest=posts(BAD, b"")),
    Case("a message as JSON", NO_JSON, rest=posts(BAD, MESSAGE)),
    Case(
        "JSON as a message",
        malformed("not a serialised totalvi.v1.EncodeRequest"),
        rest_protobuf=posts(BAD, JSON),
    ),
    Case("trailing text", NO_JSON, rest=posts(BAD, JSON + b"]")),
    Case("invalid UTF-8", NO_JSON, rest=posts(BAD, b'{"cells": ["\xff\xfe"]}')),
    Case("nested 5000 deep", NO_JSON, rest=posts(BAD, b"[" * 5000 + b"]" * 5000)),
    Case("NaN in JSON", NO_JSON, rest=row_with(float("nan"))),
    Case("a count of 1e999", NO_JSON, rest=posts(BAD, JSON.replace(b"%d" % SECRET, b"1e999"))),
    Case("a list as body", malformed("must be a JSON object"), rest=posts(BAD, b"[1, 2]")),
    Case(
        "unknown field",
        malformed("gene_count is not a known field; the nearest one is gene_counts", "gene_count"),
        rest=posts_json(BAD, gene_count=[[1]]),
    ),
    Case(
        "field given twice",
        malformed("batch is given twice", "batch"),
        rest=posts(BAD, JSON[:-1] + b', "batch": "b1"}'),
    ),
    Case("text as count", NO_NUMBERS, rest=row_with("3")),
    Case("null as count", NO_NUMBERS, rest=row_with(None)),
    Case("true as count", NO_NUMBERS, rest=row_with(True)),
    Case("list as count", NO_NUMBERS, rest=row_with([3])),
    Case("number as counts", malformed("must be a list of rows", "gene_counts"), rest=posts_json(BAD, gene_counts=3)),
    Case(
        "number as row",
        malformed("item 1 is not a list", "gene_counts", 1),
        rest=posts_json(BAD, lambda body: body["gene_counts"].__setitem__(1, 5)),
    ),
    Case(
        "CSR without indices",
        malformed("gene_counts.indices must be a list of numbers", "gene_counts.indices"),
        rest=posts_json(BAD, gene_counts={"indptr": [0, 1], "data": [1]}),
        rpc=csr(indptr=np.array([0, 1], np.uint32), data=np.ones(1)),
        rpc_outcome=NO_INDICES,
    ),
    Case(
        "fractional indices",
        malformed("gene_counts.indices must hold whole numbers", "gene_counts.indices"),
        rest=posts_json(BAD, gene_counts={"indptr": [0, 1], "indices": [0.5], "data": [1]}),
        rpc=csr(indptr=np.array([0, 1], np.uint32), indices=np.array([0.5]), data=np.ones(1)),
        rpc_outcome=NO_INDICES,
    ),
    Case(
        "nothing as label",
        malformed("batch must hold labels alone", "batch", 1),
        rest=posts_json(BAD, batch=["b0", None, "b0", "b0", "b0", "b0"]),
        rpc=calls(BAD, lambda request: request.batch.categories[0].Clear()),
        rpc_outcome=malformed("a label has no value", "batch.categories", 0),
    ),
    Case("seed as text", malformed("seed", "seed"), rest=posts_json(BAD, seed="7")),
    Case("fractional n_samples", malformed("n_samples", "n_samples"), rest=posts_json(BAD, n_samples=1.5)),
    Case("genes as text", malformed("genes", "genes"), rest=posts_json(BAD, genes="GENE0")),
    Case("timeout in words", malformed("X-Request-Timeout-Ms"), rest=posts_with(BAD, X_Request_Timeout_Ms="soon")),
    Case("timeout without end", malformed("X-Request-Timeout-Ms"), rest=posts_with(BAD, X_Request_Timeout_Ms="1e999")),
    Case(
        "no gzip",
        malformed("not valid gzip"),
        rest=posts_with(BAD, Content_Encoding="gzip"),
        rest_protobuf=posts_with(BAD, Content_Encoding="gzip"),
    ),
    Case("no zstd", malformed("not valid zstd"), rest=posts_with(BAD, Content_Encoding="zstd")),
    Case(
        "gzip cut short",
        malformed("ends before its gzip data does"),
        rest=posts(BAD, gzip.compress(JSON)[:-9], Content_Encoding="gzip"),
        rest_protobuf=posts(BAD, gzip.compress(MESSAGE)[:-9], Content_Encoding="gzip"),
    ),
    Case("no dtype", NO_DTYPE, rpc=dense(dtype=0)),
    Case("unknown dtype", NO_DTYPE, rpc=dense(dtype=77)),
    Case("data too short", malformed("but data holds", "gene_counts"), rpc=dense(data=b"123")),
    Case("negative axes", malformed("each axis", "gene_counts"), rpc=dense(shape=[-CELLS, -COLUMNS])),
    Case("axis of 2^62", malformed("each axis", "gene_counts"), rpc=dense(shape=[0, 2**62])),
    Case("overflowing shape", malformed("but data holds", "gene_counts"), rpc=dense(shape=[2**31 - 1, 2**31 - 1])),
    Case("wrong rank", malformed("must have 2 axes", "gene_counts"), rpc=dense(shape=[CELLS * COLUMNS])),
    Case(
        "counts of no form",
        malformed("dense or csr must be set", "gene_counts"),
        rpc=calls(BAD, lambda request: request.gene_counts.Clear()),
    ),
]


NEGATIVE = "a negative count; send raw counts"
INFINITE = invalid("gene_counts has a count that is not finite (first in cell 2)", "gene_counts", 2)
FOREIGN = "is unknown to the model; allowed:"
LANE, DONOR, AGE = "categorical_covariates.lane", "categorical_covariates.donor", "continuous_covariates.age"
LIKE_LOGGED = invalid("gene_counts looks log-normalised", "gene_counts")
NO_START = invalid("gene_counts.indptr does not begin with 0", "gene_counts.indptr", 0)
NO_END = invalid("gene_counts.indptr ends at", "gene_counts.indptr")
NO_COLUMN = invalid("gene_counts.indices has a column outside 0 to 39", "gene_counts.indices", 4)

INVALID = [
    Case(
        "no gene counts",
        invalid("gene_counts is missing", "gene_counts"),
        rest=posts_json(BAD, lambda body: body.pop("gene_counts")),
        rpc=calls_bytes(b""),
    ),
    Case(
        "ragged rows",
        invalid("row 1 of gene_counts has 39 values", "gene_counts", 1),
        rest=posts_json(BAD, lambda body: body["gene_counts"][1].pop()),
    ),
    Case("negative", invalid(NEGATIVE, "gene_counts", 3), BAD.but(gene_counts=counts_with(-SECRET, 3, np.int32))),
    Case("negative fraction", invalid(NEGATIVE, "gene_counts", 3), BAD.but(gene_counts=counts_with(-0.5, 3))),
    Case("negative CSR", invalid(NEGATIVE, "gene_counts", 3), BAD.but(gene_counts=counts_with(-SECRET, 3)).sparse()),
    Case(
        "negative protein",
        invalid(f"protein_counts has {NEGATIVE}", "protein_counts", 0),
        BAD.but(protein_counts=-1 - GOOD.protein_counts),
    ),
    Case("NaN", INFINITE, rpc=lambda caller: caller.encode(BAD.but(gene_counts=counts_with(np.nan, 2, np.float32)))),
    Case("infinity", INFINITE, rpc=lambda caller: caller.encode(BAD.but(gene_counts=counts_with(np.inf, 2)))),
    Case("minus infinity", INFINITE, rpc=lambda caller: caller.encode(BAD.but(gene_counts=counts_with(-np.inf, 2)))),
    Case("NaN CSR", INFINITE, rpc=lambda caller: caller.encode(BAD.but(gene_counts=counts_with(np.nan, 2)).sparse())),
    Case(
        "count beyond any cell",
        invalid("gene_counts has a count", "gene_counts"),
        BAD.but(gene_counts=counts_with(1e39)),
    ),
    Case(
        "too narrow for the names",
        invalid("gene_counts has 39 columns where 40 are expected", "gene_counts"),
        columns(39).but(genes=GENES),
    ),
    Case(
        "too wide for the model",
        invalid("gene_counts has 41 columns where 40 are expected", "gene_counts"),
        BAD.but(gene_counts=np.pad(BAD.gene_counts, ((0, 0), (0, 1))), genes=None),
    ),
    Case(
        "another width than claimed",
        invalid("gene_counts has 7 columns where 40 are expected", "gene_counts"),
        rpc=calls(BAD, seven_columns),
    ),
    Case(
        "proteins too narrow",
        invalid("protein_counts has 4 columns where 5 are expected", "protein_counts"),
        BAD.but(protein_counts=np.ascontiguousarray(BAD.protein_counts[:, :-1])),
    ),
    Case(
        "fewer cells with proteins",
        invalid("protein_counts has 5 cells, gene_counts 6", "protein_counts"),
        BAD.but(protein_counts=BAD.protein_counts[:-1]),
    ),
    Case("proteins without counts", invalid("proteins are named", "protein_counts"), BAD.but(protein_counts=None)),
    Case(
        "a gene twice",
        invalid("gene 'GENE1' occurs more than once", "genes", 3),
        BAD.but(genes=[*GENES[:3], "GENE1", *GENES[4:]]),
    ),
    Case(
        "a protein twice",
        invalid("protein 'protein-0' occurs more than once", "proteins", 1),
        BAD.but(proteins=["protein-0", "protein-0", "protein-2", "protein-3", "protein-4"]),
    ),
    Case(
        "other symbols",
        invalid("no gene of the request is known to the model: the request has 'CD0', 'CD1'", "genes"),
        BAD.but(genes=[f"CD{i}" for i in range(COLUMNS)]),
    ),
    Case(
        "Ensembl ids",
        invalid("the model 'GENE0', 'GENE1', 'GENE2', 'GENE3', 'GENE4'; the request's look like Ensembl ids", "genes"),
        BAD.but(genes=[f"ENSG{i:011d}" for i in range(COLUMNS)]),
    ),
    Case("version suffixes", invalid("a version suffix", "genes"), BAD.but(genes=[f"{name}.3" for name in GENES])),
    Case("lower case", invalid("letter case", "genes"), BAD.but(genes=[name.lower() for name in GENES])),
    Case("low coverage", invalid("only 25.0% of the model's 40 genes are in the request", "genes"), columns(10)),
    Case(
        "less coverage than wanted",
        invalid("only 97.5% of the model's 40 genes are in the request", "genes"),
        columns(39, options={"min_gene_coverage": 1.0}),
    ),
    Case(
        "coverage over 1",
        invalid("min_gene_coverage", "min_gene_coverage"),
        BAD.but(options={"min_gene_coverage": 1.5}),
    ),
    Case(
        "decreasing indptr",
        invalid("gene_counts.indptr decreases", "gene_counts.indptr", 2),
        csr_with(indptr=changed(CSR.indptr, 2, 0)),
    ),
    Case("indptr from 1", NO_START, csr_with(indptr=changed(CSR.indptr, 0, 1))),
    Case("indptr from -1", NO_START, csr_with(indptr=changed(CSR.indptr, 0, -1))),
    Case("no indptr", NO_START, csr_with(indptr=np.zeros(0, np.uint32))),
    Case("indptr too long", NO_END, csr_with(indptr=changed(CSR.indptr, -1, 2**40))),
    Case("data too few", NO_END, csr_with(data=CSR.data[:-1])),
    Case("indices too few", NO_END, csr_with(indices=CSR.indices[:-1])),
    Case("column too large", NO_COLUMN, csr_with(indices=changed(CSR.indices, 4, 40))),
    Case("column of 2^40", NO_COLUMN, csr_with(indices=changed(CSR.indices, 4, 2**40))),
    Case("negative column", NO_COLUMN, csr_with(indices=changed(CSR.indices, 4, -1))),
    Case("no batch", invalid("the model needs batch, one of 'b0', 'b1'", "batch"), BAD.but(batch=None)),
    Case(
        "no donor",
        invalid(f"the model needs {DONOR}, one of 'd1', 'd2'", DONOR),
        BAD.but(categorical={"lane": 1}),
    ),
    Case("no age", invalid(f"the model needs {AGE}", AGE), BAD.but(continuous={})),
    Case("unknown batch", invalid(f"batch 'b9' {FOREIGN} 'b0', 'b1'", "batch", 0), BAD.but(batch="b9")),
    Case("number as batch", invalid(f"batch 0 {FOREIGN} 'b0', 'b1'", "batch", 0), BAD.but(batch=0)),
    Case(
        "batch of 9 kB in lines",
        invalid(f"... {FOREIGN} 'b0', 'b1'", "batch", 0),
        BAD.but(batch="x\r\n" * 3000),
    ),
    Case(
        "unknown donor of a cell",
        invalid(f"{DONOR} 'd9' {FOREIGN} 'd1', 'd2'", DONOR, 2),
        categorical(donor=["d1", "d2", "d9", "d1", "d9", "d1"]),
    ),
    Case(
        "text for a number",
        invalid(f"{LANE} '1' {FOREIGN} 1, 2, 3", LANE, 5),
        categorical(lane=[1, 2, 3, 1, 2, "1"]),
    ),
    Case("true for 1", invalid(f"{LANE} True {FOREIGN} 1, 2, 3", LANE, 0), categorical(lane=True)),
    Case("a half for a number", invalid(f"{LANE} 1.5 {FOREIGN} 1, 2, 3", LANE, 0), categorical(lane=1.5)),
    Case("labels too few", invalid("batch has 5 labels for 6 cells", "batch"), BAD.but(batch=BAD.batch[:-1])),
    Case(
        "codes too many",
        invalid("batch has 7 labels for 6 cells", "batch"),
        rpc=calls(BAD, lambda request: request.batch.codes.CopyFrom(tensor(np.zeros(7, np.uint8)))),
    ),
    Case(
        "code below 0",
        invalid("batch has a code outside its categories", "batch", 4),
        rpc=calls(BAD, lambda request: request.batch.codes.CopyFrom(tensor(np.array([0, 1, 0, 1, -1, 0], np.int32)))),
    ),
    Case(
        "categories without codes",
        invalid("batch has 2 categories but no codes", "batch"),
        rpc=calls(BAD, lambda request: request.batch.ClearField("codes")),
    ),
    Case("cell names too few", invalid("cells has 2 names for 6 cells", "cells"), BAD.but(cells=["a", "b"])),
    Case(
        "ages too few",
        invalid(f"{AGE} has 2 numbers for 6 cells", AGE),
        BAD.but(continuous={"age": np.array([1.0, 2.0])}),
    ),
    Case(
        "age over float32", invalid(f"{AGE} has a number that is not finite", AGE, 0), BAD.but(continuous={"age": 1e39})
    ),
    Case("log-normalised", LIKE_LOGGED, BAD.but(gene_counts=LOGGED)),
    Case("log-normalised CSR", LIKE_LOGGED, BAD.but(gene_counts=LOGGED).sparse()),
    Case("negative n_samples", invalid("n_samples", "n_samples"), rest=posts_json(BAD, n_samples=-1)),
    Case("negative seed", invalid("seed", "seed"), rest=posts_json(BAD, seed=-1)),
    Case("unknown output by name", invalid("outputs", "outputs", 1), rest=posts_json(BAD, outputs=["qz", "qx"])),
    Case(
        "unknown output by number",
        invalid("each must be one of OUTPUT_QZ", "outputs", 1),
        rpc=calls(BAD, lambda request: request.outputs.__setitem__(slice(None), [pb.OUTPUT_QZ, 99])),
    ),
    Case(
        "another model than the path's",
        invalid("model is another one than the path names", "model"),
        rest_protobuf=posts(BAD.but(model="twin"), MESSAGE),
    ),
    Case(
        "another version than the path's",
        invalid("model_version is another one than the path names", "model_version"),
        rest_protobuf=posts(BAD.but(version="1"), message(BAD.but(version="2")).SerializeToString()),
    ),
    Case("first cell of 2^63", invalid("first_cell", "first_cell"), BAD.but(options={"first_cell": 2**63})),
]


SURE = BAD.but(outputs=["qz", "z", "library"])
"""Asks for nothing that earns a warning of its own."""

WARNED = [
    Case("a fraction among counts", Warns("non_integer_counts", 1), SURE.but(gene_counts=counts_with(SECRET + 0.5))),
    Case(
        "log-normalised on purpose",
        Warns("non_integer_counts", int(np.count_nonzero(LOGGED % 1))),
        SURE.but(gene_counts=LOGGED, options={"allow_non_integer": True}),
    ),
    Case("genes missing", Warns("missing_genes", 10), columns(30, outputs=SURE.outputs)),
    Case(
        "genes unknown",
        Warns("extra_genes", 2),
        SURE.but(
            genes=["x", *GENES, "y"],
            gene_counts=np.pad(BAD.gene_counts, ((0, 0), (1, 1)), constant_values=SECRET),
        ),
    ),
    Case("no proteins", Warns("missing_proteins", 5), SURE.but(proteins=None, protein_counts=None)),
    Case("covariate misspelt", Warns("unknown_covariates", 1), categorical(doner="d1").but(outputs=SURE.outputs)),
    Case("ql that was never trained", Warns("untrained_library_encoder", 1), SURE.but(outputs=["ql"])),
]


NO_MODEL = not_found("'synthetic', 'twin'")
NO_VERSION = not_found("model synthetic has no such version; served: '1', '2'")
TOO_MANY_BYTES = too_large(f"max_request_bytes, {MAX_REQUEST_BYTES} bytes")
LATE = deadline("the deadline passed")
LATE_OR_LEFT = deadline("", by="either")

REFUSED = [
    Case("unknown model", NO_MODEL, BAD.but(model="nobody")),
    Case("unknown version", NO_VERSION, BAD.but(version="3")),
    Case("version in words", NO_VERSION, BAD.but(version="latest")),
    Case("no model", not_found("several models are served and the request names none"), BAD.but(model=None)),
    Case(
        "card of an unknown model",
        NO_MODEL,
        rest=lambda caller: caller.send("GET", "/v1/models/nobody", b""),
        rpc=calls_bytes(pb.GetModelRequest(model="nobody").SerializeToString(), "GetModel"),
        rest_protobuf=lambda caller: caller.send("GET", "/v1/models/nobody", b""),
    ),
    Case(
        "a path as model",
        not_found("there is nothing at this path"),
        rest=lambda caller: caller.send("POST", "/v1/models/..%2F..%2Fetc%2Fpasswd/encode", JSON),
        rpc=lambda caller: caller.encode(BAD.but(model="../../etc/passwd")),
        rpc_outcome=NO_MODEL,
    ),
    Case(
        "too many samples",
        too_large("1001 samples are over max_samples = 1000", "n_samples"),
        BAD.but(options={"n_samples": 1001}),
    ),
    Case(
        "too many drawn numbers",
        too_large("values, over max_sample_values = ", "n_samples"),
        empty_cells(4000, options={"n_samples": 1000}),
    ),
    Case("too many cells", too_large("65537 cells are over max_request_cells = 65536"), empty_cells(65537)),
    Case("too many names", too_large("max_columns", "genes"), BAD.but(genes=[f"g{i}" for i in range(200_001)])),
    Case(
        "body too large",
        TOO_MANY_BYTES,
        rest=posts(BAD, BLANK),
        rest_protobuf=posts(BAD, BLANK),
        rpc=lambda caller: caller.encode(BAD.but(gene_counts=np.zeros((MAX_REQUEST_BYTES // 80, COLUMNS)))),
        rpc_outcome=too_large("larger than max", by="grpc"),
    ),
    Case(
        "chunks too large",
        TOO_MANY_BYTES,
        rest=lambda caller: caller.send(
            "POST", rest_path(BAD), iter([BLANK[:65536]] * (MAX_REQUEST_BYTES // 65536 + 1))
        ),
    ),
    Case("gzip of too much", TOO_MANY_BYTES, rest=posts(BAD, gzip.compress(BLANK), Content_Encoding="gzip")),
    Case(
        "body of text",
        unsupported("Content-Type must be application/json or application/x-protobuf"),
        rest=posts_with(BAD, Content_Type="text/csv"),
    ),
    Case(
        "unknown encoding",
        unsupported("Content-Encoding must be one of identity, gzip and zstd"),
        rest=posts_with(BAD, Content_Encoding="br"),
        rest_protobuf=posts_with(BAD, Content_Encoding="br"),
        rpc=lambda caller: caller.call(caller.stub.Encode, message(BAD), compression=grpc.Compression.Gzip),
        rpc_outcome=unsupported("gzip", by="grpc"),
    ),
    Case(
        "answer of text",
        unsupported("which Accept rules out"),
        rest=posts_with(BAD, Accept="text/csv"),
        rest_protobuf=posts_with(BAD, Accept="text/csv"),
    ),
    Case(
        "wrong method",
        unsupported("it takes: POST", status=405),
        rest=lambda caller: caller.send("GET", rest_path(BAD), b""),
        rpc=calls_bytes(b"", "Decode"),
        rpc_outcome=unsupported("", by="grpc"),
    ),
    Case(
        "no time",
        LATE,
        rest=posts_with(BAD, X_Request_Timeout_Ms="0"),
        rest_protobuf=posts_with(BAD, X_Request_Timeout_Ms="0"),
        rpc=lambda caller: caller.encode(BAD, timeout_s=0.0),
        rpc_outcome=LATE_OR_LEFT,
    ),
    Case(
        "a microsecond",
        LATE,
        rest=posts_with(BAD, X_Request_Timeout_Ms="0.001"),
        rpc=lambda caller: caller.encode(BAD, timeout_s=1e-6),
        rpc_outcome=LATE_OR_LEFT,
    ),
    Case("time below none", LATE, rest=posts_with(BAD, X_Request_Timeout_Ms="-5.5")),
]

CASES: Final = [*MALFORMED, *INVALID, *WARNED, *REFUSED]
