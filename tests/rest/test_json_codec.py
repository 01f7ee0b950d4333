import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import (
    CsrCounts,
    DenseCounts,
    EncodeReply,
    EncodeRequest,
    Limits,
    ModelCard,
    Notice,
    Output,
    Samples,
)
from service.rest import json_codec
from service.rest.json_codec import card_fields, decode_request, encode_reply

ROWS = b'"gene_counts":[[1,2],[3,4]]'
CSR = {"indptr": [0, 1, 3], "indices": [1, 0, 1], "data": [5, 1, 2.5]}


def decode(body: dict[str, Any] | bytes, limits: Limits | None = None) -> EncodeRequest:
    return decode_request(body if isinstance(body, bytes) else json.dumps(body).encode(), limits or Limits())


def refusal(body: dict[str, Any] | bytes, limits: Limits | None = None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        decode(body, limits)
    return caught.value


ROWS_OF_ALL_KINDS = [[1, 2.5, 0], [3, 0, 2**64 - 1], [0, -0.0, -1]]


def test_rows_of_genes_become_csr() -> None:
    counts = decode({"gene_counts": ROWS_OF_ALL_KINDS}).gene_counts
    assert isinstance(counts, CsrCounts)
    assert (counts.indptr.dtype, counts.indices.dtype, counts.data.dtype) == (np.int64, np.int32, np.float64)
    assert [counts.indptr.tolist(), counts.indices.tolist()] == [[0, 2, 4, 5], [0, 1, 0, 2, 2]]
    assert counts.data.tolist() == [1, 2.5, 3, 2.0**64, -1]
    assert counts.n_columns == 3


def test_rows_of_proteins_become_one_buffer() -> None:
    counts = decode({"gene_counts": [[1]] * 3, "protein_counts": ROWS_OF_ALL_KINDS}).protein_counts
    assert isinstance(counts, DenseCounts)
    assert counts.values.dtype == np.float64
    np.testing.assert_array_equal(counts.values, [[1, 2.5, 0], [3, 0, 2.0**64], [0, 0, -1]])


def test_csr_keeps_its_structure() -> None:
    counts = decode({"gene_counts": CSR}).gene_counts
    assert isinstance(counts, CsrCounts)
    assert (counts.indptr.dtype, counts.indices.dtype, counts.data.dtype) == (np.int64, np.int64, np.float64)
    assert [counts.indptr.tolist(), counts.indices.tolist(), counts.data.tolist()] == list(CSR.values())
    assert counts.n_columns is None


@pytest.mark.parametrize(("rows", "shape"), [([], (0, 0)), ([[], []], (2, 0))])
def test_empty_matrices_keep_their_shape(rows: list[list[int]], shape: tuple[int, int]) -> None:
    request = decode({"gene_counts": rows, "protein_counts": rows})
    assert isinstance(request.gene_counts, CsrCounts) and isinstance(request.protein_counts, DenseCounts)
    assert (request.gene_counts.n_cells, request.gene_counts.n_columns) == shape
    assert request.protein_counts.values.shape == shape


def test_all_fields() -> None:
    request = decode(
        {
            "cells": ["c1", "c1"],
            "genes": ["CD3E", "[LYZ]"],
            "gene_counts": [[3, 0], [0, 7]],
            "proteins": ["CD3"],
            "protein_counts": CSR,
            "batch": "b1",
            "categorical_covariates": {"donor": ["d1", "d2"], "site": 3},
            "continuous_covariates": {"age": 0.3, "dose": [1, 2.5]},
            "outputs": ["z", "qz", "z"],
            "n_samples": 4,
            "seed": 2**64 - 1,
            "first_cell": 10,
            "min_gene_coverage": 1,
            "allow_non_integer": True,
        }
    )
    assert request.cells == ("c1", "c1")
    assert request.genes == ("CD3E", "[LYZ]")
    assert request.proteins == ("CD3",)
    assert isinstance(request.protein_counts, CsrCounts)
    assert request.batch is not None
    assert (request.batch.categories, request.batch.codes) == (("b1",), None)
    donor, site = request.categorical_covariates["donor"], request.categorical_covariates["site"]
    assert donor.codes is not None
    assert (donor.categories, donor.codes.tolist(), site.categories) == (("d1", "d2"), [0, 1], (3,))
    age, dose = request.continuous_covariates["age"], request.continuous_covariates["dose"]
    assert (age.shape, float(age), dose.tolist()) == ((), 0.3, [1.0, 2.5])
    assert request.outputs == {Output.Z, Output.QZ}
    assert (request.n_samples, request.seed, request.first_cell) == (4, 2**64 - 1, 10)
    assert (request.min_gene_coverage, request.allow_non_integer) == (1.0, True)


def test_absent_and_null_fields_are_the_defaults() -> None:
    least = EncodeRequest(gene_counts=decode({"gene_counts": [[1]]}).gene_counts)
    nulls = dict.fromkeys(
        (
            *("genes", "proteins", "cells", "protein_counts", "batch", "outputs", "seed"),
            *("categorical_covariates", "continuous_covariates"),
        )
    )
    for request in (decode({"gene_counts": [[1]]}), decode({"gene_counts": [[1]], **nulls})):
        for field in EncodeRequest.__dataclass_fields__.keys() - {"gene_counts"}:
            assert getattr(request, field) == getattr(least, field), field


def test_labels_keep_their_types() -> None:
    labels = decode(b'{"gene_counts":[[1]],"batch":[1,1.0,true,"1",1]}').batch
    assert labels is not None
    assert [(type(label), label) for label in labels.categories] == [(int, 1), (float, 1.0), (bool, True), (str, "1")]
    assert labels.codes is not None
    assert labels.codes.tolist() == [0, 1, 2, 3, 0]


def test_a_byte_order_mark_is_let_pass() -> None:
    assert decode(b"\xef\xbb\xbf{" + ROWS + b"}").n_cells == 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"nonsense",
        b"{" + ROWS,
        b"{" + ROWS + b"} {}",
        b"{" + ROWS + b"}\0",
        b"[1]",
        b"null",
        b'"text"',
        b'{"gene_counts":[[NaN]]}',
        b'{"gene_counts":[[Infinity]]}',
        b'{"gene_counts":[[1e999]]}',
        b'{"gene_counts":[[18446744073709551616]]}',
        b'{"gene_counts":[[' + b"7" * 5_000_000 + b"]]}",
        b'{"genes":["\xff"],' + ROWS + b"}",
        b'{"genes":["\\ud800"],' + ROWS + b"}",
        b"[" * 2000 + b"]" * 2000,
        b'{"gene_counts":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_a_json_object_is_malformed(body: bytes) -> None:
    error = refusal(body)
    assert error.kind is ErrorKind.MALFORMED
    assert len(error.detail) < 200


def test_a_long_fraction_is_a_number() -> None:
    body = b'{"gene_counts":[[1.' + b"5" * 5_000_000 + b"]]}"
    counts = decode(body).gene_counts
    assert isinstance(counts, CsrCounts)
    assert counts.data.tolist() == [1.5555555555555556]


# (gene_counts, kind, field, index)
BAD_COUNTS: list[tuple[str, ErrorKind, str, int | None]] = [
    ("[[1,2],[3]]", ErrorKind.INVALID, "gene_counts", 1),
    ("[[1],[2],[3,4]]", ErrorKind.INVALID, "gene_counts", 2),
    ("[[],[1]]", ErrorKind.INVALID, "gene_counts", 1),
    ("[[1],2]", ErrorKind.MALFORMED, "gene_counts", 1),
    ("[5,[1]]", ErrorKind.MALFORMED, "gene_counts", 0),
    ("[1,2]", ErrorKind.MALFORMED, "gene_counts", 0),
    ("[[1],{}]", ErrorKind.MALFORMED, "gene_counts", 1),
    ('[[1,2],[3,"4"]]', ErrorKind.MALFORMED, "gene_counts", 1),
    ("[[1,2],[3,4],[null,5]]", ErrorKind.MALFORMED, "gene_counts", 2),
    ("[[true]]", ErrorKind.MALFORMED, "gene_counts", 0),
    ("[[{}]]", ErrorKind.MALFORMED, "gene_counts", 0),
    ("[[1,[2]],[3,4]]", ErrorKind.MALFORMED, "gene_counts", 0),
    ("[[1,2],[3,[4]]]", ErrorKind.MALFORMED, "gene_counts", 1),
    ("[[[1],[2]]]", ErrorKind.MALFORMED, "gene_counts", 0),
    ("[" * 120 + "1" + "]" * 120, ErrorKind.MALFORMED, "gene_counts", 0),
    ("[" * 120 + "]" * 120, ErrorKind.MALFORMED, "gene_counts", 0),
    ('"text"', ErrorKind.MALFORMED, "gene_counts", None),
    ("7", ErrorKind.MALFORMED, "gene_counts", None),
    ("true", ErrorKind.MALFORMED, "gene_counts", None),
    ("null", ErrorKind.INVALID, "gene_counts", None),
    ('{"indptr":[0],"indices":[]}', ErrorKind.MALFORMED, "gene_counts.data", None),
    ('{"indptr":[0],"indices":[],"data":null}', ErrorKind.MALFORMED, "gene_counts.data", None),
    ('{"indptr":[0],"indices":[],"data":[],"n_columns":3}', ErrorKind.MALFORMED, "gene_counts.n_columns", None),
    ('{"indptr":[0],"indptr":[0],"indices":[],"data":[]}', ErrorKind.MALFORMED, "gene_counts.indptr", None),
    ('{"indptr":[0,1.0],"indices":[0],"data":[1]}', ErrorKind.MALFORMED, "gene_counts.indptr", 1),
    ('{"indptr":[0,1],"indices":["0"],"data":[1]}', ErrorKind.MALFORMED, "gene_counts.indices", 0),
    ('{"indptr":[0,1],"indices":[9223372036854775808],"data":[1]}', ErrorKind.MALFORMED, "gene_counts.indices", 0),
    ('{"indptr":[0,1],"indices":[true],"data":[1]}', ErrorKind.MALFORMED, "gene_counts.indices", 0),
    ('{"indptr":[0,1],"indices":[0],"data":[1,null]}', ErrorKind.MALFORMED, "gene_counts.data", 1),
    ('{"indptr":[0,1],"indices":[0],"data":[[1]]}', ErrorKind.MALFORMED, "gene_counts.data", 0),
    ('{"indptr":[[0,1]],"indices":[0],"data":[1]}', ErrorKind.MALFORMED, "gene_counts.indptr", 0),
]


@pytest.mark.parametrize("names", ["", '"genes":["a[","b"],'], ids=["plain", "bracket"])
@pytest.mark.parametrize(("counts", "kind", "field", "index"), BAD_COUNTS, ids=lambda value: str(value)[:40])
def test_bad_counts(names: str, counts: str, kind: ErrorKind, field: str, index: int | None) -> None:
    error = refusal(f'{{{names}"gene_counts":{counts}}}'.encode())
    assert (error.kind, error.field, error.index) == (kind, field, index)
    assert len(error.detail) < 200


# (members beside gene_counts, kind, field, index)
BAD_FIELDS: list[tuple[str, ErrorKind, str, int | None]] = [
    ('"genes":"a"', ErrorKind.MALFORMED, "genes", None),
    ('"genes":["a",1]', ErrorKind.MALFORMED, "genes", 1),
    ('"genes":["a",null]', ErrorKind.MALFORMED, "genes", 1),
    ('"genes":[["a"]]', ErrorKind.MALFORMED, "genes", 0),
    ('"genes":{"a":1}', ErrorKind.MALFORMED, "genes", None),
    ('"genes":{"a":1,"a":2}', ErrorKind.MALFORMED, "genes.a", None),
    ('"cells":[1]', ErrorKind.MALFORMED, "cells", 0),
    ('"outputs":["z","qx"]', ErrorKind.INVALID, "outputs", 1),
    ('"outputs":"z"', ErrorKind.MALFORMED, "outputs", None),
    ('"n_samples":-1', ErrorKind.INVALID, "n_samples", None),
    ('"n_samples":1.0', ErrorKind.MALFORMED, "n_samples", None),
    ('"n_samples":"1"', ErrorKind.MALFORMED, "n_samples", None),
    ('"n_samples":true', ErrorKind.MALFORMED, "n_samples", None),
    ('"n_samples":null', ErrorKind.MALFORMED, "n_samples", None),
    ('"seed":-1', ErrorKind.INVALID, "seed", None),
    ('"first_cell":-1', ErrorKind.INVALID, "first_cell", None),
    ('"first_cell":9223372036854775808', ErrorKind.INVALID, "first_cell", None),
    ('"min_gene_coverage":1.5', ErrorKind.INVALID, "min_gene_coverage", None),
    ('"min_gene_coverage":"0.5"', ErrorKind.MALFORMED, "min_gene_coverage", None),
    ('"allow_non_integer":1', ErrorKind.MALFORMED, "allow_non_integer", None),
    ('"batch":{}', ErrorKind.MALFORMED, "batch", None),
    ('"batch":["a",null]', ErrorKind.MALFORMED, "batch", 1),
    ('"batch":["a",["b"]]', ErrorKind.MALFORMED, "batch", 1),
    ('"categorical_covariates":["a"]', ErrorKind.MALFORMED, "categorical_covariates", None),
    ('"categorical_covariates":[]', ErrorKind.MALFORMED, "categorical_covariates", None),
    ('"categorical_covariates":false', ErrorKind.MALFORMED, "categorical_covariates", None),
    ('"categorical_covariates":{"d":null}', ErrorKind.MALFORMED, "categorical_covariates.d", None),
    ('"categorical_covariates":{"d":["x",{}]}', ErrorKind.MALFORMED, "categorical_covariates.d", 1),
    ('"categorical_covariates":{"d":1,"d":2}', ErrorKind.MALFORMED, "categorical_covariates.d", None),
    ('"categorical_covariates":{"d\\u0000e":1}', ErrorKind.MALFORMED, "categorical_covariates", None),
    ('"continuous_covariates":{"age":true}', ErrorKind.MALFORMED, "continuous_covariates.age", None),
    ('"continuous_covariates":{"age":"3"}', ErrorKind.MALFORMED, "continuous_covariates.age", None),
    ('"continuous_covariates":{"age":[1,true]}', ErrorKind.MALFORMED, "continuous_covariates.age", 1),
    ('"continuous_covariates":{"age":[1,[2]]}', ErrorKind.MALFORMED, "continuous_covariates.age", 1),
    ('"gene_counts":[[1]]', ErrorKind.MALFORMED, "gene_counts", None),
    ('"protein_counts":[[1],[2,3]]', ErrorKind.INVALID, "protein_counts", 1),
    ('"protein_counts":[[1],[null]]', ErrorKind.MALFORMED, "protein_counts", 1),
    ('"n_sample":1', ErrorKind.MALFORMED, "n_sample", None),
    ('"":1', ErrorKind.MALFORMED, "", None),
]


@pytest.mark.parametrize(("members", "kind", "field", "index"), BAD_FIELDS, ids=lambda value: str(value)[:40])
def test_bad_fields(members: str, kind: ErrorKind, field: str, index: int | None) -> None:
    error = refusal(b"{" + ROWS + b"," + members.encode() + b"}")
    assert (error.kind, error.field, error.index) == (kind, field, index)
    assert len(error.detail) < 200


def test_an_unknown_field_is_told_the_nearest_known_one() -> None:
    assert refusal({"gene_count": [[1]]}).detail == "gene_count is not a known field; the nearest one is gene_counts"
    assert "nearest one is indices" in refusal({"gene_counts": {"indexes": []}}).detail


def test_gene_counts_are_needed() -> None:
    error = refusal({"protein_counts": [[1]]})
    assert (error.kind, error.field) == (ErrorKind.INVALID, "gene_counts")


def test_long_names_are_cut_in_messages() -> None:
    for body in ({"n" * 5_000_000: 1}, {"gene_counts": [[1]], "continuous_covariates": {"n" * 5_000_000: None}}):
        error = refusal(body)
        assert error.kind is ErrorKind.MALFORMED
        assert len(error.detail) + len(error.field or "") < 400


@pytest.mark.parametrize("key", ["a\r\nb", "a\x1b[2J", "a\u2028b", "a\u202eb"])
def test_keys_are_shown_on_one_line_and_escaped(key: str) -> None:
    for path in ("categorical_covariates", "continuous_covariates"):
        error = refusal({"gene_counts": [[1]], path: {key: None}})
        assert error.field == f"{path}.{key!r}"
        assert error.detail.startswith(f"{path}.{key!r} must ")
    assert refusal({key: 1}).field == repr(key)
    assert all(text.isprintable() for text in (error.detail, refusal({key: 1}).detail))


@pytest.mark.parametrize("key", ["donör", "don'or", "a b", "a.b", "a\\b", "供体", ""])
def test_keys_that_can_be_read_stay_as_they_are(key: str) -> None:
    assert (
        refusal({"gene_counts": [[1]], "categorical_covariates": {key: None}}).field == f"categorical_covariates.{key}"
    )


def test_messages_hold_no_counts() -> None:
    for counts in ([[987654, 1], [987654]], [[987654, None]], [987654], 987654, {"indptr": [0, 987654.5]}):
        assert "987654" not in refusal({"gene_counts": counts}).detail
    assert "987654" not in refusal({"gene_counts": [[1]], "n_samples": -987654}).detail


@pytest.mark.parametrize(
    "body",
    [
        {"gene_counts": [[1]] * 4},
        {"gene_counts": [[1] * 5]},
        {"gene_counts": [[1]], "genes": ["g"] * 5},
        {"gene_counts": [[1]], "cells": ["c"] * 4},
        {"gene_counts": [[1]], "batch": ["b"] * 4},
        {"gene_counts": [[1]], "outputs": ["z"] * 4},
        {"gene_counts": [[1]], "categorical_covariates": {f"c{i}": 1 for i in range(1001)}},
    ],
    ids=",".join,
)
def test_lists_over_a_limit_are_too_large(body: dict[str, Any]) -> None:
    assert refusal(body, Limits(max_request_cells=3, max_columns=4)).kind is ErrorKind.TOO_LARGE


def test_a_list_that_simdjson_cannot_count_is_too_large() -> None:
    body = b'{"gene_counts":[[1]],"genes":[' + b"0," * (1 << 24) + b"0]}"
    assert refusal(body).kind is ErrorKind.TOO_LARGE


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(list(EncodeRequest.__dataclass_fields__)), JSON_VALUES), JSON_VALUES)
def test_any_json_is_decoded_or_refused(fields: dict[str, Any], counts: Any) -> None:
    try:
        request = decode(fields | {"gene_counts": counts})
    except ServiceError as error:
        assert error.kind in (ErrorKind.MALFORMED, ErrorKind.INVALID)
    else:
        assert request.n_cells >= 0


