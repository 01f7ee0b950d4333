from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import (
    NO_CELLS,
    CsrCounts,
    DenseCounts,
    EncodeReply,
    EncodeRequest,
    Limits,
    ModelCard,
    Notice,
    Output,
)
from service.core.messages import Samples as CoreSamples
from service.core.validation import check_options
from service.protobuf.message_codec import decode_request, decode_slice, encode_card, encode_reply, parse
from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.tensor_codec import DTYPES, decode_tensor

DTYPE_OF = {dtype: number for number, dtype in DTYPES.items()}
REPLY_ARRAYS = {
    "qz_mean": (2, 3),
    "qz_variance": (2, 3),
    "ql_mean": (2,),
    "ql_variance": (2,),
    "z": (2, 3),
    "library_observed": (2,),
    "library_latent": (2,),
}


def tensor(values: Any, dtype: str = "<f4") -> pb.Tensor:
    array = np.asarray(values, dtype=dtype)
    return pb.Tensor(dtype=DTYPE_OF[array.dtype], shape=array.shape, data=array.tobytes())


def request(**fields: Any) -> pb.EncodeRequest:
    return pb.EncodeRequest(**{"gene_counts": pb.Counts(dense=tensor([[1, 0]])), **fields})


def decode(**fields: Any) -> EncodeRequest:
    return decode_request(request(**fields), Limits())


