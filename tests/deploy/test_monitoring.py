"""The alerts, the dashboard and the autoscaler's metrics, by themselves and by promtool."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.monitoring import (
    FOLDER,
    PROMTOOL,
    WHY_NOT,
    adapter_queries,
    alerts,
    dashboard,
    dashboard_queries,
    panels,
    rule_groups,
    without_threshold,
)
from tests.saves import ROOT

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
ALERTS = {alert["alert"]: alert for alert in alerts()}
POD = 'job="totalvi-serve",namespace="n",pod="a"'
OTHER = 'job="totalvi-serve",namespace="n",pod="b"'
KNOWN = set(re.findall(r"^\| `((?:totalvi)_\w+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
KNOWN |= {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=WHY_NOT)


def promtool(*arguments: object, given: str = "") -> str:
    """What promtool says, which must be that all is well."""
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], input=given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_says_how_bad_it_is_and_what_to_do(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"]["summary"].endswith(".")
    assert alert["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
    section = RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    for what in ("**What it means.**", "**Where to look.**", "**What to do.**"):
        assert what in section


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    assert set(re.findall(r"^## (Totalvi\w+)$", RUNBOOK, re.MULTILINE)) == ALERTS.keys()


def test_only_metrics_that_there_are() -> None:
    queries = [
        query.expression for query in (*dashboard_queries(), *adapter_queries("")) if "ALERTS" not in query.expression
    ]
    queries += [alert["expr"] for alert in alerts()]
    for query in queries:
        names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:totalvi|process)_\w+", query)}
        assert names <= KNOWN, query
        assert names or "up{" in query


def test_the_dashboard_can_be_loaded() -> None:
    board = dashboard()
    assert board["uid"] == board["title"] == "totalvi-serve"
    everything = board["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not own & places, panel["title"]
        places |= own
    for panel in panels():
        assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            assert 'namespace=~"$namespace", pod=~"$pod"' in target["expr"]


def test_what_the_overlay_adds() -> None:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    named = [name for name in kustomization["resources"] if name != "../../base"]
    named += [file for generated in kustomization["configMapGenerator"] for file in generated["files"]]
    assert {*named, "kustomization.yaml", "prometheus-adapter.yaml"} == {path.name for path in FOLDER.iterdir()}
    (endpoint,) = yaml.safe_load((FOLDER / "service-monitor.yaml").read_text())["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("ops", "/metrics")


@needs_promtool
def test_the_rules_are_well_formed(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(json.dumps(rule_groups()))
    assert f"{len(ALERTS)} rules found" in promtool("check", "rules", "--lint=all", "--lint-fatal", file)


def series(*some: tuple[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in some]


def shares(outcome: str, per_minute: int) -> list[dict[str, str]]:
    """A hundred calls a minute, of which so many end like that from the 20th minute on."""
    labels = 'transport="rest",operation="encode",model="m",version="1"'
    name = f"totalvi_requests_total{{{POD},{labels},outcome="
    return series((f'{name}"ok"}}', "0+100x60"), (f'{name}"{outcome}"}}', f"0x20 0+{per_minute}x40"))


def slow(bound: str) -> list[dict[str, str]]:
    """A hundred calls a minute of encoding, of which two take up to 2.5 s from the 20th minute on."""
    name = f'totalvi_request_duration_seconds_bucket{{{POD},transport="rest",operation="encode",le='
    early = "0+98x60" if bound == "bad" else "0+100x60"
    return series((f'{name}"0.5"}}', early), (f'{name}"2.5"}}', "0+100x60"), (f'{name}"+Inf"}}', "0+100x60"))


DAY = 24 * 60

# By alert: a past that must not raise it, one that must, and the minute in which it is looked at.
PASTS: dict[str, tuple[Sequence[dict[str, str]], Sequence[dict[str, str]], int]] = {
    "TotalviGone": (series((f"up{{{POD}}}", "0x8 1x52")), series((f"up{{{POD}}}", "1x8 0x52")), 30),
    "TotalviNoneReady": (
        series((f"totalvi_ready{{{POD}}}", "0x60"), (f"totalvi_ready{{{OTHER}}}", "1x60")),
        series((f"totalvi_ready{{{POD}}}", "1x8 0x52")),
        10,
    ),
    "TotalviDown": (series((f"up{{{POD}}}", "1x8 0 1x51")), series((f"up{{{POD}}}", "1x8 0x52")), 12),
    "TotalviNotReady": (
        series((f"totalvi_ready{{{POD}}}", "1x8 0x3 1x49")),
        series((f"totalvi_ready{{{POD}}}", "1x8 0x52")),
        15,
    ),
    "TotalviRestarts": (
        series((f"process_start_time_seconds{{{POD}}}", "100x10 200x20 300x30")),
        series((f"process_start_time_seconds{{{POD}}}", "100x10 200x5 300x5 400x40")),
        35,
    ),
    "TotalviMemory": (
        series(
            (f"process_resident_memory_bytes{{{POD}}}", "80x60"), (f"totalvi_memory_limit_bytes{{{POD}}}", "100x60")
        ),
        series(
            (f"process_resident_memory_bytes{{{POD}}}", "95x60"), (f"totalvi_memory_limit_bytes{{{POD}}}", "100x60")
        ),
        10,
    ),
    "TotalviDeviceMemory": (
        series(
            (f'totalvi_device_memory_bytes{{{POD},device="cuda:0",kind="used"}}', "90x60"),
            (f'totalvi_device_memory_bytes{{{POD},device="cuda:0",kind="total"}}', "100x60"),
        ),
        series(
            (f'totalvi_device_memory_bytes{{{POD},device="cuda:0",kind="used"}}', "99x60"),
            (f'totalvi_device_memory_bytes{{{POD},device="cuda:0",kind="total"}}', "100x60"),
        ),
        15,
    ),
    "TotalviErrors": (shares("invalid", 50), shares("internal", 5), 40),
    "TotalviRefusals": (shares("overloaded", 4), shares("overloaded", 10), 45),
    "TotalviLate": (shares("cancelled", 50), shares("deadline", 10), 45),
    "TotalviSlow": (slow("good"), slow("bad"), 45),
    "TotalviQueueAge": (
        series((f"totalvi_queue_oldest_age_seconds{{{POD}}}", "0x8 15 0x51")),
        series((f"totalvi_queue_oldest_age_seconds{{{POD}}}", "0x8 15x52")),
        12,
    ),
    "TotalviWorkerStuck": (
        series((f"totalvi_worker_batch_age_seconds{{{POD}}}", "0.2x60")),
        series((f"totalvi_worker_batch_age_seconds{{{POD}}}", "0.2x8 40x52")),
        10,
    ),
    "TotalviModelLoadFails": (
        series((f'totalvi_model_last_load_successful{{{POD},model="m",version="1"}}', "1x60")),
        series((f'totalvi_model_last_load_successful{{{POD},model="m",version="1"}}', "1x8 0x52")),
        12,
    ),
    "TotalviCertificateExpires": (
        series((f"totalvi_certificate_expiry_timestamp_seconds{{{POD}}}", f"{60 * 9 * DAY}x60")),
        series((f"totalvi_certificate_expiry_timestamp_seconds{{{POD}}}", f"{60 * 6 * DAY}x60")),
        20,
    ),
    "TotalviTokenExpires": (
        series(
            (f'totalvi_token_expiry_timestamp_seconds{{{POD},caller="a"}}', f"{60 * 4 * DAY}x60"),
            (f'totalvi_token_expiry_timestamp_seconds{{{POD},caller="gone"}}', "1x60"),
        ),
        series((f'totalvi_token_expiry_timestamp_seconds{{{POD},caller="a"}}', f"{60 * 2 * DAY}x60")),
        20,
    ),
}


def firing(past: Sequence[dict[str, str]], minute: int, alert: str, fires: bool) -> dict[str, Any]:
    expression = f'count by (alertname) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else []
    asked = [{"expr": expression, "eval_time": f"{minute}m", "exp_samples": expected}]
    return {"interval": "1m", "input_series": past, "promql_expr_test": asked}


def run_tests(folder: Path, tests: list[dict[str, Any]]) -> None:
    (folder / "rules.yaml").write_text(json.dumps(rule_groups()))
    file = folder / "tests.yaml"
    file.write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", file)


def test_every_alert_has_a_past() -> None:
    assert PASTS.keys() == ALERTS.keys()


@needs_promtool
@pytest.mark.parametrize("name", PASTS)
def test_an_alert_fires_when_it_must_and_only_then(tmp_path: Path, name: str) -> None:
    quiet, loud, minute = PASTS[name]
    run_tests(tmp_path, [firing(quiet, minute, name, False), firing(loud, minute, name, True)])


@needs_promtool
def test_what_people_are_told(tmp_path: Path) -> None:
    labels = {"severity": "warning", "namespace": "n"}
    told = {
        "eval_time": "45m",
        "alertname": "TotalviRefusals",
        "exp_alerts": [
            {
                "exp_labels": labels,
                "exp_annotations": {
                    "summary": "16.67% of the calls are refused, as there is more load than the replicas can carry.",
                    "runbook_url": "docs/runbook.md#totalvirefusals",
                },
            }
        ],
    }
    run_tests(tmp_path, [{"interval": "1m", "input_series": shares("overloaded", 20), "alert_rule_test": [told]}])


@needs_promtool
def test_what_the_autoscaler_is_told(tmp_path: Path) -> None:
    """A minute's mean for each pod, and the share of time that its worker computes; of others nothing."""
    queries = {query.where: query.expression for query in adapter_queries('namespace="n",pod=~"a|b"')}
    assert queries.keys() == {"totalvi_queue_ratio", "totalvi_worker_busy_ratio"}
    at = 'job="totalvi-serve",namespace="n",instance="x",pod='
    past = series(
        (f'totalvi_queue_ratio{{{at}"a",priority="interactive"}}', "0x10 0 0.4 0 0.4 0x20"),
        (f'totalvi_queue_ratio{{{at}"a",priority="bulk"}}', "0x11 0.1x30"),
        (f'totalvi_queue_ratio{{{at}"b",priority="interactive"}}', "0.5x40"),
        (f'totalvi_queue_ratio{{{at}"b",priority="bulk"}}', "1x40"),
        (f'totalvi_queue_ratio{{{at}"other",priority="bulk"}}', "1x40"),
        (f'totalvi_worker_busy_seconds_total{{{at}"a"}}', "0+15x40"),
        (f'totalvi_worker_busy_seconds_total{{{at}"b"}}', "0+3x40"),
    )

    def asked(name: str, time: str, a: float, b: float) -> dict[str, Any]:
        expected = [{"labels": f'{{pod="{pod}"}}', "value": value} for pod, value in (("a", a), ("b", b))]
        return {"expr": queries[name], "eval_time": time, "exp_samples": expected}

    tests = [
        asked("totalvi_queue_ratio", "2m", 0.0, 1.0),
        asked("totalvi_queue_ratio", "3m37s", 0.2, 1.0),
        asked("totalvi_worker_busy_ratio", "2m30s", 1.0, 0.2),
    ]
    run_tests(tmp_path, [{"interval": "15s", "input_series": past, "promql_expr_test": tests}])


def test_thresholds_are_found() -> None:
    assert without_threshold("a / b > 0.01") == "a / b"
    assert without_threshold("0 < a - time() < 3 * 86400") == "a - time()"
    for alert in alerts():
        assert without_threshold(alert["expr"]) != alert["expr"] or "absent" in alert["expr"]
