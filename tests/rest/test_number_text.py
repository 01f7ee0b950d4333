"""Lists of numbers are read in pieces, and nobody can tell."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import CsrCounts, EncodeRequest, Limits
from service.rest import number_text
from service.rest.json_codec import decode_request

ONE_PIECE = number_text.PIECE_BYTES
PIECES = (1, 7, 64)

numbers = st.one_of(
    st.sampled_from([0, 0, 0, 1, 12, 2.5, -0.0, 1e-7, 3e22]), st.integers(-(2**63), 2**63), st.floats(0, 1e300)
)
matrices = st.integers(0, 6).flatmap(
    lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), max_size=30)
)
spaces = st.sampled_from(["", " ", "\n\t ", "\r"])


def decode(body: str, piece_bytes: int, limits: Limits | None = None) -> EncodeRequest:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(number_text, "PIECE_BYTES", piece_bytes)
        # Plain numbers are read without a parser however few they are, in pieces at least.
        patch.setattr(number_text, "FEWEST_BYTES", 0)
        return decode_request(body.encode(), limits or Limits())


def as_rows(request: EncodeRequest) -> list[list[float]]:
    counts = request.gene_counts
    assert isinstance(counts, CsrCounts)
    dense = np.zeros((counts.n_cells, counts.n_columns or 0))
    dense[np.repeat(np.arange(counts.n_cells), np.diff(counts.indptr)), counts.indices] = counts.data
    return dense.tolist()


@settings(deadline=None)
@given(matrices, spaces, spaces)
def test_rows_are_the_same_in_pieces_of_any_size(matrix: list[list[Any]], before: str, after: str) -> None:
    rows = (f"{after},{before}").join(f"[{','.join(map(json.dumps, row))}]" for row in matrix)
    body = f'{{"gene_counts":{before}[{before}{rows}{after}]{after},"protein_counts":[{rows}]}}'
    for piece_bytes in (*PIECES, ONE_PIECE):
        request = decode(body, piece_bytes)
        assert as_rows(request) == [[float(value) for value in row] for row in matrix]
        assert request.protein_counts is not None
        assert request.protein_counts.values.tolist() == as_rows(request)


@settings(deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40), spaces)
def test_vectors_are_the_same_in_pieces_of_any_size(values: list[int], space: str) -> None:
    text = f"{space},{space}".join(map(str, values))
    body = f'{{"gene_counts":{{"data":[{text}],"indptr":[{text}]{space},{space}"indices":[{space}{text}{space}]}}}}'
    for piece_bytes in (*PIECES, ONE_PIECE):
        counts = decode(body, piece_bytes).gene_counts
        assert isinstance(counts, CsrCounts)
        assert counts.indptr.tolist() == counts.indices.tolist() == values
        assert counts.data.tolist() == [float(value) for value in values]


VALID = '{"genes":["a","b","c"],"gene_counts":[[1,0,25],[0,3.5,0],[7,0,1e2]],"protein_counts":[[1],[2],[3]],"seed":5}'
SPARSE = '{"gene_counts":{"indptr":[0,2,2,3],"indices":[0,2,1],"data":[1,25,3.5]},"batch":["[","]","\\""],"seed":5}'


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_a_damaged_body_is_refused_in_pieces_exactly_if_it_is_as_a_whole(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from([VALID, SPARSE]))
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.integers(0, len(body) - 1))
        new = data.draw(st.sampled_from(["", *'[]{},:"01.-e \\', '"gene_counts":[', "],[", "null", "true", "[]"]))
        body = body[:place] + new + body[place + data.draw(st.integers(0, 2)) :]
    outcomes = []
    for piece_bytes in (1, 12, ONE_PIECE):
        try:
            outcomes.append(_told(decode(body, piece_bytes)))
        except ServiceError as error:
            assert error.kind in (ErrorKind.MALFORMED, ErrorKind.INVALID)
            outcomes.append(None)
    assert outcomes == [outcomes[0]] * 3
    if outcomes[0] is not None:
        json.loads(body)  # nothing is taken that is not JSON


def _told(request: EncodeRequest) -> list[Any]:
    counts = request.gene_counts
    assert isinstance(counts, CsrCounts)
    proteins = None if request.protein_counts is None else vars_of(request.protein_counts)
    return [
        counts.indptr.tolist(),
        counts.indices.tolist(),
        counts.data.tolist(),
        proteins,
        request.genes,
        request.seed,
    ]


def vars_of(counts: Any) -> Any:
    return [counts.indptr.tolist(), counts.data.tolist()] if isinstance(counts, CsrCounts) else counts.values.tolist()


@pytest.mark.parametrize(
    "body",
    [
        r'{"gene\u005fcounts":[[1,2]]}',
        '{"categorical_covariates":{"gene_counts":["x"]},"gene_counts":[[1,2]]}',
        '{"continuous_covariates":{"gene_counts":[9],"data":[8]},"gene_counts":[[1,2]]}',
        r'{"cells":["\"gene_counts\":[[7,7]]"],"gene_counts":[[1,2]]}',
        r'{"cells":["a\\"],"gene_counts":[[1,2]]}',
        '{"batch":"gene_counts","gene_counts" \n:\t [ [1,2] ] }',
        '{"gene_counts":{"indices":[0,1],"data":[1,2],"indptr":[0,2]}}',
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, ONE_PIECE])
def test_the_counts_are_found_wherever_they_stand(body: str, piece_bytes: int) -> None:
    counts = decode(body, piece_bytes).gene_counts
    assert isinstance(counts, CsrCounts)
    assert [counts.indptr.tolist(), counts.indices.tolist(), counts.data.tolist()] == [[0, 2], [0, 1], [1, 2]]


@pytest.mark.parametrize("piece_bytes", [1, ONE_PIECE])
def test_a_covariate_may_be_called_as_the_counts_are(piece_bytes: int) -> None:
    categorical, continuous = '{"gene_counts":[3,4],"protein_counts":5}', '{"protein_counts":[0.5,1],"gene_counts":2}'
    body = (
        f'{{"categorical_covariates":{categorical},"continuous_covariates":{continuous},'
        '"gene_counts":[[1,2],[0,3]],"protein_counts":[[7],[8]]}'
    )
    request = decode(body, piece_bytes)
    assert as_rows(request) == [[1, 2], [0, 3]]
    assert vars_of(request.protein_counts) == [[7], [8]]
    assert request.categorical_covariates["gene_counts"].categories == (3, 4)
    assert request.categorical_covariates["protein_counts"].categories == (5,)
    assert request.continuous_covariates["protein_counts"].tolist() == [0.5, 1]
    assert request.continuous_covariates["gene_counts"].tolist() == 2


@pytest.mark.parametrize(
    ("rows", "kind", "index"),
    [
        ("[1,2],[3,4],[5],[6,7]", ErrorKind.INVALID, 2),
        ("[1,2],[3,4],[5,true],[6,7]", ErrorKind.MALFORMED, 2),
        ("[1,2],[3,4],[5,6],7", ErrorKind.MALFORMED, 3),
        ("[1,2],[3,4],[5,6],[7,8],", ErrorKind.MALFORMED, None),
        ("[1,2],[3,4],[5,6],,[7,8]", ErrorKind.MALFORMED, None),
        ("[1,2],[3,4] [5,6]", ErrorKind.MALFORMED, None),
    ],
)
def test_the_offender_is_counted_from_the_first_row(rows: str, kind: ErrorKind, index: int | None) -> None:
    with pytest.raises(ServiceError) as caught:
        decode(f'{{"gene_counts":[{rows}]}}', 1)
    assert (caught.value.kind, caught.value.index) == (kind, index)


def test_limits_refuse_before_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    parse = number_text.parsed
    monkeypatch.setattr(
        number_text, "parsed", lambda parser, text, name: parsed.append(len(text)) or parse(parser, text, name)
    )
    for rows in ("[1]," * 1000 + "[1]", "[" + "1," * 5000 + "1],[1]"):
        with pytest.raises(ServiceError) as caught:
            decode(f'{{"gene_counts":[{rows}]}}', 64, Limits(max_request_cells=100, max_columns=100))
        assert caught.value.kind is ErrorKind.TOO_LARGE
    assert sum(parsed) < 1000


def test_others_may_run_between_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[float] = []
    monkeypatch.setattr("service.rest.number_text.time.sleep", turns.append)
    # Plain numbers do without: numpy lets others run during each of its passes.
    decode('{"gene_counts":[' + ",".join(["[1,2,3]"] * 100) + "]}", 64)
    assert turns == []
    decode('{"gene_counts":[' + ",".join(["[1,-2,3]"] * 100) + "]}", 64)
    assert turns == [0] * 12