def refusal(**fields: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        decode(**fields)
    return caught.value


def label(text: str) -> pb.Labels:
    return pb.Labels(categories=[pb.Label(string_value=text)])


def float32(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


def test_a_bare_request_takes_the_defaults_of_the_core():
    decoded = decode()

    defaults = EncodeRequest(gene_counts=decoded.gene_counts)
    for field in dataclasses.fields(EncodeRequest):
        assert getattr(decoded, field.name) == getattr(defaults, field.name)
    assert isinstance(decoded.gene_counts, DenseCounts)
    np.testing.assert_array_equal(decoded.gene_counts.values, [[1, 0]])


def test_every_field_arrives():
    counts = pb.CsrCounts(
        indptr=tensor([0, 1, 3], "<i8"), indices=tensor([4, 0, 1], "<u2"), data=tensor([7, 8, 9], "u1"), n_columns=5
    )
    age = pb.EncodeRequest.ContinuousCovariatesEntry(key="age", value=tensor(0.3, "<f8")).value
    decoded = decode(
        gene_counts=pb.Counts(csr=counts),
        protein_counts=pb.Counts(dense=tensor([[1], [2]], "<i4")),
        cells=["a", "a"],
        genes=["g1", "g0"],
        proteins=["p0"],
        batch=pb.Labels(categories=[pb.Label(string_value="")], codes=tensor([0, 0], "u1")),
        categorical_covariates={"donor": pb.Labels(categories=[pb.Label(int_value=-1)])},
        continuous_covariates={"age": age, "dose": tensor([1, 2])},
        outputs=[pb.OUTPUT_SAMPLES, pb.OUTPUT_QZ, pb.OUTPUT_QZ],
        n_samples=2**32 - 1,
        seed=0,
        first_cell=2**64 - 1,
        min_gene_coverage=0.0,
        allow_non_integer=True,
    )

    assert isinstance(decoded.gene_counts, CsrCounts)
    assert decoded.gene_counts.indptr.tolist() == [0, 1, 3]
    assert decoded.gene_counts.indices.tolist() == [4, 0, 1]
    assert decoded.gene_counts.data.tolist() == [7, 8, 9]
    assert decoded.gene_counts.n_columns == 5
    assert isinstance(decoded.protein_counts, DenseCounts)
    assert decoded.protein_counts.values.tolist() == [[1], [2]]
    assert (decoded.cells, decoded.genes, decoded.proteins) == (("a", "a"), ("g1", "g0"), ("p0",))
    assert decoded.batch is not None
    assert decoded.batch.codes is not None
    assert (decoded.batch.categories, decoded.batch.codes.tolist()) == (("",), [0, 0])
    assert decoded.categorical_covariates["donor"].categories == (-1,)
    assert decoded.categorical_covariates["donor"].codes is None
    assert decoded.continuous_covariates["age"].shape == ()
    assert decoded.continuous_covariates["age"] == 0.3
    assert decoded.continuous_covariates["dose"].tolist() == [1, 2]
    assert decoded.outputs == {Output.SAMPLES, Output.QZ}
    assert (decoded.n_samples, decoded.seed, decoded.first_cell) == (2**32 - 1, 0, 2**64 - 1)
    assert (decoded.min_gene_coverage, decoded.allow_non_integer) == (0.0, True)


def test_labels_keep_their_types():
    labels = [pb.Label(string_value="1"), pb.Label(int_value=1), pb.Label(double_value=1), pb.Label(bool_value=True)]

    decoded = decode(batch=pb.Labels(categories=labels, codes=tensor([3], "<u4"))).batch

    assert decoded is not None
    assert [(type(label), label) for label in decoded.categories] == [(str, "1"), (int, 1), (float, 1.0), (bool, True)]


def test_every_output_of_the_core_can_be_asked_for():
    decoded = decode(outputs=[number for number in pb.Output.values() if number])

    assert decoded.outputs == set(Output)


one = pb.Label(int_value=1)
csr = pb.CsrCounts(indptr=tensor([0, 1], "<i4"), indices=tensor([0], "<i4"), data=tensor([1]))


def csr_with(**parts: pb.Tensor) -> pb.Counts:
    changed = pb.Counts(csr=csr)
    for name, part in parts.items():
        getattr(changed.csr, name).CopyFrom(part)
    return changed


@pytest.mark.parametrize(
    ("fields", "field", "index"),
    [
        pytest.param({"gene_counts": pb.Counts()}, "gene_counts", None, id="counts of no form"),
        pytest.param({"protein_counts": pb.Counts()}, "protein_counts", None, id="proteins of no form"),
        pytest.param({"gene_counts": pb.Counts(dense=pb.Tensor())}, "gene_counts", None, id="empty tensor"),
        pytest.param({"gene_counts": pb.Counts(dense=tensor([1]))}, "gene_counts", None, id="dense of rank 1"),
        pytest.param({"gene_counts": csr_with(indptr=pb.Tensor())}, "gene_counts.indptr", None, id="no indptr"),
        pytest.param({"gene_counts": csr_with(indptr=tensor([0, 1]))}, "gene_counts.indptr", None, id="float indptr"),
        pytest.param(
            {"gene_counts": csr_with(indices=tensor([0], "u1"))}, "gene_counts.indices", None, id="indices of bytes"
        ),
        pytest.param(
            {"protein_counts": csr_with(data=tensor([[1]]))}, "protein_counts.data", None, id="csr data of rank 2"
        ),
        pytest.param({"batch": pb.Labels(categories=[one, pb.Label()])}, "batch.categories", 1, id="label of no type"),
        pytest.param({"batch": pb.Labels(categories=[one], codes=tensor([0]))}, "batch.codes", None, id="float codes"),
        pytest.param(
            {"categorical_covariates": {"donor": pb.Labels(codes=tensor([[0]], "u1"))}},
            "categorical_covariates.donor.codes",
            None,
            id="codes of rank 2",
        ),
        pytest.param(
            {"continuous_covariates": {"age": tensor([1], "<i4")}}, "continuous_covariates.age", None, id="integer age"
        ),
        pytest.param(
            {"continuous_covariates": {"age": tensor([[1]])}}, "continuous_covariates.age", None, id="age of rank 2"
        ),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(fields, field, index):
    error = refusal(**fields)

    assert error.kind is ErrorKind.MALFORMED
    assert (error.field, error.index) == (field, index)


@pytest.mark.parametrize("output", [pb.OUTPUT_UNSPECIFIED, 99])
def test_an_unknown_output_is_invalid_as_on_rest(output):
    error = refusal(outputs=[pb.OUTPUT_Z, output])

    assert error.kind is ErrorKind.INVALID
    assert (error.field, error.index) == ("outputs", 1)


@pytest.mark.parametrize("key", ["a\r\nb", "a\0b", "a\x1b[2J", "a\u202eb", "n" * 10_000])
def test_keys_are_shown_on_one_line_short_and_escaped(key):
    for fields in (
        {"categorical_covariates": {key: pb.Labels(categories=[pb.Label()])}},
        {"categorical_covariates": {key: pb.Labels(codes=tensor([0]))}},
        {"continuous_covariates": {key: tensor([[1]])}},
    ):
        error = refusal(**fields)
        (path,) = fields
        assert error.kind is ErrorKind.MALFORMED
        assert error.field is not None
        assert error.field.startswith(f"{path}.{repr(key)[:57]}")
        assert error.detail.startswith(error.field)
        assert error.detail.isprintable()
        assert len(error.detail) < 200


@pytest.mark.parametrize("key", ["donör", "don'or", "a b", "a.b", "供体", ""])
def test_keys_that_can_be_read_stay_as_they_are(key):
    error = refusal(continuous_covariates={key: tensor([[1]])})

    assert error.field == f"continuous_covariates.{key}"


def test_no_counts_are_invalid():
    error = refusal(gene_counts=None)

    assert (error.kind, error.field) == (ErrorKind.INVALID, "gene_counts")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cells": [""] * 5}, "cells"),
        ({"genes": [""] * 5}, "genes"),
        ({"proteins": [""] * 5}, "proteins"),
        ({"outputs": [pb.OUTPUT_Z] * 5}, "outputs"),
        ({"batch": pb.Labels(categories=[one] * 5)}, "batch"),
        ({"categorical_covariates": {"a": pb.Labels(categories=[one] * 4)}}, "categorical_covariates"),
        ({"continuous_covariates": {str(i): tensor(0) for i in range(5)}}, "continuous_covariates"),
    ],
)
def test_a_list_too_long_to_walk_is_too_large(fields, field):
    limits = Limits(max_columns=4, max_request_cells=3)

    with pytest.raises(ServiceError, match="max_columns") as caught:
        decode_request(request(**fields), limits)

    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"\x00", b"\x22\x05abc", b"\x22\x01\xff", b'{"genes": []}', b"\x1b" * 200])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_what_is_no_message_is_malformed(kind, body):
    with pytest.raises(ServiceError, match=r"totalvi\.v1\.EncodeRequest") as caught:
        parse(pb.EncodeRequest, kind(body))

    assert caught.value.kind is ErrorKind.MALFORMED


