"""The whole core with a fake encoder: callers meet in batches and never notice each other."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.contract import CellBatch, LatentParams
from service.core import engine as engine_module
from service.core.errors import ErrorKind, ServiceError
from service.core.health import Health
from service.core.messages import Coverage, DenseCounts, EncodeReply, EncodeRequest, Labels, Limits, Output
from service.core.priority import Priority
from tests.fakes import PATIENCE_S, FakeEncoder, Gate
from tests.running_core import Core


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Callable[..., Core]]:
    cores: list[Core] = []

    def build(encoder: FakeEncoder | None = None, **limits: Any) -> Core:
        cores.append(Core(tmp_path, encoder or FakeEncoder(), **limits))
        return cores[0]

    yield build
    for made in cores:
        await made.close()


def request(n_cells: int = 1, mark: int = 1, **changes: Any) -> EncodeRequest:
    counts = np.full((n_cells, 5), mark) + np.arange(n_cells)[:, None]
    return EncodeRequest(gene_counts=DenseCounts(counts), **({"batch": Labels.one("a")} | changes))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something on it has happened."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


def same(left: EncodeReply, right: EncodeReply) -> bool:
    pairs = [(left.qz_mean, right.qz_mean), (left.ql_mean, right.ql_mean), (left.z, right.z)]
    if left.samples is not None and right.samples is not None:
        pairs.append((left.samples.latent_z, right.samples.latent_z))
    return all((a is None and b is None) or np.array_equal(a, b) for a, b in pairs)


async def test_marker_rows_from_64_callers_of_all_sizes(core: Callable[..., Core]) -> None:
    """RELIABILITY 1: answers mixed or empty. Sizes 0, 1, 2, 7, 33, each compared with its solo answer."""
    made = core()
    requests = [request((0, 1, 2, 7, 33)[i % 5], mark=100 * i + 1) for i in range(64)]
    solo = [await made.encode(asked) for asked in requests]
    crowd = await asyncio.gather(*(made.encode(asked) for asked in requests))
    assert all(same(a, b) for a, b in zip(solo, crowd, strict=True))
    assert [reply.n_cells for reply in crowd] == [asked.n_cells for asked in requests]


async def test_options_of_one_caller_never_reach_another(core: Callable[..., Core]) -> None:
    """RELIABILITY 1: two seeds, two n_samples, two output sets forced into one batch."""
    gate = Gate()
    made = core(FakeEncoder(gate=gate))
    options: list[dict[str, Any]] = [
        {"seed": 1, "n_samples": 2},
        {"seed": 2, "n_samples": 2},
        {"seed": 1, "n_samples": 3},
        {"outputs": frozenset({Output.Z})},
        {"outputs": frozenset({Output.QL}), "n_samples": 1, "seed": 9},
    ]
    first = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    tasks = [asyncio.create_task(made.encode(request(2, mark=i, **o))) for i, o in enumerate(options)]
    await until(lambda: made.batcher.n_waiting_cells == 2 * len(options))
    gate.open()
    crowd = await asyncio.gather(*tasks)
    await first
    assert made.encoder.batch_sizes == [1, 2 * len(options)], "they did meet in one batch"
    for i, (reply, o) in enumerate(zip(crowd, options, strict=True)):
        assert same(reply, await made.encode(request(2, mark=i, **o)))
        assert (reply.samples is None) == ("n_samples" not in o)
        assert (reply.qz_mean is None) == ("outputs" in o)
    assert not np.array_equal(crowd[0].samples.latent_z, crowd[1].samples.latent_z)


async def test_two_widths_at_once_give_one_answer_and_one_refusal(core: Callable[..., Core]) -> None:
    """RELIABILITY 1: two widths merged without an error."""
    made = core()
    wide = EncodeRequest(gene_counts=DenseCounts(np.ones((1, 6))), batch=Labels.one("a"))
    good, bad = await asyncio.gather(made.encode(request()), made.encode(wide), return_exceptions=True)
    assert isinstance(good, EncodeReply)
    assert isinstance(bad, ServiceError) and bad.kind is ErrorKind.INVALID


async def test_a_bad_cell_among_many_requests_harms_none(core: Callable[..., Core]) -> None:
    """DOMAIN 9.12: a NaN, infinite or negative cell while 50 others are queued."""
    made = core()
    bad = [
        EncodeRequest(gene_counts=DenseCounts(np.full((1, 5), value)), batch=Labels.one("a"))
        for value in (np.nan, np.inf, -1.0)
    ]
    good = [request(3, mark=i) for i in range(50)]
    solo = [await made.encode(asked) for asked in good]
    replies = await asyncio.gather(*(made.encode(asked) for asked in good + bad), return_exceptions=True)
    assert all(same(a, b) for a, b in zip(solo, replies[:50], strict=True))
    assert all(isinstance(reply, ServiceError) and reply.kind is ErrorKind.INVALID for reply in replies[50:])


async def test_a_posterior_that_overflows_refuses_its_own_request_only(core: Callable[..., Core]) -> None:
    class Overflows(FakeEncoder):
        def encode(self, cells: CellBatch, *, library: bool = True) -> LatentParams:
            params = super().encode(cells)
            params.qz_variance[params.ql_mean > 400] = np.inf
            return params

    made = core(Overflows())
    good, bad = await asyncio.gather(made.encode(request(2)), made.encode(request(1, mark=100)), return_exceptions=True)
    assert isinstance(good, EncodeReply)
    assert isinstance(bad, ServiceError) and (bad.kind, bad.index) == (ErrorKind.INVALID, 0)


async def test_a_large_request_is_sliced_and_joined_in_order(core: Callable[..., Core]) -> None:
    made = core()
    reply = await made.encode(request(10_000))
    assert reply.qz_mean is not None
    assert np.array_equal(reply.ql_mean, 5 * (1 + np.arange(10_000, dtype=np.float32)))
    assert made.encoder.most_cells <= 256


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of luck"), ServiceError(ErrorKind.INTERNAL, "x")])
async def test_an_error_in_the_encoder_fails_its_batch_and_no_other(
    core: Callable[..., Core], error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    made = core()
    made.encoder.errors = [error]
    with pytest.raises(ServiceError) as caught:
        await made.encode(request())
    assert caught.value.kind is ErrorKind.INTERNAL and "CUDA" not in caught.value.detail
    (record,) = (record for record in caplog.records if record.__dict__.get("request_id") == "id")
    assert str(error) in caplog.text, "the log has the cause"
    assert record.exc_info is not None
    assert (await made.encode(request())).n_cells == 1
    assert made.recorder.outcomes == {"internal": 1, "ok": 1}


@pytest.mark.parametrize("stage", ["prepare", "concatenate", "split", "compose_reply"])
async def test_a_bug_at_any_stage_fails_its_callers_and_no_other(
    core: Callable[..., Core], stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RELIABILITY 1: an exception at every stage (size, merge, run, split, encode), then a good request."""

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("a bug")

    made = core()
    target: Any = {"concatenate": CellBatch, "split": LatentParams}.get(stage, engine_module)
    with monkeypatch.context() as patched:
        patched.setattr(target, {"split": "cells"}.get(stage, stage), broken)
        with pytest.raises((ZeroDivisionError, ServiceError)):
            await made.encode(request())
    assert (await made.encode(request())).n_cells == 1
    assert made.recorder.outcomes == {"internal": 1, "ok": 1}


