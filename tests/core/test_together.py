"""Requests that are prepared together get what each would get alone."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.core import together
from service.core.errors import ServiceError
from service.core.messages import CsrCounts, DenseCounts, EncodeRequest, Labels, Limits, Output
from service.core.preparation import PreparedRequest, prepare
from service.core.together import Asked, Gathering, prepare_together
from tests.core.test_preparation import MODEL, loaded

LIMITS = Limits(max_request_cells=50)
OTHER = loaded(library_encoder_trained=False)


def csr(rows: Any, **changes: Any) -> CsrCounts:
    dense = np.array(rows)
    cells, columns = dense.nonzero()
    facts = {
        "indptr": np.searchsorted(cells, np.arange(len(dense) + 1)),
        "indices": columns,
        "data": dense[cells, columns],
    }
    return CsrCounts(**(facts | changes))


def ordinary(n_cells: int = 1, **changes: Any) -> EncodeRequest:
    facts: dict[str, Any] = {
        "gene_counts": csr(np.arange(n_cells * 5).reshape(n_cells, 5)),
        "protein_counts": DenseCounts(np.arange(1, 1 + n_cells * 2).reshape(n_cells, 2)),
        "batch": Labels.one("a"),
    }
    return EncodeRequest(**(facts | changes))


REQUESTS: dict[str, Callable[[], EncodeRequest]] = {
    "one cell": ordinary,
    "three cells": lambda: ordinary(3),
    "no cells": lambda: ordinary(0, gene_counts=CsrCounts(np.zeros(1, int), np.zeros(0, int), np.zeros(0, int))),
    "an empty cell": lambda: ordinary(2, gene_counts=csr([[0] * 5, [0, 1, 0, 0, 2]])),
    "labels per cell": lambda: ordinary(2, batch=Labels.per_cell(["b", "a"])),
    "a small dtype": lambda: ordinary(gene_counts=csr([[1, 0, 2, 0, 3]], data=np.array([1, 2, 3], np.uint8))),
    "dense": lambda: ordinary(gene_counts=DenseCounts(np.array([[1, 0, 2, 0, 3]]))),
    "no proteins": lambda: ordinary(protein_counts=None),
    "named": lambda: ordinary(cells=("x",), seed=7, n_samples=2, first_cell=9),
    "named columns": lambda: ordinary(genes=("gene0", "gene1", "gene2", "gene3", "gene4")),
    "missing genes": lambda: ordinary(genes=("gene0", "gene1", "gene2"), gene_counts=csr([[1, 0, 2]])),
    "some outputs": lambda: ordinary(outputs=frozenset({Output.QZ, Output.QL})),
    "a covariate": lambda: ordinary(categorical_covariates={"donor": Labels.one("d")}),
    "explicit zeros": lambda: ordinary(gene_counts=csr([[1, 0, 2, 0, 3]], data=np.array([1, 0, 3]))),
    "unsorted": lambda: ordinary(gene_counts=CsrCounts(np.array([0, 2]), np.array([3, 1]), np.array([5, 6]))),
    "fractions": lambda: ordinary(gene_counts=csr([[1.5, 0, 40, 0, 3]])),
    "log-normalised": lambda: ordinary(gene_counts=csr([[1.5, 0, 0.5, 0, 0.3]])),
    "tolerant": lambda: ordinary(gene_counts=csr([[1.5, 0, 0.5, 0, 0.3]]), allow_non_integer=True),
    "negative": lambda: ordinary(gene_counts=csr([[1, 0, -2, 0, 3]])),
    "negative protein": lambda: ordinary(protein_counts=DenseCounts(np.array([[1, -1]]))),
    "not finite": lambda: ordinary(gene_counts=csr([[1.0, 0, np.nan, 0, 3]])),
    "too wide": lambda: ordinary(gene_counts=csr([[1, 0, 2, 0, 3, 9]])),
    "unknown batch": lambda: ordinary(batch=Labels.one("c")),
    "no batch": lambda: ordinary(batch=None),
    "wrong codes": lambda: ordinary(batch=Labels(("a",), np.array([1]))),
    "codes of two cells": lambda: ordinary(batch=Labels(("a",), np.array([0, 0]))),
    "two labels, no codes": lambda: ordinary(batch=Labels(("a", "b"))),
    "a bad indptr": lambda: ordinary(gene_counts=CsrCounts(np.array([0, 9]), np.array([1]), np.array([1]))),
    "a falling indptr": lambda: ordinary(2, gene_counts=CsrCounts(np.array([0, 2, 1]), np.array([1]), np.array([1]))),
    "an empty indptr": lambda: ordinary(gene_counts=CsrCounts(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))),
    "a matrix for indices": lambda: ordinary(gene_counts=CsrCounts(np.array([0, 1]), np.ones((1, 1), int), np.ones(1))),
    "other numbers of cells": lambda: ordinary(2, protein_counts=DenseCounts(np.ones((1, 2), int))),
    "a bad option": lambda: ordinary(first_cell=-1),
    "too many cells": lambda: ordinary(51),
    "too many samples": lambda: ordinary(n_samples=10_000),
}


def told(result: PreparedRequest | Exception) -> list[Any]:
    if isinstance(result, Exception):
        assert isinstance(result, ServiceError)
        return [result.kind, result.detail, result.field, result.index, result.counts]
    facts = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    batch = facts.pop("batch")
    facts["library"] = facts["library"].tolist()
    arrays = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    return [facts, {name: (array.dtype, array.shape, array.tolist()) for name, array in arrays.items()}]


def alone(request: EncodeRequest) -> list[Any]:
    try:
        return told(prepare(request, MODEL, LIMITS, held_bytes=3))
    except ServiceError as error:
        return told(error)


def together_told(requests: list[EncodeRequest]) -> list[list[Any]]:
    return [told(result) for result in prepare_together([Asked(each, MODEL, 3) for each in requests], LIMITS)]


@pytest.mark.parametrize("name", REQUESTS)
def test_each_kind_of_request_beside_ordinary_ones(name: str) -> None:
    requests = [ordinary(2, seed=1), REQUESTS[name](), ordinary(seed=2)]
    if requests[1].n_samples and requests[1].seed is None:
        requests[1] = dataclasses.replace(requests[1], seed=0)
    assert together_told(requests) == [alone(request) for request in requests]


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(REQUESTS)), max_size=6))
def test_any_mix(names: list[str]) -> None:
    requests = [dataclasses.replace(REQUESTS[name](), seed=5) for name in names]
    assert together_told(requests) == [alone(request) for request in requests]


def test_small_index_types_do_not_overflow(caplog: pytest.LogCaptureFixture) -> None:
    """Each request's own offsets fit its type; those of all together do not."""
    model = loaded(genes=300)
    row = np.ones((1, 300), dtype=np.int64)
    small = csr(row, indptr=np.array([0, 300], np.uint16), indices=np.arange(300, dtype=np.uint16))
    asked = Asked(ordinary(gene_counts=small), model, 0)
    results = prepare_together([asked] * 300, Limits())
    assert all(isinstance(each, PreparedRequest) and each.library.tolist() == [300.0] for each in results)
    assert not caplog.records, "they were prepared together"