def reply(**outputs: Any) -> EncodeReply:
    return EncodeReply(model="pbmc", model_version="1", n_cells=2, **outputs)


def test_a_full_reply_has_the_published_shape() -> None:
    matrix = np.array([[0.1, 2.0], [3.0, 4.0]], np.float32)
    vector = np.array([0.5, 1.5], np.float32)
    body = encode_reply(
        reply(
            cells=("a", "b"),
            qz_mean=matrix,
            qz_variance=matrix.T,  # not contiguous
            ql_mean=vector,
            ql_variance=vector,
            z=matrix,
            library_observed=vector,
            library_latent=vector,
            samples=Samples(2**64 - 1, matrix[None], vector[None], matrix[None], vector[None]),
            warnings=(Notice("missing_genes", "12 genes are missing", 12, ("CD8A",)),),
        )
    )
    rows, values = [[0.1, 2.0], [3.0, 4.0]], [0.5, 1.5]
    expected = {
        "model": "pbmc",
        "model_version": "1",
        "n_cells": 2,
        "cells": ["a", "b"],
        "qz": {"mean": rows, "variance": [[0.1, 3.0], [2.0, 4.0]]},
        "ql": {"mean": values, "variance": values},
        "z": rows,
        "library": {"observed": values, "latent": values},
        "samples": {
            "seed": 2**64 - 1,
            "latent": {"z": [rows], "l": [values]},
            "untran_latent": {"z": [rows], "l": [values]},
        },
        "warnings": [{"code": "missing_genes", "detail": "12 genes are missing", "count": 12, "examples": ["CD8A"]}],
    }
    assert json.loads(body) == expected
    assert list(json.loads(body)) == list(expected)