async def test_what_a_waiting_caller_holds_counts_against_the_queue(core: Callable[..., Core]) -> None:
    gate = Gate()
    made = core(FakeEncoder(gate=gate), max_queue_bytes=5_000_000)
    running = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    sparse = EncodeRequest(gene_counts=DenseCounts(np.zeros((60_000, 5))), batch=Labels.one("a"))
    waiting = asyncio.create_task(made.encode(sparse))
    await until(lambda: made.batcher.n_waiting_bytes > sparse.nbytes)
    with pytest.raises(ServiceError) as caught:
        await made.encode(sparse)
    assert caught.value.kind is ErrorKind.OVERLOADED, "its rows are zeros, but the caller holds 2.4 MB"
    gate.open()
    await asyncio.gather(running, waiting)


async def test_a_call_is_recorded_with_what_it_asked(core: Callable[..., Core]) -> None:
    made = core()
    await made.encode(request(3), model="m", version="1")
    ((call, _),) = made.recorder.finished
    assert (call.model, call.model_version, call.n_cells, call.outcome) == ("m", "1", 3, "ok")
    assert set(call.phase_s) == {"decode", "queue", "compute", "encode"}


async def test_an_unknown_model_is_not_found(core: Callable[..., Core]) -> None:
    made = core()
    with pytest.raises(ServiceError, match="no such model"):
        await made.encode(request(), model="x")
    assert made.recorder.outcomes == {"not_found": 1}