def test_a_bug_in_joining_costs_nobody_an_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(requests: list[EncodeRequest]) -> EncodeRequest | None:
        raise OverflowError("a bug")

    monkeypatch.setattr(together, "_joined", broken)
    assert together_told([ordinary(), ordinary(2)]) == [alone(ordinary()), alone(ordinary(2))]
    assert "could not be prepared together" in caplog.text


def test_ordinary_requests_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[int] = []

    def counting(request: EncodeRequest, *args: Any, **kwargs: Any) -> PreparedRequest:
        checked.append(request.n_cells)
        return prepare(request, *args, **kwargs)

    monkeypatch.setattr(together, "prepare", counting)
    names = ["one cell", "three cells", "an empty cell", "labels per cell", "a small dtype", "some outputs"]
    together_told([REQUESTS[name]() for name in names])
    assert checked == [10]


class Turns:
    """An event loop's turns by hand."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def soon(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def end(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


def gathering(idle: bool = True) -> tuple[Gathering, Turns, list[bool]]:
    turns, is_idle = Turns(), [idle]
    return (
        Gathering(LIMITS, is_idle=lambda: is_idle[0], soon=turns.soon),
        turns,
        is_idle,
    )


async def begun(gathering: Gathering, *requests: Asked) -> list[asyncio.Task[PreparedRequest]]:
    tasks = [asyncio.create_task(gathering.prepare(asked)) for asked in requests]
    await asyncio.sleep(0)
    return tasks


async def test_an_idle_worker_waits_for_the_end_of_the_turn_alone() -> None:
    gathered, turns, _ = gathering()
    first, second = await begun(gathered, Asked(ordinary(), MODEL, 0), Asked(ordinary(2), MODEL, 0))
    assert len(turns.waiting) == 1
    turns.end()
    assert [(await first).n_cells, (await second).n_cells] == [1, 2]
    (third,) = await begun(gathered, Asked(ordinary(3), MODEL, 0))
    turns.end()
    assert (await third).n_cells == 3


async def test_a_busy_worker_is_waited_for() -> None:
    gathered, turns, _ = gathering(idle=False)
    (task,) = await begun(gathered, Asked(ordinary(), MODEL, 0))
    turns.end()
    await asyncio.sleep(0)
    assert not task.done()
    gathered.prepare_all()
    assert (await task).n_cells == 1
    gathered.prepare_all()  # nothing waits


async def test_models_and_errors_are_kept_apart() -> None:
    gathered, turns, _ = gathering()
    bad = ordinary(batch=Labels.one("c"))
    tasks = await begun(
        gathered, *(Asked(request, model, 0) for request in (ordinary(), bad) for model in (MODEL, OTHER))
    )
    turns.end()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(result, ServiceError) for result in results] == [False, False, True, True]
    assert Output.QL in results[0].outputs and Output.QL not in results[1].outputs  # type: ignore[union-attr]


async def test_a_caller_that_leaves_costs_the_others_nothing() -> None:
    gathered, turns, _ = gathering()
    leaving, staying = await begun(gathered, Asked(ordinary(), MODEL, 0), Asked(ordinary(2), MODEL, 0))
    leaving.cancel()
    await asyncio.sleep(0)
    turns.end()
    assert (await staying).n_cells == 2
    assert leaving.cancelled()


async def test_no_more_than_some_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "MOST_REQUESTS", 3)
    gathered, _, _ = gathering(idle=False)
    tasks = await begun(gathered, *(Asked(ordinary(), MODEL, 0) for _ in range(4)))
    await asyncio.sleep(0)
    assert [task.done() for task in tasks] == [True, True, True, False]
    gathered.prepare_all()
    await tasks[3]