def test_what_was_not_asked_for_is_absent() -> None:
    assert json.loads(encode_reply(reply())) == {"model": "pbmc", "model_version": "1", "n_cells": 2, "warnings": []}
    library = json.loads(encode_reply(reply(library_observed=np.ones(2, np.float32))))["library"]
    assert library == {"observed": [1.0, 1.0]}


def test_no_cells_are_empty_lists() -> None:
    empty = np.zeros((0, 2), np.float32)
    body = json.loads(encode_reply(EncodeReply("pbmc", "1", 0, qz_mean=empty, qz_variance=empty)))
    assert body["qz"] == {"mean": [], "variance": []}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_float32_values_survive_the_text(values: list[float]) -> None:
    array = np.array(values, np.float32)
    body = orjson.loads(encode_reply(reply(ql_mean=array, ql_variance=array)))
    assert np.array(body["ql"]["mean"], np.float32).tobytes() == array.tobytes()


@pytest.mark.parametrize("piece_values", [1, 4, 7, 30, 1000])
def test_long_arrays_are_written_in_pieces(piece_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    vector, cube = np.arange(5, dtype=np.float32) / 7, np.arange(90, dtype=np.float32).reshape(3, 5, 6) / 7
    turned = np.asfortranarray(cube)
    answer = reply(z=cube[0], ql_mean=vector, ql_variance=vector, samples=Samples(1, cube, cube[0], turned, turned[0]))
    whole = encode_reply(answer)
    monkeypatch.setattr(json_codec, "PIECE_VALUES", piece_values)
    assert encode_reply(answer) == whole


def test_card_fields() -> None:
    card = ModelCard("pbmc", "2", ("1", "2"), "failed", "ab", {"n_latent": 20, "name": "other"}, reason="corrupt")
    fields = card_fields(card)
    assert list(fields) == ["name", "version", "versions", "state", "sha256", "reason", "n_latent"]
    assert (fields["name"], fields["n_latent"], fields["reason"]) == ("pbmc", 20, "corrupt")
