"""What is to be sent is sent beside the calls, and never at their cost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.outbox import AT_A_TIME, MOST_WAITING, SILENCE_S, Outbox
from service.spans import EndedCall, Ids, SpanMaker
from tests.fakes import FakeClock, Gate

PATIENCE_S = 10.0
IDS = Ids()


class Collector(SpanExporter):
    """Waits at its gate, then does what the test says."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.messages: list[list[str]] = []
        self.n_shut_down = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.gate.pass_through()
        self.messages.append([span.name for span in spans])
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        self.n_shut_down += 1


def ended(name: str = "call") -> EndedCall:
    return EndedCall(IDS.root(), None, name, {}, 0, 1, ())


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def outbox(collector: Collector, clock: FakeClock) -> Iterator[Outbox]:
    made = Outbox(collector, SpanMaker("1", IDS), destination="there", clock=clock, gather_s=0.0)
    yield made
    collector.gate.open()
    made.close(PATIENCE_S)
    assert "span-outbox" not in {thread.name for thread in threading.enumerate()}


def test_all_is_sent_in_order_and_in_messages_of_bounded_size(outbox: Outbox, collector: Collector) -> None:
    collector.gate.open()
    names = [f"call {i}" for i in range(3 * AT_A_TIME + 1)]
    for name in names:
        outbox.put(ended(name))
    outbox.start()
    assert outbox.close(PATIENCE_S)
    assert [name for message in collector.messages for name in message] == names
    assert max(map(len, collector.messages)) == AT_A_TIME
    assert (outbox.n_dropped, collector.n_shut_down) == (0, 1)


def test_a_collector_that_hangs_holds_nobody_and_costs_bounded_memory(outbox: Outbox, collector: Collector) -> None:
    outbox.start()
    outbox.put(ended("hangs"))
    collector.gate.wait_entered()
    for _ in range(MOST_WAITING + 5):
        outbox.put(ended())
    assert outbox.n_dropped == 5
    assert not outbox.close(0.01)
    assert collector.n_shut_down == 1, "what it waits for is ended"


def test_what_fails_is_counted_and_told_once_a_minute(
    outbox: Outbox, collector: Collector, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    collector.gate.open()

    def send(result: SpanExportResult | Exception) -> list[str]:
        caplog.clear()
        collector.result = result
        outbox.put(ended())
        outbox.send_some()
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    text = " calls and computations were not traced so far: there did not take them in time"
    assert send(SpanExportResult.FAILURE) == ["1" + text]
    assert send(ConnectionError("closed")) == send(SpanExportResult.FAILURE) == []
    clock.advance(SILENCE_S)
    assert send(SpanExportResult.SUCCESS) == ["3" + text]
    clock.advance(SILENCE_S)
    assert send(SpanExportResult.SUCCESS) == []
    assert send(SpanExportResult.FAILURE) == ["4" + text]


def test_after_the_end_nothing_is_kept(outbox: Outbox, collector: Collector) -> None:
    collector.gate.open()
    outbox.start()
    assert outbox.close(PATIENCE_S)
    outbox.put(ended())
    assert (outbox.n_dropped, collector.messages) == (1, [])


def test_one_that_never_began_ends_at_once(outbox: Outbox, collector: Collector) -> None:
    outbox.put(ended())
    assert outbox.close(PATIENCE_S)
    assert collector.messages == []