async def test_a_deadline_that_passes_in_the_queue_or_in_compute(core: Callable[..., Core]) -> None:
    """RELIABILITY 2. The first caller's cells are computing when its time is up, the second's never are."""
    gate = Gate()
    made = core(FakeEncoder(gate=gate))
    computing = asyncio.create_task(made.encode(request(), timeout_s=0.5))
    await asyncio.to_thread(gate.wait_entered)
    queued = asyncio.create_task(made.encode(request(), timeout_s=0.001))
    for task in (queued, computing):
        with pytest.raises(ServiceError) as caught:
            await task
        assert caught.value.kind is ErrorKind.DEADLINE
    assert made.batcher.n_waiting_cells == 0, "its place in the queue is given back at once"
    gate.open()
    assert (await made.encode(request())).n_cells == 1
    assert made.encoder.batch_sizes == [1, 1]


async def test_an_urgent_call_goes_before_those_that_wait(core: Callable[..., Core]) -> None:
    gate = Gate()
    made = core(FakeEncoder(gate=gate))
    first = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    done: list[str] = []

    async def encode(name: str, n_cells: int, **options: Any) -> None:
        await made.encode(request(n_cells), **options)
        done.append(name)

    tasks = [asyncio.create_task(encode("bulk", 2, priority=Priority.BULK))]
    await until(lambda: made.batcher.n_waiting_cells == 2)
    tasks.append(asyncio.create_task(encode("urgent", 3)))
    await until(lambda: made.batcher.n_waiting_cells == 5)
    gate.open()
    await asyncio.gather(first, *tasks)
    assert done == ["urgent", "bulk"]
    assert made.encoder.batch_sizes == [1, 3, 2]


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
async def test_a_deadline_already_passed_computes_nothing(core: Callable[..., Core], timeout_s: float) -> None:
    made = core()
    with pytest.raises(ServiceError) as caught:
        await made.encode(request(), timeout_s=timeout_s)
    assert caught.value.kind is ErrorKind.DEADLINE
    assert made.encoder.batch_sizes == []


async def test_a_caller_that_leaves_gives_its_place_back(core: Callable[..., Core]) -> None:
    """RELIABILITY 2: k of n cancelled."""
    gate = Gate()
    made = core(FakeEncoder(gate=gate))
    running = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    tasks = [asyncio.create_task(made.encode(request(mark=i))) for i in range(10)]
    await until(lambda: made.batcher.n_waiting_cells == 10)
    for task in tasks[::3]:
        task.cancel()
    running.cancel()
    for task in (*tasks[::3], running):
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
    assert made.batcher.n_waiting_cells == 6
    gate.open()
    rest = [task for i, task in enumerate(tasks) if i % 3]
    assert all(isinstance(reply, EncodeReply) for reply in await asyncio.gather(*rest))
    assert made.recorder.outcomes == {"cancelled": 5, "ok": 6}
    assert made.encoder.batch_sizes == [1, 6]


async def test_a_full_queue_refuses_at_once(core: Callable[..., Core]) -> None:
    gate = Gate()
    made = core(FakeEncoder(gate=gate), max_queue_cells=4, max_batch_cells=2)
    running = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    waiting = asyncio.create_task(made.encode(request(4)))
    await until(lambda: made.batcher.n_waiting_cells == 4)
    with pytest.raises(ServiceError) as caught:
        await made.encode(request())
    assert caught.value.kind is ErrorKind.OVERLOADED and caught.value.retry_after_s
    gate.open()
    await asyncio.gather(running, waiting)


async def test_requests_that_gather_have_their_place_or_are_refused_at_once(core: Callable[..., Core]) -> None:
    """They are not checked before the running batch has ended, and need not wait for that to learn of a full queue."""
    gate = Gate()
    made = core(FakeEncoder(gate=gate), max_queue_cells=4, max_batch_cells=2, gathers=True)
    running = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    gathered = [asyncio.create_task(made.encode(request(2))) for _ in range(2)]
    await until(lambda: made.batcher.n_waiting_cells == 4)
    with pytest.raises(ServiceError) as caught:
        await made.encode(request())
    assert caught.value.kind is ErrorKind.OVERLOADED and caught.value.retry_after_s
    assert not running.done(), "it was told before the batch ended"
    gathered[0].cancel()
    await until(lambda: made.batcher.n_waiting_cells == 2)
    last = asyncio.create_task(made.encode(request(2)))
    gate.open()
    await asyncio.gather(running, gathered[1], last)


