"""Changes of the catalog beside the event loop, and who may ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model.errors import ModelFileError
from service.core.errors import ErrorKind, ServiceError
from service.core.repository import MAX_WAITING
from tests.fakes import FakeEncoder, Gate
from tests.running_core import Core


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Core]:
    made = Core(tmp_path, FakeEncoder())
    made.engine._repository_api = True
    yield made
    await made.close()


def states(core: Core, ready: bool = False) -> list[tuple[str, str, str]]:
    return [(state.name, state.version, state.state) for state in core.engine.repository_index(ready)]


async def test_callers_may_change_nothing_by_default(core: Core) -> None:
    core.engine._repository_api = False
    for change in (core.engine.load_model, core.engine.unload_model):
        with pytest.raises(ServiceError, match="--repository-api on") as refused:
            await change("m")
        assert refused.value.kind is ErrorKind.FORBIDDEN
    assert states(core) == [("m", "1", "ready")]


async def test_callers_that_may_load_and_unload(core: Core, tmp_path: Path) -> None:
    (tmp_path / "m" / "2").mkdir()
    (tmp_path / "m" / "2" / "encoder.pt").touch()
    await core.engine.load_model("m")
    assert states(core, ready=True) == [("m", "1", "ready"), ("m", "2", "ready")]
    await core.engine.unload_model("m")
    assert states(core) == [("m", "1", "unloaded"), ("m", "2", "unloaded")]
    assert states(core, ready=True) == core.engine.cards() == []
    with pytest.raises(ServiceError) as refused:
        await core.engine.load_model("../m")
    assert refused.value.kind is ErrorKind.NOT_FOUND
    assert core.health.ready


async def test_a_failed_load_leaves_the_service_ready(core: Core, tmp_path: Path) -> None:
    def refuse(path: Path) -> FakeEncoder:
        raise ModelFileError("encoder.pt is damaged")

    core.catalog._load = refuse
    with pytest.raises(ServiceError, match="is damaged") as refused:
        await core.engine.load_model("m")
    assert refused.value.kind is ErrorKind.INVALID
    (state,) = core.engine.repository_index()
    assert (state.state, state.reason) == ("ready", "encoder.pt is damaged")
    assert core.health.ready


async def test_nothing_is_changed_while_the_service_stops(core: Core) -> None:
    core.health.mark_draining()
    with pytest.raises(ServiceError, match="draining") as refused:
        await core.engine.load_model("m")
    assert refused.value.kind is ErrorKind.UNAVAILABLE


async def test_a_load_is_off_the_loop_and_ends_although_its_caller_leaves(core: Core) -> None:
    gate, before = Gate(), core.catalog.resolve()

    def load(path: Path) -> FakeEncoder:
        gate.pass_through()
        return FakeEncoder()

    core.catalog._load = load
    loading = asyncio.create_task(core.engine.load_model("m"))
    await asyncio.to_thread(gate.wait_entered)
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    gate.open()
    # One at a time: this one ends after the first.
    await core.engine.load_model("m")
    assert gate.n_entered == 2
    assert core.catalog.resolve() is not before


async def test_a_hundred_loads_and_unloads_at_once(core: Core) -> None:
    """RELIABILITY 5. Those that would wait long are refused; the others happen in order."""
    gate = Gate()

    def load(path: Path) -> FakeEncoder:
        gate.pass_through()
        return FakeEncoder()

    core.catalog._load = load
    changes = [asyncio.create_task(core.engine.load_model("m"))]
    await asyncio.to_thread(gate.wait_entered)
    changes += [
        asyncio.create_task(core.engine.unload_model("m") if i % 2 else core.engine.load_model("m")) for i in range(99)
    ]
    refused, _ = await asyncio.wait(changes[MAX_WAITING + 1 :], timeout=20)
    gate.open()
    outcomes = await asyncio.gather(*changes, return_exceptions=True)
    assert outcomes[: MAX_WAITING + 1] == [None] * (MAX_WAITING + 1)
    assert {outcome.kind for outcome in outcomes[MAX_WAITING + 1 :]} == {ErrorKind.OVERLOADED}
    assert len(refused) == 99 - MAX_WAITING
    await core.engine.load_model("m")
    assert states(core) == [("m", "1", "ready")]
