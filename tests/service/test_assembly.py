from __future__ import annotations

import asyncio
import dataclasses
import sys
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from model.contract import DeviceLost, OutOfDeviceMemory
from service import assembly
from service.assembly import Service, build_service
from service.core.batch import BatcherLimits, In, Out
from service.core.batcher import Batcher
from service.core.catalog import CatalogError
from service.core.health import ServingState
from service.core.messages import Limits
from service.rest.page import read_page
from service.settings import (
    AccessSettings,
    BatchSettings,
    DeviceSettings,
    LimitSettings,
    ListenSettings,
    Settings,
    SettingsError,
)
from tests.fakes import FakeEncoder, Gate

PATIENCE_S = 10.0
CELL = {"gene_counts": [[1, 0, 2, 0, 0]], "protein_counts": [[0, 0]], "batch": "a"}
"""One cell of the fake encoder's model."""


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in ("1", "2"):
        folder = tmp_path / "pbmc" / version
        folder.mkdir(parents=True)
        (folder / "encoder.pt").touch()
    return tmp_path


@pytest.fixture
async def build(encoder) -> AsyncIterator[Callable[..., Service]]:
    built: list[Service] = []

    def build(models: Path, **groups: object) -> Service:
        post = asyncio.get_running_loop().call_soon_threadsafe
        service = build_service(Settings(models=models, **groups), post=post, load_encoder=lambda path: encoder)
        built.append(service)
        return service

    yield build
    for service in built:
        assert service.finish(PATIENCE_S)
        await service.grpc_server.stop(None)


@pytest.fixture
async def service(build, models) -> Service:
    service = build(models)
    service.load()
    service.health.mark_ready()
    return service


