"""A running server tells a collector of its calls, and is none the worse for one that does not listen."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.end_to_end import synthetic
from tests.end_to_end.clients import GrpcCaller, RestCaller, message
from tests.end_to_end.collector import Collector
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.end_to_end.synthetic import assert_right

CELLS = synthetic.cells(6, seed=8)
OF_REST, OF_GRPC = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
PARENT = "00f067aa0ba902b7"


def serving(models: Path, endpoint: str, *flags: object) -> RunningServer:
    return RunningServer(models, "--traces-endpoint", endpoint, "--drain-delay-s", "0", *flags)


def in_trace(spans: list[Span], trace: str) -> dict[str, Span]:
    """The spans of a trace, by their names."""
    return {span.name: span for span in spans if span.trace_id.hex() == trace}


def test_calls_of_both_transports_are_told_at_the_latest_when_the_server_ends(synthetic_models: Path) -> None:
    with Collector() as collector, serving(synthetic_models, collector.url) as server:
        server.wait_until_ready()
        with RestCaller(server.http_port) as rest, GrpcCaller(server.grpc_port) as rpc:
            answer = rest.encode(CELLS, {"traceparent": f"00-{OF_REST}-{PARENT}-01"})
            assert_right(answer, synthetic.expected(CELLS))
            metadata = (("traceparent", f"00-{OF_GRPC}-{PARENT}-01"),)
            rpc.call(rpc.stub.Encode, message(CELLS), metadata=metadata)
            rest.encode(CELLS, {"traceparent": f"00-{'ab' * 16}-{PARENT}-00"})
        assert server.stop() == 0
        spans = collector.spans
    assert set(collector.paths) == {"/v1/traces"}
    assert collector.services == {"totalvi-serve"}
    assert not in_trace(spans, "ab" * 16)
    batches = {span.span_id: span for span in spans if span.name == "compute batch"}
    assert len(batches) == 2
    for trace, name in (
        (OF_REST, "POST /v1/models/{model}/encode"),
        (OF_GRPC, "totalvi.v1.EncoderService/Encode"),
    ):
        found = in_trace(spans, trace)
        assert found.keys() == {name, "decode", "queue", "compute", "encode"}
        call = found[name]
        assert (call.kind, call.parent_span_id.hex()) == (Span.SPAN_KIND_SERVER, PARENT)
        ages_s = [time.time() - at / 1e9 for at in (call.start_time_unix_nano, call.end_time_unix_nano)]
        assert PATIENCE_S * 3 > ages_s[0] > ages_s[1] > 0
        (to_batch,) = found["compute"].links
        (to_call,) = batches[to_batch.span_id].links
        assert (to_call.trace_id, to_call.span_id) == (call.trace_id, call.span_id)


def test_a_collector_that_is_not_there_costs_no_call_and_one_line(synthetic_models: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with serving(synthetic_models, endpoint) as server:
            server.wait_until_ready()
            with RestCaller(server.http_port) as rest:
                for _ in range(20):
                    assert_right(rest.encode(CELLS), synthetic.expected(CELLS))
            began_s = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began_s < 5
            lines = [record for record in server.records if record["level"] in ("warning", "error", "critical")]
    assert len(lines) <= 2, lines
    assert all("traces" in line["message"] or "not traced" in line["message"] for line in lines)


def test_a_collector_that_never_answers_does_not_hold_the_drain(synthetic_models: Path) -> None:
    with Collector(hangs=True) as collector, serving(synthetic_models, collector.url) as server:
        server.wait_until_ready()
        with RestCaller(server.http_port) as rest:
            rest.encode(CELLS)
            collector.wait_asked()
            slow = [_seconds_of(rest) for _ in range(20)]
        began_s = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began_s < 5
        assert sorted(slow)[10] < 1.0
        server.wait_for("the last traces could not be sent")


def _seconds_of(rest: RestCaller) -> float:
    began_s = time.monotonic()
    rest.encode(CELLS)
    return time.monotonic() - began_s
