from __future__ import annotations

import logging

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from service.core.errors import ErrorKind, ServiceError
from service.core.priority import Priority
from service.core.recorder import Call, Recorded, Recorder
from service.metrics import OPEN_METRICS, TEXT, PrometheusRecorder


@pytest.fixture
def recorder() -> PrometheusRecorder:
    return PrometheusRecorder()


def samples(recorder: PrometheusRecorder) -> dict[tuple[str, frozenset], float]:
    text, content_type = recorder.text()
    assert content_type == TEXT
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


def test_the_process(recorder):
    names = {name for name, _ in samples(recorder)}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info"} <= names


def test_refusals_by_what_was_full(recorder):
    for bound in ("queue", "queue", "bodies"):
        with pytest.raises(ServiceError), Recorded(recorder, call()):
            raise ServiceError(ErrorKind.OVERLOADED, "full", bound=bound)
    with pytest.raises(ServiceError), Recorded(recorder, call()):
        raise ServiceError(ErrorKind.DEADLINE, "late")
    assert value(recorder, "totalvi_refusals_total", transport="rest", bound="queue") == 2
    assert value(recorder, "totalvi_refusals_total", transport="rest", bound="bodies") == 1


def test_the_coverage_of_what_was_held_against_a_model(recorder):
    with Recorded(recorder, call(model="pbmc", gene_coverage=0.8, protein_coverage=1.0)):
        pass
    with Recorded(recorder, call()):
        pass
    assert value(recorder, "totalvi_coverage_ratio_sum", model="pbmc", columns="genes") == 0.8
    assert value(recorder, "totalvi_coverage_ratio_bucket", model="pbmc", columns="genes", le="0.75") == 0
    assert value(recorder, "totalvi_coverage_ratio_bucket", model="pbmc", columns="genes", le="0.9") == 1
    assert value(recorder, "totalvi_coverage_ratio_count", model="pbmc", columns="proteins") == 1
    assert len([key for key in samples(recorder) if key[0] == "totalvi_coverage_ratio_count"]) == 2


def test_a_traced_call_is_the_exemplar_of_its_bucket(recorder):
    for trace_id, seconds in (("a" * 32, 0.002), ("b" * 32, 0.0021), (None, 0.0022), ("c" * 32, 4.0)):
        with Recorded(recorder, call(trace_id=trace_id), clock=lambda seconds=seconds: seconds):
            pass
    text, content_type = recorder.text("application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5")
    assert content_type == OPEN_METRICS
    exemplars = {
        sample.labels["le"]: (sample.exemplar.labels, sample.exemplar.value)
        for family in open_metrics_families(text.decode())
        for sample in family.samples
        if sample.exemplar
    }
    assert exemplars == {"0.0025": ({"trace_id": "b" * 32}, 0.0021), "5.0": ({"trace_id": "c" * 32}, 4.0)}
    assert b"trace_id" not in recorder.text()[0]


@pytest.mark.parametrize("accept", ["", "*/*", "text/plain; version=x.y", "nonsense;;=,", "application/json"])
def test_whoever_does_not_ask_for_open_metrics_gets_text(recorder, accept):
    assert recorder.text(accept)[1] == TEXT


def test_a_part_that_cannot_be_read_costs_no_other(recorder, caplog):
    def fail():
        raise RuntimeError("the device is lost")

    recorder.watch("totalvi_lost_bytes", "Not there.", fail)
    recorder.watch("totalvi_there_bytes", "There.", lambda: 7)
    assert value(recorder, "totalvi_there_bytes") == 7
    assert value(recorder, "totalvi_lost_bytes") is None
    assert caplog.text.count("totalvi_lost_bytes cannot be read") == 1, "told when it begins"


def test_two_recorders_share_nothing(recorder):
    other = PrometheusRecorder()
    other.queue_changed(1, 1)
    assert value(recorder, "totalvi_queue_cells") == 0


def test_each_call_is_one_log_line_of_sizes_and_times(recorder, caplog):
    ongoing = call(model="pbmc", model_version="3", n_cells=7, phase_s={"decode": 0.0012345}, n_bytes=512, status="200")
    ongoing.priority = Priority.BULK
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
            "priority",
            "n_cells",
            "n_bytes",
            "outcome",
            "status",
            "duration_ms",
            "phases_ms",
        )
    } == {
        "request_id": "r1",
        "transport": "rest",
        "operation": "encode",
        "model": "pbmc",
        "version": "3",
        "priority": "bulk",
        "n_cells": 7,
        "n_bytes": 512,
        "outcome": "ok",
        "status": "200",
        "duration_ms": 250.0,
        "phases_ms": {"decode": 1.234},
    }
    assert not {"trace_id", "bound", "caller"} & vars(record).keys(), "only where there is one"


def test_the_log_tells_the_trace_and_what_was_full(recorder, caplog):
    with caplog.at_level(logging.INFO, "totalvi.access"), pytest.raises(ServiceError):  # noqa: SIM117
        with Recorded(recorder, call(trace_id="a" * 32)):
            raise ServiceError(ErrorKind.OVERLOADED, "full", bound="bodies")
    (record,) = caplog.records
    assert (record.trace_id, record.bound, record.outcome) == ("a" * 32, "bodies", "overloaded")


def test_a_lost_record_costs_no_call(recorder, caplog):
    recorder.batch_computed("many", None, None)  # type: ignore[arg-type]
    assert "a record was lost" in caplog.text
    with Recorded(recorder, call()):
        pass