async def encode(service: Service, **changes: object) -> httpx.Response:
    transport = httpx.ASGITransport(service.http_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
        return await asyncio.wait_for(callers.post("/v1/encode", json={**CELL, **changes}), PATIENCE_S)


async def stats(service: Service) -> dict[str, Any]:
    transport = httpx.ASGITransport(service.http_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
        return (await callers.get("/v1/stats")).json()


async def operators(service: Service, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(service.operator_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://operators") as client:
        return await client.get(path)


async def test_a_cell_walks_from_the_door_to_the_encoder_and_back(service):
    answer = await encode(service)
    assert answer.status_code == 200
    assert answer.json()["model_version"] == "2"
    # What the fake encoder makes of this cell: 1 x 1 + 2 x 3.
    assert answer.json()["qz"]["mean"] == [[7.0, 14.0, 21.0]]
    metrics = (await operators(service, "/metrics")).text
    assert 'totalvi_cells_total{model="pbmc",transport="rest",version="2"} 1.0' in metrics
    assert "totalvi_batch_cells_sum 1.0" in metrics
    assert service.n_calls == 0


async def test_callers_are_told_what_the_service_does(service):
    for _ in range(2):
        assert (await encode(service)).status_code == 200
    told = await stats(service)
    assert (told["state"], told["in_flight"]) == ("ready", 0)
    assert told["queue"] == {"cells": 0, "limit_cells": 65536, "bytes": 0, "limit_bytes": 1 << 30}
    intervals = told["intervals"]
    assert [sum(intervals[name]) for name in ("cells", "calls", "batches", "batch_cells")] == [2, 2, 2, 2]
    assert sum(intervals["failed"]) == 0
    for phase in ("decode", "queue", "compute", "encode", "total"):
        assert any(intervals["phases"][phase]["max_ms"]), phase
    service.health.mark_draining()
    assert (await stats(service))["state"] == "draining"


async def test_it_tells_of_itself_before_the_models_are_loaded(build, models):
    told = await stats(build(models))
    assert (told["state"], told["intervals"]["calls"]) == ("starting", [0])


@pytest.mark.parametrize(("on", "status"), [(True, 200), (False, 404)])
async def test_the_page_can_be_turned_off(build, models, tmp_path, monkeypatch, on, status):
    folder = tmp_path / "page_files"
    folder.mkdir()
    (folder / "index.html").write_text("made up")
    monkeypatch.setattr(assembly, "read_page", lambda: read_page(folder))
    service = build(models, listen=ListenSettings(page=on))
    transport = httpx.ASGITransport(service.http_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
        answer = await callers.get("/")
        assert answer.status_code == status
        assert (answer.text == "made up") is on
        service.health.mark_draining()
        answer = await callers.get("/")
        assert (answer.status_code, answer.headers["connection"]) == (status, "close")


async def test_before_the_models_are_loaded_callers_are_told_to_wait(build, models):
    service = build(models)
    answer = await encode(service)
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert (await operators(service, "/startupz")).status_code == 503


async def test_draining_serves_on_and_a_closed_queue_refuses(service):
    service.health.mark_draining()
    assert (await operators(service, "/readyz")).status_code == 503
    answer = await encode(service)
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert service.finish(PATIENCE_S)
    assert (await encode(service)).status_code == 503


async def test_a_stuck_encoder_is_not_waited_for_and_its_callers_are_answered(service, encoder):
    encoder.gate = Gate()
    call = asyncio.create_task(encode(service))
    await asyncio.to_thread(encoder.gate.wait_entered)
    assert service.n_calls == 1
    assert not await asyncio.to_thread(service.finish, 0.01)
    service.abandon()
    assert (await call).status_code == 503
    encoder.gate.open()


async def test_a_lost_device_fails_the_process(service, encoder):
    encoder.errors = [DeviceLost("cuda:0 failed")]
    assert (await encode(service)).status_code == 503
    assert service.health.state is ServingState.FAILED
    probe = await operators(service, "/livez")
    assert (probe.status_code, probe.json()["reason"]) == (503, "the encoder's worker died (DeviceLost)")


async def test_a_stuck_computation_fails_the_process(build, models, encoder):
    """The watchdog by its real clock: half a second, against a computation that never ends."""
    service = build(models, device=DeviceSettings(stuck_after_s=0.5))
    service.load()
    service.health.mark_ready()
    assert (await encode(service)).status_code == 200
    encoder.gate = Gate()
    answer = await encode(service)
    assert (answer.status_code, answer.headers["connection"]) == (503, "close")
    encoder.gate.open()
    probe = await operators(service, "/livez")
    reason = "a computation has not ended within 0.5 s"
    assert (probe.status_code, probe.json()["reason"]) == (503, reason)
    assert (await encode(service)).status_code == 503
    assert service.n_calls == 0


async def test_a_batch_for_which_memory_is_short_is_answered_all_the_same(service, encoder):
    cells = {"gene_counts": [[n, 0, 2, 0, n] for n in range(4)], "protein_counts": [[n, 1] for n in range(4)]}
    expected = (await encode(service, **cells)).json()
    encoder.errors = [OutOfDeviceMemory("cuda:0")]
    assert (await encode(service, **cells)).json() == expected
    assert encoder.batch_sizes == [4, 4, 2, 2]
    encoder.errors = [OutOfDeviceMemory("cuda:0")] * 3
    refused = await encode(service, **cells)
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (503, "unavailable", "1")
    assert (await encode(service, **cells)).json() == expected
    assert service.health.ready


async def test_a_device_that_is_lost_while_a_model_is_loaded_fails_the_process(models):
    def load(path: Path) -> FakeEncoder:
        raise DeviceLost("cuda:0 failed")

    post = asyncio.get_running_loop().call_soon_threadsafe
    service = build_service(Settings(models=models), post=post, load_encoder=load)
    with pytest.raises(CatalogError):
        service.load()
    assert service.health.state is ServingState.FAILED
    assert service.health.reason == "the device was lost while a model was loaded"
    await service.grpc_server.stop(None)


async def test_an_encoder_that_fails_once_fails_one_batch(service, encoder):
    encoder.errors = [RuntimeError("bug")]
    assert (await encode(service)).status_code == 500
    assert (await encode(service)).status_code == 200
    assert service.health.ready


async def test_a_directory_without_models_is_refused(build, tmp_path):
    with pytest.raises(CatalogError, match="totalvi-serve export"):
        build(tmp_path).load()


async def test_a_call_larger_than_the_queue_is_served_while_nothing_waits(build, models):
    service = build(models, limits=LimitSettings(max_queue_cells=1, max_queue_bytes=1))
    service.load()
    service.health.mark_ready()
    answer = await encode(service, gene_counts=[[1, 0, 2, 0, 0]] * 3, protein_counts=[[0, 0]] * 3)
    assert answer.json()["n_cells"] == 3


@pytest.mark.parametrize(("device", "threads"), [(DeviceSettings(), 0), (DeviceSettings(threads=3), 3)])
async def test_the_encoder_is_asked_for_the_cores_unless_told(models, monkeypatch, device, threads):
    asked = []

    class DeviceEncoder:
        @staticmethod
        def load(path: Path, **options: object) -> FakeEncoder:
            asked.append(options)
            return FakeEncoder()

    monkeypatch.setitem(sys.modules, "model.device_encoder", types.SimpleNamespace(DeviceEncoder=DeviceEncoder))
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    service = build_service(
        Settings(models=models, device=device), post=asyncio.get_running_loop().call_soon_threadsafe
    )
    service.load()
    assert service.finish(PATIENCE_S)
    rest = {"max_batch_cells": 1024, "precision": "float32", "allowed_sha256": None}
    assert asked == [{"device": "auto", "threads": threads} | rest] * 2


async def test_settings_reach_the_parts(build, models, monkeypatch):
    limits = []

    class KeptBatcher(Batcher[In, Out]):
        def __init__(self, given: BatcherLimits, **parts: Any) -> None:
            limits.append(given)
            super().__init__(given, **parts)

    monkeypatch.setattr("service.assembly.Batcher", KeptBatcher)
    service = build(
        models,
        batch=BatchSettings(max_batch_cells=10, max_batch_entries=20, max_delay_ms=30.0),
        limits=LimitSettings(
            max_queue_cells=40,
            max_queue_bytes=50,
            max_request_bytes=45,
            max_request_cells=35,
            max_samples=3,
            max_sample_values=4,
        ),
    )
    assert limits == [BatcherLimits(10, 20, 0.03, 40, 50)]
    service.load()
    service.health.mark_ready()
    answer = await encode(service)
    assert answer.status_code == 413
    assert "45" in answer.json()["detail"]
    assert "totalvi_queue_capacity_cells 40.0" in (await operators(service, "/metrics")).text


async def test_the_limits_by_default_are_the_cores(service):
    transport = httpx.ASGITransport(service.http_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
        assert (await callers.get("/v1/limits")).json() == dataclasses.asdict(Limits())


async def test_the_grpc_server_is_bound_to_nothing_yet(service):
    port = service.grpc_server.add_insecure_port("127.0.0.1:0")
    await service.grpc_server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await check(b"") == b"\x08\x01"


async def test_a_tokens_file_closes_both_doors_to_callers_and_leaves_the_operators_open(build, models, tmp_path):
    path = tmp_path / "tokens"
    path.write_text("alice 0123456789abcdef\n")
    service = build(models, access=AccessSettings(tokens_file=path))
    service.load()
    service.health.mark_ready()
    assert (await encode(service)).status_code == 401
    assert (await operators(service, "/metrics")).status_code == 200
    port = service.grpc_server.add_insecure_port("127.0.0.1:0")
    await service.grpc_server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        listing = channel.unary_unary("/totalvi.v1.EncoderService/ListModels")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await listing(b"")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await listing(b"", metadata=(("authorization", "Bearer 0123456789abcdef"),))


@pytest.mark.parametrize("content", [None, "", "alice short\n"])
async def test_a_tokens_file_that_cannot_be_used_refuses_to_start(build, models, tmp_path, content):
    path = tmp_path / "tokens"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SettingsError, match=r"^--tokens-file: .* cannot be used: ") as refused:
        build(models, access=AccessSettings(tokens_file=path))
    assert "short" not in str(refused.value)


async def test_certificates_that_cannot_be_used_refuse_to_start(build, models, tmp_path):
    with pytest.raises(SettingsError, match=r"^--tls-cert cannot be read \(No such file or directory\)$"):
        build(models, access=AccessSettings(tls_cert=tmp_path / "c", tls_key=tmp_path / "k"))
