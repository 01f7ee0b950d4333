"""One gRPC channel to three replicas, as a client of a headless Service has it: no proxy between them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import grpc
import pytest

from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from tests.end_to_end.clients import message
from tests.end_to_end.crowd import CELLS
from tests.end_to_end.operators import metrics
from tests.end_to_end.replicas import Replicas
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import NAME

N_CALLS = 300

ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})


def n_encoded(server: RunningServer) -> float:
    return metrics(server).get(("totalvi_requests_total", NAME, "encode", "ok", "grpc", "1"), 0.0)


@pytest.mark.slow
def test_one_channel_shares_its_calls_out(synthetic_models: Path) -> None:
    """Each replica gets its third, within a fifth; one that stops is left out, and no call fails."""
    with contextlib.ExitStack() as stack:
        replicas = Replicas(stack, synthetic_models, "--drain-delay-s", 0)
        addresses = ",".join(f"127.0.0.1:{server.grpc_port}" for server in replicas.servers)
        options = [("grpc.service_config", ROUND_ROBIN), ("grpc.enable_http_proxy", 0)]
        channel = stack.enter_context(grpc.insecure_channel(f"ipv4:{addresses}", options))
        encode, request = EncoderServiceStub(channel).Encode, message(CELLS)
        # The first calls go to whom the channel has reached first.
        warm = [server for server in replicas.servers if n_encoded(server)]
        while len(warm) < len(replicas.servers):
            encode(request, timeout=PATIENCE_S)
            warm = [server for server in replicas.servers if n_encoded(server)]
        before = [n_encoded(server) for server in replicas.servers]

        for _ in range(N_CALLS):
            encode(request, timeout=PATIENCE_S)

        shares = [n_encoded(server) - n for server, n in zip(replicas.servers, before, strict=True)]
        assert sum(shares) == N_CALLS
        assert all(0.8 * N_CALLS / 3 <= share <= 1.2 * N_CALLS / 3 for share in shares), shares

        assert replicas.end(0) == 0
        for _ in range(N_CALLS // 3):
            encode(request, timeout=PATIENCE_S)
