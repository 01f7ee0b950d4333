"""Models change under callers: who began on one ends on it, and then nothing holds it any more."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.assembly import Service, build_service
from service.settings import CatalogSettings, Settings
from tests.fakes import FakeEncoder, Gate
from tests.service.test_assembly import PATIENCE_S, encode, operators


class Encoders:
    """Makes an encoder of each artifact; where there is a gate, version 1 waits there."""

    def __init__(self) -> None:
        self.gate: Gate | None = None
        self.made: list[weakref.ref[FakeEncoder]] = []

    def load(self, path: Path) -> FakeEncoder:
        encoder = FakeEncoder(gate=self.gate if path.parent.name == "1" else None)
        self.made.append(weakref.ref(encoder))
        return encoder


@pytest.fixture
def encoders() -> Encoders:
    return Encoders()


def put(models: Path, version: str) -> None:
    (models / "m" / version).mkdir(parents=True)
    (models / "m" / version / "encoder.pt").touch()


@pytest.fixture
async def service(tmp_path: Path, encoders: Encoders) -> AsyncIterator[Service]:
    encoders.gate = Gate()
    put(tmp_path / "models", "1")
    (tmp_path / "token").write_text("correct-horse-battery")
    catalog = CatalogSettings(admin_token_file=tmp_path / "token")
    post = asyncio.get_running_loop().call_soon_threadsafe
    service = build_service(
        Settings(models=tmp_path / "models", catalog=catalog), post=post, load_encoder=encoders.load
    )
    service.load()
    service.health.mark_ready()
    yield service
    encoders.gate.open()
    assert service.finish(PATIENCE_S)
    await service.grpc_server.stop(None)


async def admin(service: Service, call: str) -> httpx.Response:
    transport = httpx.ASGITransport(service.operator_app)
    headers = {"Authorization": "Bearer correct-horse-battery"}
    async with httpx.AsyncClient(transport=transport, base_url="http://operators", headers=headers) as client:
        return await client.post(f"/admin/models/{call}")


async def left(encoders: Encoders, gone: list[bool]) -> None:
    """Wait until those encoders are gone: the worker lets go of a batch after its callers have their answers."""
    async with asyncio.timeout(PATIENCE_S):
        while [made() is None for made in encoders.made] != gone:
            await asyncio.sleep(0)
            gc.collect()


async def test_a_request_ends_on_the_version_it_began_with(
    service: Service, encoders: Encoders, tmp_path: Path
) -> None:
    assert encoders.gate is not None
    running = asyncio.create_task(encode(service))
    await asyncio.to_thread(encoders.gate.wait_entered)
    queued = asyncio.create_task(encode(service))
    await gathered(service, 2)

    put(tmp_path / "models", "2")
    assert (await admin(service, "m/load")).status_code == 200
    assert (await admin(service, "m/unload")).status_code == 200
    refused = await encode(service)
    assert refused.status_code == 404
    # Version 1 and 2 of the load are gone; what the two requests began with is not.
    await left(encoders, [False, True, True])

    encoders.gate.open()
    assert [(await answer).json()["model_version"] for answer in (running, queued)] == ["1", "1"]
    del running, queued
    await left(encoders, [True, True, True])

    assert (await admin(service, "m/load")).status_code == 200
    assert (await encode(service)).json()["model_version"] == "2"
    assert (await operators(service, "/readyz")).status_code == 200


async def test_requests_for_two_versions_share_no_batch(service: Service, encoders: Encoders, tmp_path: Path) -> None:
    assert encoders.gate is not None
    put(tmp_path / "models", "2")
    assert (await admin(service, "m/load")).status_code == 200
    first = asyncio.create_task(_encode_version(service, "1"))
    await asyncio.to_thread(encoders.gate.wait_entered)
    rest = [asyncio.create_task(_encode_version(service, version)) for version in "121212"]
    await gathered(service, 7)
    encoders.gate.open()
    assert [(await answer).json()["model_version"] for answer in (first, *rest)] == list("1121212")
    sizes = [made.batch_sizes for ref in encoders.made if (made := ref()) is not None]
    assert sorted(sizes) == [[1, 3], [3]]


async def gathered(service: Service, n_calls: int) -> None:
    """Until so many calls are under way, and all but the running one have come as far as they can."""
    while service.n_calls < n_calls:
        await asyncio.sleep(0)
    for _ in range(50):
        await asyncio.sleep(0)


async def _encode_version(service: Service, version: str) -> httpx.Response:
    transport = httpx.ASGITransport(service.http_app)
    cell = {"gene_counts": [[1, 0, 2, 0, 0]], "protein_counts": [[0, 0]], "batch": "a"}
    async with httpx.AsyncClient(transport=transport, base_url="http://callers") as callers:
        return await asyncio.wait_for(callers.post(f"/v1/models/m/versions/{version}/encode", json=cell), PATIENCE_S)
