"""What operators, balancers and curious callers are told of a healthy server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller
from tests.end_to_end.operators import ask, assert_idle, metrics
from tests.end_to_end.server import PATIENCE_S, RunningServer, command
from tests.end_to_end.synthetic import assert_right

TOKEN = "correct-horse-battery"
PHASES = {"decode", "queue", "compute", "encode"}

SERVICES = {
    "totalvi.v1.EncoderService",
    "inference.GRPCInferenceService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
}

KINDS = {
    "totalvi_requests": "counter",
    "totalvi_request_duration_seconds": "histogram",
    "totalvi_requests_in_flight": "gauge",
    "totalvi_phase_duration_seconds": "histogram",
    "totalvi_cells": "counter",
    "totalvi_batch_cells": "histogram",
    "totalvi_batch_entries": "histogram",
    "totalvi_batch_duration_seconds": "histogram",
    "totalvi_queue_cells": "gauge",
    "totalvi_queue_bytes": "gauge",
    "totalvi_queue_ratio": "gauge",
    "totalvi_body_bytes": "gauge",
    "totalvi_queue_capacity_cells": "gauge",
    "totalvi_queue_capacity_bytes": "gauge",
    "totalvi_queue_oldest_age_seconds": "gauge",
    "totalvi_queue_dropped_cells": "counter",
    "totalvi_body_capacity_bytes": "gauge",
    "totalvi_refusals": "counter",
    "totalvi_coverage_ratio": "histogram",
    "totalvi_worker_busy_seconds": "counter",
    "totalvi_worker_batch_age_seconds": "gauge",
    "totalvi_model_state": "gauge",
    "totalvi_model_last_load_successful": "gauge",
    "totalvi_model_loads": "counter",
    "totalvi_model_load_duration_seconds": "gauge",
    "totalvi_memory_limit_bytes": "gauge",
    "totalvi_device_memory_bytes": "gauge",
    "totalvi_build_info": "gauge",
    "totalvi_ready": "gauge",
}


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        yield channel


@pytest.mark.parametrize("probe", ["livez", "readyz", "startupz"])
def test_probes(server: RunningServer, probe: str) -> None:
    response = ask(server, probe)

    assert (response.status_code, response.text) == (200, "ok")


def test_the_healthcheck_command(server: RunningServer) -> None:
    well = command("healthcheck", environ={"TOTALVI_ADMIN_PORT": str(server.admin_port)})
    alive = command("healthcheck", "--live", environ={"TOTALVI_ADMIN_PORT": str(server.admin_port)})
    lost = command("healthcheck", "--url", f"http://127.0.0.1:{server.admin_port}/lostz")

    assert (well.returncode, well.stdout, well.stderr) == (0, "", "")
    assert (alive.returncode, alive.stdout, alive.stderr) == (0, "", "")
    assert (lost.returncode, lost.stdout) == (1, "")
    (line,) = lost.stderr.splitlines()
    assert line.endswith("/lostz answered 404: the server's log says why")


def test_the_ports_keep_to_their_callers(server: RunningServer) -> None:
    for path in ("metrics", "livez", "readyz", "startupz"):
        url = f"http://127.0.0.1:{server.http_port}/{path}"
        assert httpx.get(url, timeout=PATIENCE_S, trust_env=False).status_code == 404
    for path in ("v1/models", "docs", "openapi.json"):
        assert ask(server, path).status_code == 404


def test_metrics_are_what_prometheus_reads(server: RunningServer) -> None:
    response = ask(server, "metrics")
    families = {family.name: family for family in text_string_to_metric_families(response.text)}

    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert {name: families[name].type for name in KINDS} == KINDS
    assert [name for name in KINDS if not families[name].documentation] == []
    found = metrics(server)
    assert found["totalvi_ready",] == 1.0
    assert found["totalvi_queue_capacity_cells",] == 65536.0
    assert found["process_resident_memory_bytes",] > 0.0


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_call_is_counted_once(server: RunningServer, rest: RestCaller, rpc: GrpcCaller, transport: str) -> None:
    cells = synthetic.cells(9, seed=4)
    counted = {
        ("totalvi_requests_total", synthetic.NAME, "encode", "ok", transport, "2"): 1,
        ("totalvi_cells_total", synthetic.NAME, transport, "2"): 9,
        ("totalvi_request_duration_seconds_count", "encode", transport): 1,
        ("totalvi_batch_cells_count",): 1,
        ("totalvi_batch_cells_sum",): 9,
        ("totalvi_batch_entries_sum",): int((cells.gene_counts > 0).sum()),
        ("totalvi_batch_duration_seconds_count",): 1,
        ("totalvi_phase_duration_seconds_count", "compute"): 1,
        ("totalvi_phase_duration_seconds_count", "queue"): 1,
        ("totalvi_coverage_ratio_count", "genes", synthetic.NAME): 1,
        ("totalvi_coverage_ratio_sum", "proteins", synthetic.NAME): 1,
    }

    before = metrics(server)
    answer = {"rest": rest, "grpc": rpc}[transport].encode(cells)
    after = metrics(server)

    assert_right(answer, synthetic.expected(cells))
    assert {key: after[key] - before.get(key, 0.0) for key in counted} == counted
    assert_idle(server)


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_a_call_is_timed_and_found_in_the_log(
    server: RunningServer, rest: RestCaller, rpc: GrpcCaller, transport: str
) -> None:
    answer = {"rest": rest, "grpc": rpc}[transport].encode(synthetic.cells(3))

    record = server.wait_for_record(lambda record: record.get("request_id") == answer.headers["x-request-id"])
    timed = [part.partition(";dur=") for part in answer.headers["server-timing"].split(", ")]
    assert [name for name, _, _ in timed] == ["decode", "queue", "compute", "encode"]
    assert all(float(milliseconds) >= 0 for _, _, milliseconds in timed)
    assert record["n_bytes"] > 0 and record["duration_ms"] > 0 and record["phases_ms"].keys() == PHASES
    assert {name: record[name] for name in ("transport", "operation", "model", "version", "n_cells", "outcome")} == {
        "transport": transport,
        "operation": "encode",
        "model": synthetic.NAME,
        "version": "2",
        "n_cells": 3,
        "outcome": "ok",
    }
    assert (record["priority"], record["status"]) == ("interactive", {"rest": "200", "grpc": "OK"}[transport])


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_the_log_has_what_the_caller_of_a_wrong_call_was_told(
    server: RunningServer, rest: RestCaller, rpc: GrpcCaller, transport: str
) -> None:
    name = 'nobody"}{x="'
    with pytest.raises(Refused) as refused:
        {"rest": rest, "grpc": rpc}[transport].encode(synthetic.cells(1).but(model=name))

    request_id = refused.value.headers["x-request-id"]
    record = server.wait_for_record(lambda record: record.get("request_id") == request_id)
    assert (record["outcome"], record["status"]) == ("not_found", {"rest": "404", "grpc": "NOT_FOUND"}[transport])
    assert (record["model"], record["n_cells"]) == ("", 0)
    assert "nobody" not in ask(server, "metrics").text + str(record), "no caller's word becomes a label"


def test_the_log_level_changes_while_it_runs(models: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    calls = [f"call-{number}" for number in range(4)]
    with RunningServer(models, "--admin-token-file", tmp_path / "token", "--drain-delay-s", "0") as running:
        running.wait_until_ready()
        url = f"http://127.0.0.1:{running.admin_port}/admin/log-level"
        bearer = {"Authorization": f"Bearer {TOKEN}"}

        def set_level(level: str) -> httpx.Response:
            return httpx.put(url, json={"level": level}, headers=bearer, timeout=PATIENCE_S, trust_env=False)

        with RestCaller(running.http_port) as caller:
            for call, level in zip(calls, ("info", "warning", "debug", "error"), strict=True):
                assert set_level(level).json() == {"level": level}
                caller.encode(synthetic.cells(2).but(cells=["secret-cell-1", "secret-cell-2"]), {"X-Request-Id": call})
        assert httpx.get(url, headers=bearer, trust_env=False).json() == {"level": "error"}
        assert httpx.put(url, json={"level": "info"}, trust_env=False).status_code == 401
        assert set_level("loud").status_code == 422
        assert running.stop() == 0
        logged = [record["request_id"] for record in running.records if record["logger"] == "totalvi.access"]
        assert [call for call in calls if call in logged] == [calls[0], calls[2]]
        changes = [record["message"] for record in running.records if "log level" in record["message"]]
        assert [message.split()[4] for message in changes] == ["warning", "debug", "error"]
        assert "secret-cell" not in "".join(running.lines), "at no level"


@pytest.mark.parametrize("service", ["", "totalvi.v1.EncoderService"])
def test_grpc_health(channel: grpc.Channel, service: str) -> None:
    """As grpc_health_probe and Kubernetes ask."""
    request = health_pb2.HealthCheckRequest(service=service)
    stub = health_pb2_grpc.HealthStub(channel)

    assert stub.Check(request, timeout=PATIENCE_S).status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(request, timeout=PATIENCE_S)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()


def test_grpc_health_of_a_service_that_is_not_here(channel: grpc.Channel) -> None:
    request = health_pb2.HealthCheckRequest(service="nobody")
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE_S)

    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection(channel: grpc.Channel) -> None:
    """As grpcurl asks."""
    listing = reflection_pb2.ServerReflectionRequest(list_services="")
    symbol = reflection_pb2.ServerReflectionRequest(file_containing_symbol="totalvi.v1.EncoderService")
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    listed, described = stub.ServerReflectionInfo(iter([listing, symbol]), timeout=PATIENCE_S)

    assert {service.name for service in listed.list_services_response.service} == SERVICES
    assert any(b"EncodeRequest" in file for file in described.file_descriptor_response.file_descriptor_proto)
