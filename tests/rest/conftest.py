from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from service.core.messages import Limits
from service.rest.app import build_app

from .fake_engine import FakeEngine


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(Limits(max_request_bytes=2_000_000))


@pytest.fixture
def app(engine: FakeEngine) -> FastAPI:
    return build_app(engine)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        yield client