async def test_a_full_queue_takes_nothing_from_what_is_wrong_for_ever(core: Callable[..., Core]) -> None:
    """More cells than a request may have is `too_large`, and not a reason to come again."""
    gate = Gate()
    made = core(FakeEncoder(gate=gate), max_queue_cells=4, request_limits=Limits(max_request_cells=5))
    running = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    waiting = asyncio.create_task(made.encode(request(4)))
    await until(lambda: made.batcher.n_waiting_cells == 4)
    for n_cells, kind in ((5, ErrorKind.OVERLOADED), (6, ErrorKind.TOO_LARGE)):
        with pytest.raises(ServiceError) as caught:
            await made.encode(request(n_cells))
        assert caught.value.kind is kind
    gate.open()
    await asyncio.gather(running, waiting)


async def test_cells_that_are_told_without_a_byte_have_no_place(core: Callable[..., Core]) -> None:
    """They are invalid, which is found out once the batch has ended; nobody is refused for them until then."""
    gate = Gate()
    made = core(FakeEncoder(gate=gate), max_queue_cells=4, gathers=True)
    running = asyncio.create_task(made.encode(request()))
    await asyncio.to_thread(gate.wait_entered)
    empty = EncodeRequest(gene_counts=DenseCounts(np.zeros((4, 0), dtype=np.uint8)), batch=Labels.one("a"))
    invalid = asyncio.create_task(made.encode(empty))
    waiting = asyncio.create_task(made.encode(request(4)))
    await until(lambda: made.batcher.n_waiting_cells == 4)
    gate.open()
    await asyncio.gather(running, waiting)
    with pytest.raises(ServiceError) as caught:
        await invalid
    assert caught.value.kind is ErrorKind.INVALID


async def test_nothing_is_served_before_the_models_are_loaded(core: Callable[..., Core], tmp_path: Path) -> None:
    made = core()
    made.engine.health = Health()
    for ask in (made.engine.cards, lambda: made.engine.card("m")):
        with pytest.raises(ServiceError, match="still being loaded"):
            ask()
    with pytest.raises(ServiceError) as caught:
        await made.encode(request())
    assert caught.value.kind is ErrorKind.UNAVAILABLE and caught.value.retry_after_s


async def test_large_requests_leave_the_loop_free(core: Callable[..., Core], monkeypatch: pytest.MonkeyPatch) -> None:
    made = core()
    threaded: list[str] = []
    to_thread = asyncio.to_thread

    async def noting(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        threaded.append(function.__name__)
        return await to_thread(function, *args, **kwargs)

    monkeypatch.setattr(asyncio, "to_thread", noting)
    await made.encode(request(1, n_samples=1, seed=1))
    assert threaded == []
    await made.encode(request(10_000, n_samples=10, seed=1))
    assert threaded == ["prepare", "compose_reply"]


async def test_validation_reports_without_computing(core: Callable[..., Core]) -> None:
    made = core()
    asked = request(3, genes=("gene4", "other", "gene2", "gene1", "gene0"), outputs=frozenset({Output.QL}))
    with made.engine.call(transport="rest", operation="validate", request_id="id") as call:
        report = await made.engine.validate(asked, call, model="m")
    assert (report.model, report.model_version, report.n_cells) == ("m", "1", 3)
    assert report.genes == Coverage(given=5, known=4, missing=1, extra=1, coverage=0.8)
    assert report.proteins == Coverage(given=0, known=0, missing=2, extra=0, coverage=0.0)
    assert [notice.code for notice in report.warnings] == ["missing_genes", "extra_genes", "missing_proteins"]
    assert (call.model, call.n_cells, made.encoder.batch_sizes) == ("m", 3, [])
    assert report.warnings == (await made.encode(asked)).warnings


async def test_validation_heeds_the_deadline(core: Callable[..., Core]) -> None:
    made = core()
    with (
        pytest.raises(ServiceError) as caught,
        made.engine.call(transport="rest", operation="validate", request_id="id", timeout_s=0.0) as call,
    ):
        await made.engine.validate(request(), call)
    assert caught.value.kind is ErrorKind.DEADLINE


async def test_validation_refuses_what_encode_refuses(core: Callable[..., Core]) -> None:
    made = core()
    for bad in (request(batch=None), request(genes=("x", "y", "z", "u", "v"))):
        errors = []
        for ask in (made.engine.validate, made.engine.encode):
            with made.engine.call(transport="rest", operation="x", request_id="id") as call:
                with pytest.raises(ServiceError) as caught:
                    await ask(bad, call)
                errors.append((caught.value.kind, caught.value.detail))
        assert errors[0] == errors[1]