@given(st.data())
def test_damaged_bytes_are_decoded_or_refused(data):
    body = bytearray(
        request(
            genes=["g"],
            batch=pb.Labels(categories=[one], codes=tensor([0], "<i4")),
            continuous_covariates={"a": tensor([1])},
        ).SerializeToString()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    try:
        decode_request(parse(pb.EncodeRequest, bytes(body)), Limits())
    except ServiceError as error:
        assert error.kind in (ErrorKind.MALFORMED, ErrorKind.TOO_LARGE, ErrorKind.INVALID)


def test_an_answer_leaves_bit_for_bit():
    arrays = {name: float32(*shape) for name, shape in REPLY_ARRAYS.items()}
    samples = CoreSamples(2**64 - 1, float32(4, 2, 3), float32(4, 2), float32(4, 2, 3) * 2, float32(4, 2) * 2)
    notice = Notice("missing_genes", "2 genes are missing", 2, ("A", "B"))
    reply = EncodeReply("pbmc", "3", 2, cells=("a", "a"), samples=samples, warnings=(notice,), **arrays)

    response = pb.EncodeResponse.FromString(encode_reply(reply).SerializeToString())

    assert (response.model, response.model_version, response.n_cells) == ("pbmc", "3", 2)
    assert list(response.cells) == ["a", "a"]
    assert response.samples.seed == 2**64 - 1
    assert list(response.warnings) == [
        pb.Warning(code="missing_genes", detail="2 genes are missing", count=2, examples=["A", "B"])
    ]
    sent = {
        "qz_mean": response.qz.mean,
        "qz_variance": response.qz.variance,
        "ql_mean": response.ql.mean,
        "ql_variance": response.ql.variance,
        "z": response.z,
        "library_observed": response.library.observed,
        "library_latent": response.library.latent,
        "latent_z": response.samples.latent.z,
        "latent_l": response.samples.latent.l,
        "untran_latent_z": response.samples.untran_latent.z,
        "untran_latent_l": response.samples.untran_latent.l,
    }
    for name, message in sent.items():
        expected = arrays[name] if name in arrays else getattr(samples, name)
        values = decode_tensor(message, field=name, dtypes=[pb.Tensor.F32], ranks=(1, 2, 3))
        assert values.shape == expected.shape
        assert values.tobytes() == expected.tobytes()


def test_what_was_not_computed_is_not_set():
    response = encode_reply(EncodeReply("pbmc", "1", 2, library_latent=float32(2)))

    assert {field.name for field, _ in response.ListFields()} == {"model", "model_version", "n_cells", "library"}
    assert not response.library.HasField("observed")


def test_the_answer_for_no_cells_still_has_its_shape():
    response = encode_reply(EncodeReply("pbmc", "1", 0, z=float32(0, 3)))

    assert list(response.z.shape) == [0, 3]


def test_a_card_types_what_a_request_must_match_and_keeps_the_rest():
    manifest = {
        "genes": ("g0", "g1"),
        "proteins": ["p0"],
        "batch": {"key": "batch", "categories": ("1", 1, 1.5, True)},
        "categorical_covariates": [{"key": "donor", "categories": ["d1"]}],
        "continuous_covariates": ["age"],
        "n_latent": 20,
        "scvi_version": None,
        "deviation_from_eager": {"qz_mean": 1e-7},
    }
    card = ModelCard("pbmc", "2", ("1", "2"), "ready", "ab", manifest)

    message = encode_card(card)

    assert (message.name, message.version, list(message.versions)) == ("pbmc", "2", ["1", "2"])
    assert (message.state, message.sha256, message.HasField("reason")) == ("ready", "ab", False)
    assert (list(message.genes), list(message.proteins)) == (["g0", "g1"], ["p0"])
    assert message.batch.key == "batch"
    forms = [label.WhichOneof("value") for label in message.batch.categories]
    assert forms == ["string_value", "int_value", "double_value", "bool_value"]
    assert message.categorical_covariates[0].categories[0].string_value == "d1"
    assert list(message.continuous_covariates) == ["age"]
    assert dict(message.manifest) == {
        "n_latent": 20,
        "scvi_version": None,
        "deviation_from_eager": {"qz_mean": 1e-7},
    }
    assert "genes" in manifest


def test_the_first_message_of_a_stream_may_bring_no_cells():
    first = decode_request(pb.EncodeRequest(genes=["g0"], batch=label("b0"), seed=7), Limits(), cells_follow=True)

    assert first.gene_counts is NO_CELLS
    assert (first.n_cells, first.genes, first.batch.categories, first.seed) == (0, ("g0",), ("b0",), 7)
    assert decode_request(request(), Limits(), cells_follow=True).n_cells == 1


@pytest.mark.parametrize("fields", [{"cells": ["x"]}, {"protein_counts": pb.Counts(dense=tensor([[1]]))}])
def test_cells_of_a_stream_without_their_genes(fields):
    with pytest.raises(ServiceError, match="gene_counts is missing") as caught:
        decode_request(pb.EncodeRequest(**fields), Limits(), cells_follow=True)

    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID, "gene_counts")


