"""Calls shared out over three replicas: by a client with one gRPC channel, and by the proxies."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from service.protobuf.stubs.totalvi_v1_pb2_grpc import EncoderServiceStub
from tests.end_to_end import synthetic
from tests.end_to_end.clients import GrpcCaller, RestCaller, message, stream_messages
from tests.end_to_end.crowd import CELLS
from tests.end_to_end.names import NameServer
from tests.end_to_end.operators import metrics
from tests.end_to_end.proxy import Haproxy, Nginx, Proxy, missing
from tests.end_to_end.replicas import Replicas, free_ports, proxied_replicas
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import NAME

N_CALLS = 300

ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})

SLICES = stream_messages(synthetic.cells(6, seed=14), [2, 4])

PROXIES = [
    pytest.param(proxy, marks=pytest.mark.skipif(bool(missing(proxy)), reason=missing(proxy)), id=proxy.__name__)
    for proxy in (Nginx, Haproxy)
]


def n_encoded(server: RunningServer, transport: str = "grpc") -> float:
    return metrics(server).get(("totalvi_requests_total", NAME, "encode", "ok", transport, "1"), 0.0)


def shares(
    servers: list[RunningServer], transport: str, call: Callable[[], object], n_calls: int = N_CALLS
) -> list[float]:
    """How many of the calls each server answers."""
    before = [n_encoded(server, transport) for server in servers]
    for _ in range(n_calls):
        call()
    return [n_encoded(server, transport) - n for server, n in zip(servers, before, strict=True)]


def assert_even(found: list[float], n_calls: int = N_CALLS) -> None:
    """All calls were answered, and each server's share is its part within a fifth."""
    assert sum(found) == n_calls
    assert all(0.8 * n_calls / len(found) <= share <= 1.2 * n_calls / len(found) for share in found), found


def assert_stream_comes_as_it_goes(rpc: GrpcCaller) -> None:
    """A proxy that waited for a stream's end would wait for ever: each slice is sent after the answer before it."""
    answered = threading.Semaphore(1)

    def slices() -> Iterator[pb.EncodeRequest]:
        for one in SLICES:
            assert answered.acquire(timeout=PATIENCE_S)
            yield one

    n_answers = 0
    for _ in rpc.encode_stream(slices()):
        n_answers += 1
        answered.release()
    assert n_answers == len(SLICES)


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
        assert_even(shares(replicas.servers, "grpc", lambda: encode(request, timeout=PATIENCE_S)))

        assert replicas.end(0) == 0
        for _ in range(N_CALLS // 3):
            encode(request, timeout=PATIENCE_S)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_proxy_shares_calls_out(proxy: type[Proxy], synthetic_models: Path, tmp_path: Path) -> None:
    """REST on one connection, and one gRPC channel: each replica gets its third, within a fifth."""
    with proxied_replicas(synthetic_models, tmp_path, "--threads", 1, proxy=proxy) as (replicas, before):
        with RestCaller(before.rest_port) as rest:
            assert_even(shares(replicas.servers, "rest", lambda: rest.encode(CELLS)))
        with GrpcCaller(before.grpc_port) as rpc:
            assert_even(shares(replicas.servers, "grpc", lambda: rpc.encode(CELLS)))
            assert_stream_comes_as_it_goes(rpc)

            assert replicas.end(0, signal.SIGKILL) == -signal.SIGKILL
            replicas.begin(0)
            # Until the proxy has noticed; no call fails meanwhile.
            end = time.monotonic() + PATIENCE_S
            while not n_encoded(replicas.servers[0]) and time.monotonic() < end:
                rpc.encode(CELLS)
            assert n_encoded(replicas.servers[0])
        assert before.complaints() == []


@pytest.mark.slow
def test_a_replica_that_is_added_is_used_within_one_connection_age(synthetic_models: Path) -> None:
    """As a client of a headless Service sees it: a name gets one address more, and the channel asks for it again when a
    connection has come to its age, and not before.
    """
    age_s = 3.0
    hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    [grpc_port] = free_ports(1)
    flags = ("--grpc-port", grpc_port, "--connection-age-s", age_s, "--drain-delay-s", 0, "--threads", 1)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(RunningServer(synthetic_models, "--host", host, *flags)) for host in hosts]
        for server in servers:
            server.wait_until_ready()
        names = stack.enter_context(NameServer(hosts[:2]))
        options = [
            ("grpc.service_config", ROUND_ROBIN),
            ("grpc.enable_http_proxy", 0),
            ("grpc.use_local_subchannel_pool", 1),
            # Its default is half a minute: what a client may have to wait beyond the age.
            ("grpc.dns_min_time_between_resolutions_ms", 100),
        ]
        channel = stack.enter_context(grpc.insecure_channel(names.target(grpc_port), options))
        encode, request = EncoderServiceStub(channel).Encode, message(CELLS)
        for _ in range(30):
            encode(request, timeout=PATIENCE_S)
        assert [n_in_log(server) > 0 for server in servers] == [True, True, False]

        names.addresses = hosts
        added = time.monotonic()
        for _ in itertools.repeat(None):
            encode(request, timeout=PATIENCE_S)
            if n_in_log(servers[2]) or time.monotonic() > added + PATIENCE_S:
                break
        waited_s = time.monotonic() - added

        assert n_in_log(servers[2])
        # grpc spreads the ages of connections by a tenth; two seconds are for a busy machine.
        assert waited_s < 1.1 * age_s + 2


def n_in_log(server: RunningServer) -> int:
    """Calls that it has answered: for a server that is not at 127.0.0.1, where `metrics` would ask."""
    return sum(record["message"] == "encode ok" for record in server.records)
