from __future__ import annotations

import logging

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.core.errors import ErrorKind, ServiceError
from service.core.health import Health
from service.core.recorder import Call, Recorded, Recorder
from service.metrics import PrometheusRecorder


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
def recorder(health) -> PrometheusRecorder:
    return PrometheusRecorder(version="1.2.3", queue_capacity_cells=100, health=health)


def samples(recorder: PrometheusRecorder) -> dict[tuple[str, frozenset], float]:
    text, content_type = recorder.text()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(recorder: PrometheusRecorder, name: str, **labels: str) -> float | None:
    return samples(recorder).get((name, frozenset(labels.items())))


def call(**changes: object) -> Call:
    facts = {"transport": "rest", "operation": "encode", "request_id": "r1", "started_s": 0.0}
    return Call(**{**facts, **changes})  # type: ignore[arg-type]


def test_it_is_a_recorder(recorder):
    accepted: Recorder = recorder
    assert accepted is recorder


def test_a_call_is_in_flight_until_it_ends(recorder):
    with Recorded(recorder, call()):
        assert value(recorder, "totalvi_requests_in_flight", transport="rest") == 1
        assert recorder.n_in_flight == 1
    assert value(recorder, "totalvi_requests_in_flight", transport="rest") == 0
    assert recorder.n_in_flight == 0


def test_a_call_that_ends_well(recorder):
    with Recorded(recorder, call(started_s=1.0), clock=lambda: 1.5) as ongoing:
        ongoing.model, ongoing.model_version, ongoing.n_cells = "pbmc", "3", 7
        ongoing.phase_s.update(queue=0.25, compute=0.125)
    which = {"model": "pbmc", "version": "3"}
    labels = {"transport": "rest", "operation": "encode"}
    assert value(recorder, "totalvi_requests_total", **labels, **which, outcome="ok") == 1
    assert value(recorder, "totalvi_request_duration_seconds_sum", **labels) == 0.5
    assert value(recorder, "totalvi_request_duration_seconds_count", **labels) == 1
    assert value(recorder, "totalvi_cells_total", transport="rest", **which) == 7
    assert value(recorder, "totalvi_phase_duration_seconds_sum", phase="queue") == 0.25
    assert value(recorder, "totalvi_phase_duration_seconds_sum", phase="compute") == 0.125


def test_the_log_tells_whose_call_it_was(recorder, caplog):
    caplog.set_level(logging.INFO, "totalvi.access")
    for caller in ("alice", ""):
        with Recorded(recorder, call(caller=caller)):
            pass
    assert [getattr(record, "caller", None) for record in caplog.records] == ["alice", None]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ServiceError(ErrorKind.OVERLOADED, "full"), "overloaded"),
        (RuntimeError("bug"), "internal"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_a_call_that_ends_badly_counts_no_cells(recorder, error, outcome):
    with pytest.raises(type(error)), Recorded(recorder, call(n_cells=7, phase_s={"compute": 1.0})):
        raise error
    labels = {"transport": "rest", "operation": "encode", "model": "", "version": ""}
    assert value(recorder, "totalvi_requests_total", **labels, outcome=outcome) == 1
    assert not [name for name, _ in samples(recorder) if name == "totalvi_cells_total"]
    assert recorder.n_in_flight == 0


def test_cells_that_were_only_looked_at_are_not_counted(recorder):
    with Recorded(recorder, call(operation="validate", n_cells=7)):
        pass
    assert not [name for name, _ in samples(recorder) if name == "totalvi_cells_total"]


def test_batches_and_the_queue(recorder):
    recorder.batch_computed(64, 20_000, 0.01)
    recorder.batch_computed(32, 10_000, 0.02)
    recorder.queue_changed(25, 4096)
    assert value(recorder, "totalvi_batch_cells_sum") == 96
    assert value(recorder, "totalvi_batch_cells_count") == 2
    assert value(recorder, "totalvi_batch_entries_sum") == 30_000
    assert value(recorder, "totalvi_batch_duration_seconds_sum") == pytest.approx(0.03)
    assert value(recorder, "totalvi_queue_cells") == 25
    assert value(recorder, "totalvi_queue_bytes") == 4096
    assert value(recorder, "totalvi_queue_capacity_cells") == 100
    assert value(recorder, "totalvi_queue_ratio") == 0.25


def test_the_process_and_the_build(recorder, health):
    assert value(recorder, "totalvi_build_info", version="1.2.3") == 1
    assert value(recorder, "totalvi_ready") == 0
    health.mark_ready()
    assert value(recorder, "totalvi_ready") == 1
    health.mark_draining()
    assert value(recorder, "totalvi_ready") == 0
    names = {name for name, _ in samples(recorder)}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= names


def test_two_recorders_share_nothing(recorder, health):
    other = PrometheusRecorder(version="1", queue_capacity_cells=1, health=health)
    other.queue_changed(1, 1)
    assert value(recorder, "totalvi_queue_cells") == 0


def test_each_call_is_one_log_line_of_sizes_and_times(recorder, caplog):
    ongoing = call(model="pbmc", model_version="3", n_cells=7, phase_s={"decode": 0.0012345})
    with caplog.at_level(logging.INFO, "totalvi.access"):
        recorder.call_started(ongoing)
        recorder.call_finished(ongoing, 0.25)
    (record,) = caplog.records
    assert record.getMessage() == "encode ok"
    assert {
        name: getattr(record, name)
        for name in (
            "request_id",
            "transport",
            "operation",
            "model",
            "version",
            "n_cells",
            "outcome",
            "duration_ms",
            "phases_ms",
        )
    } == {
        "request_id": "r1",
        "transport": "rest",
        "operation": "encode",
        "model": "pbmc",
        "version": "3",
        "n_cells": 7,
        "outcome": "ok",
        "duration_ms": 250.0,
        "phases_ms": {"decode": 1.234},
    }


def test_a_lost_record_costs_no_call(recorder, caplog):
    recorder.batch_computed("many", None, None)  # type: ignore[arg-type]
    assert "a record was lost" in caplog.text
    with Recorded(recorder, call()):
        pass