def test_a_slice_of_a_stream_is_read_as_a_request():
    message = request(cells=["x"], batch=label("b0"), protein_counts=pb.Counts(dense=tensor([[1]])))

    decoded = decode_slice(message, Limits())

    assert (decoded.cells, decoded.batch.categories, decoded.genes) == (("x",), ("b0",), None)
    assert decoded.protein_counts.values.tolist() == [[1]]
    with pytest.raises(ServiceError, match="gene_counts is missing"):
        decode_slice(pb.EncodeRequest(), Limits())


def test_a_slice_of_a_stream_with_options():
    with pytest.raises(ServiceError, match="seed is for the first message of a stream alone") as caught:
        decode_slice(request(seed=0), Limits())

    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID, "seed")


def test_the_card_of_a_failed_model_says_why():
    message = encode_card(ModelCard("pbmc", "2", ("2",), "failed", "", {}, reason="digest differs"))

    assert (message.state, message.reason) == ("failed", "digest differs")
    assert not message.HasField("batch")


def test_the_first_cell_ends_where_the_contract_says():
    check_options(decode(first_cell=2**63 - 1))
    for beyond in (2**63, 2**64 - 1):
        with pytest.raises(ServiceError) as refused:
            check_options(decode(first_cell=beyond))
        assert (refused.value.kind, refused.value.field) == (ErrorKind.INVALID, "first_cell")
