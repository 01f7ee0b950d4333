"""A real Prometheus scrapes running replicas, and finds what the dashboard, the alerts and the autoscaler ask for."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme

from tests.certificates import Files
from tests.deploy.monitoring import (
    PROMTOOL,
    WHY_NOT,
    adapter_queries,
    alerts,
    dashboard_queries,
    rule_groups,
    without_threshold,
)
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller
from tests.end_to_end.operators import admin, ask, until
from tests.end_to_end.prometheus import PROMETHEUS, Prometheus
from tests.end_to_end.server import RunningServer
from tests.end_to_end.synthetic import assert_right

pytestmark = pytest.mark.skipif(PROMETHEUS is None or PROMTOOL is None, reason=WHY_NOT)

TOKEN = "correct-horse-battery"
MAX_QUEUE_CELLS = 8
DELAY_MS = 400
"""For which an idle encoder waits for company: so long the queue of a lone call stays full."""

NOT_HERE = ("totalvi_device_memory_bytes", "totalvi_memory_limit_bytes", "absent(")
"""What no machine of the tests has for certain: a GPU, a container with a limit; and no replica at all."""

OF_FAULTS = ("annotation Alerts", "annotation Restarts")
"""Queries of the dashboard that find something only where an alert has lasted, or a process began anew."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """Two replicas after load, and who has watched them: `busy` had all of it, `closed` has TLS and tokens."""

    busy: RunningServer
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(synthetic_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    models = shutil.copytree(synthetic_models, folder / "models")
    (folder / "admin").write_text(TOKEN)
    (folder / "tokens").write_text(f"analysis {'t' * 16} 2999-01-01\n")
    files = Files(folder)
    files.write(trustme.CA())
    flags = ("--admin-token-file", folder / "admin", "--max-queue-cells", MAX_QUEUE_CELLS, "--max-delay-ms", DELAY_MS)
    secrets = ("--tls-cert", files.cert, "--tls-key", files.key, "--tokens-file", folder / "tokens")
    with RunningServer(models, *flags) as busy, RunningServer(synthetic_models, *secrets) as closed:
        ports = {"busy": busy.wait_until_ready().admin_port, "closed": closed.wait_until_ready().admin_port}
        with Prometheus(folder / "prometheus", ports, rule_groups()) as prometheus:
            # What counts must be seen before it counts, or there is no rate.
            assert until(lambda: all(prometheus.scrapes(pod) >= 2 for pod in ports))
            for _ in range(2):
                put_load_on(busy)
                prometheus.scrape_again(*ports)
            fail_to_load(busy, models)
            prometheus.scrape_again(*ports)
            yield Watched(busy, prometheus)


def put_load_on(server: RunningServer) -> None:
    """Calls of both transports that end well, are wrong, are refused, are late."""
    cells = synthetic.cells(3)
    whole_queue = synthetic.cells(MAX_QUEUE_CELLS)
    with (
        RestCaller(server.http_port) as rest,
        GrpcCaller(server.grpc_port) as rpc,
        concurrent.futures.ThreadPoolExecutor() as callers,
    ):
        assert_right(rest.encode(cells), synthetic.expected(cells))
        first = callers.submit(rpc.encode, whole_queue)
        # The first waits for company, and so long the queue is full.
        until(lambda: 'totalvi_requests_in_flight{transport="grpc"} 1.0' in ask(server, "metrics").text)
        with pytest.raises(Refused) as refused:
            rest.encode(whole_queue)
        assert refused.value.code == "overloaded"
        first.result()
        for ask_for, headers in ((cells, {"X-Request-Timeout-Ms": "5"}), (cells.but(model="nobody"), {})):
            with pytest.raises(Refused):
                rest.encode(ask_for, headers)


def fail_to_load(server: RunningServer, models: Path) -> None:
    """A version that is damaged."""
    broken = models / synthetic.NAME / "9" / "encoder.pt"
    broken.parent.mkdir()
    broken.write_bytes(b"no model")
    assert admin(server, "POST", f"/{synthetic.NAME}/load", TOKEN).status_code == 422


def test_every_target_is_up(watched: Watched) -> None:
    def states() -> list[tuple[str, str, str]]:
        targets = watched.prometheus.ask("targets")["activeTargets"]
        return [(target["labels"]["pod"], target["health"], target["lastError"]) for target in targets]

    # One scrape of many may be late on a busy machine.
    well = [("busy", "up", ""), ("closed", "up", "")]
    until(lambda: states() == well)
    assert states() == well


def test_it_has_the_numbers_of_the_server(watched: Watched) -> None:
    def numbers(expression: str) -> dict[str, float]:
        found = watched.prometheus.values(expression)
        return {" ".join(value for _, value in labels): number for labels, number in found.items()}

    calls = 'sum by (transport, outcome) (totalvi_requests_total{pod="busy"})'
    assert numbers(calls) == {
        "ok rest": 2,
        "ok grpc": 2,
        "overloaded rest": 2,
        "deadline rest": 2,
        "not_found rest": 2,
    }
    assert numbers("totalvi_queue_capacity_cells") != {}
    assert numbers("sum by (bound) (totalvi_refusals_total)") == {"queue": 2}
    assert numbers('sum by (transport) (totalvi_cells_total{pod="busy"})') == {"rest": 6, "grpc": 2 * MAX_QUEUE_CELLS}
    assert numbers('sum(totalvi_queue_dropped_cells_total{pod="busy"})') == {"": 6}
    assert numbers('max(max_over_time(totalvi_queue_ratio{pod="busy"}[1m]))')[""] <= 1
    assert numbers('min(totalvi_model_last_load_successful{pod="busy", version="9"})') == {"": 0}
    assert numbers("totalvi_token_expiry_timestamp_seconds > 32e9") != {}
    assert numbers("totalvi_certificate_expiry_timestamp_seconds > time()") != {}


def test_every_query_of_the_dashboard_finds_something(watched: Watched) -> None:
    empty = [query for query in dashboard_queries() if not watched.prometheus.values(query.expression)]
    not_here = [query.where for query in empty if any(name in query.expression for name in NOT_HERE)]
    assert {query.where for query in empty} == {*not_here, *OF_FAULTS}, "asked for without an error at least"


def test_every_alert_can_be_asked_for(watched: Watched) -> None:
    """Those of faults that are not here find nothing, without an error; what they hold against a threshold is there."""
    groups = watched.prometheus.ask("rules")["groups"]
    rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert rules.keys() == {alert["alert"] for alert in alerts()}
    assert until(lambda: all(rule["health"] == "ok" for rule in _rules(watched.prometheus)))
    assert [rule["lastError"] for rule in _rules(watched.prometheus) if rule.get("lastError")] == []
    for alert in alerts():
        found = watched.prometheus.values(alert["expr"])
        # What is put on them is wrong on purpose: of these few calls some are late and some refused.
        fires = alert["alert"] in ("TotalviModelLoadFails", "TotalviRefusals", "TotalviLate")
        assert bool(found) == fires, alert["alert"]
        # No call has failed by a fault of the service, so there is no share of these either.
        if alert["alert"] != "TotalviErrors" and not any(name in alert["expr"] for name in NOT_HERE):
            assert watched.prometheus.values(without_threshold(alert["expr"])), alert["alert"]


def _rules(prometheus: Prometheus) -> list[dict[str, str]]:
    return [rule for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]


def test_the_autoscaler_finds_both_metrics_of_every_pod(watched: Watched) -> None:
    for query in adapter_queries('namespace="test",pod=~"busy|closed"'):
        found = watched.prometheus.values(query.expression)
        assert found.keys() == {(("pod", "busy"),), (("pod", "closed"),)}, query
        assert all(0 <= number <= 1 for number in found.values())


def test_promtool_finds_no_fault_in_what_is_told(watched: Watched) -> None:
    """In the text format, which is the one that it checks."""
    done = subprocess.run(
        [str(PROMTOOL), "check", "metrics"],
        input=ask(watched.busy, "metrics").text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_prometheus_asks_for_open_metrics(watched: Watched) -> None:
    """Else it would get no exemplar."""
    accept = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"
    url = f"http://127.0.0.1:{watched.busy.admin_port}/metrics"
    answer = httpx.get(url, headers={"Accept": accept}, trust_env=False)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
