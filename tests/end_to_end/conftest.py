"""One server for all tests that leave it as they found it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.clients import GrpcCaller, RestCaller, RestProtobufCaller
from tests.end_to_end.server import RunningServer, export
from tests.saves import SHARED_SAVES

SHARED_NAMES = ("pbmc", "covariates_ln", "saved_by_scvi_1.1.5")

MAX_REQUEST_BYTES = 4 << 20
"""So that a request over the limit is soon sent."""


@pytest.fixture(scope="session")
def synthetic_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory that holds the synthetic model alone."""
    models = tmp_path_factory.mktemp("synthetic_models")
    export({synthetic.NAME: synthetic.RECIPE.write(tmp_path_factory.mktemp("save"))}, models)
    return models


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, synthetic_models: Path) -> Path:
    """The synthetic model in two versions and under a second name, and the real saves where they are here."""
    models = tmp_path_factory.mktemp("models")
    for name, version in ((synthetic.NAME, "1"), (synthetic.NAME, "2"), ("twin", "1")):
        shutil.copytree(synthetic_models / synthetic.NAME / "1", models / name / version)
    if SHARED_SAVES.is_dir():
        export({name: SHARED_SAVES / name for name in SHARED_NAMES}, models)
    return models


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[RunningServer]:
    """A server of `models`, ready."""
    with RunningServer(models, "--max-request-bytes", MAX_REQUEST_BYTES, "--drain-delay-s", "0") as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="session")
def rest(server: RunningServer) -> Iterator[RestCaller]:
    """A REST caller of `server`, for any thread."""
    with RestCaller(server.http_port) as caller:
        yield caller


@pytest.fixture(scope="session")
def rest_protobuf(server: RunningServer) -> Iterator[RestProtobufCaller]:
    """A REST caller of `server` that sends messages, for any thread."""
    with RestProtobufCaller(server.http_port) as caller:
        yield caller


@pytest.fixture(scope="session")
def rpc(server: RunningServer) -> Iterator[GrpcCaller]:
    """A gRPC caller of `server`, for any thread."""
    with GrpcCaller(server.grpc_port) as caller:
        yield caller
