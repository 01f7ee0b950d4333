"""One batch: merged, encoded, split. Answers never change hands."""

import dataclasses

import numpy as np
import pytest

from model.contract import CellBatch, LatentParams
from service.core.batch import Slice
from service.core.compute_step import compute
from service.core.messages import DenseCounts, EncodeRequest, Labels, Limits, Output
from service.core.preparation import PreparedRequest, prepare
from tests.core.test_preparation import MODEL
from tests.fakes import FakeEncoder, make_spec


def prepared(n_cells: int, mark: int, *outputs: Output) -> PreparedRequest:
    counts = DenseCounts(np.full((n_cells, 5), mark) + np.arange(n_cells)[:, None])
    request = EncodeRequest(gene_counts=counts, batch=Labels.one("b"), outputs=frozenset(outputs) or None)
    return prepare(request, MODEL, Limits())


def whole(item: PreparedRequest) -> Slice[PreparedRequest]:
    return Slice(item, 0, item.n_cells)


def test_each_slice_gets_its_own_cells_back() -> None:
    """RELIABILITY 1, answers mixed or empty: marker rows from callers of sizes 1, 2, 7, 33."""
    items = [prepared(n, 1000 * i + 1) for i, n in enumerate((1, 2, 7, 33, 1))]
    encoder = FakeEncoder()
    parts = compute(encoder, [whole(item) for item in items])
    for item, part in zip(items, parts, strict=True):
        (alone,) = compute(encoder, [whole(item)])
        for field in dataclasses.fields(LatentParams):
            assert np.array_equal(getattr(part, field.name), getattr(alone, field.name))
    assert encoder.batch_sizes[0] == 44


def test_slices_of_one_request_join_to_the_whole() -> None:
    item = prepared(20, 5)
    encoder = FakeEncoder()
    (alone,) = compute(encoder, [whole(item)])
    parts = compute(encoder, [Slice(item, 0, 3), Slice(item, 3, 19), Slice(item, 19, 20)])
    assert np.array_equal(LatentParams.concatenate(parts).qz_mean, alone.qz_mean)


@pytest.mark.parametrize(("first", "second"), [("qz", "z"), ("ql", "z"), ("z", "samples"), ("library", "qz")])
def test_the_library_branch_runs_where_any_request_takes_it(first: str, second: str) -> None:
    items = [prepared(2, 1, Output(first)), prepared(3, 7, Output(second))]
    parts = compute(FakeEncoder(), [whole(item) for item in items])
    asked = any(output in (first, second) for output in ("ql", "samples"))
    for item, part in zip(items, parts, strict=True):
        (alone,) = compute(FakeEncoder(), [whole(item)])
        assert np.array_equal(part.qz_mean, alone.qz_mean)
        assert np.isfinite(part.ql_mean).all() == np.isfinite(part.ql_variance).all() == asked


@pytest.mark.parametrize("wrong", ["rows", "latent", "vector"])
def test_an_answer_of_another_shape_is_never_split(wrong: str) -> None:
    class Wrong(FakeEncoder):
        def encode(self, cells: CellBatch, *, library: bool = True) -> LatentParams:
            params = super().encode(cells)
            if wrong == "rows":
                return params.cells(0, params.n_cells - 1)
            if wrong == "latent":
                return dataclasses.replace(params, qz_variance=params.qz_variance[:, :1])
            return dataclasses.replace(params, ql_mean=params.ql_mean[:, None])

    with pytest.raises(RuntimeError, match="for 3 cells of 3 latent dimensions"):
        compute(Wrong(make_spec()), [whole(prepared(3, 1))])
