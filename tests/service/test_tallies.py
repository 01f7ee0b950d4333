"""What is counted is what the library's own metrics would tell."""

from __future__ import annotations

from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from service import tallies


class Collected:
    def __init__(self, *some: Any) -> None:
        self._some = some

    def collect(self) -> list[Metric]:
        return [tally.family() for tally in self._some]


def told(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(prometheus_client.generate_latest(registry).decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_they_tell_what_the_librarys_own_tell() -> None:
    theirs = CollectorRegistry()
    counter = prometheus_client.Counter("c", "text", ("a", "b"), registry=theirs)
    gauge = prometheus_client.Gauge("g", "text", ("a",), registry=theirs)
    plain = prometheus_client.Gauge("p", "text", registry=theirs)
    histogram = prometheus_client.Histogram("h", "text", ("a",), buckets=(0.5, 1.0, 2.0), registry=theirs)
    lone = prometheus_client.Histogram("l", "text", buckets=(1.0,), registry=theirs)
    ours = (
        tallies.Counter("c_total", "text", ("a", "b")),
        tallies.Level("g", "text", ("a",)),
        tallies.Level("p", "text"),
        tallies.Histogram("h", "text", (0.5, 1.0, 2.0), ("a",)),
        tallies.Histogram("l", "text", (1.0,)),
    )
    for amount, labels in ((1, ("x", "y")), (2.5, ("x", "y")), (1, ("x", "z"))):
        counter.labels(*labels).inc(amount)
        ours[0].add(amount, labels)
    for amount in (3, -1):
        gauge.labels("x").inc(amount)
        ours[1].add(amount, ("x",))
    plain.set(7)
    ours[2].set(7)
    for value in (0.1, 0.5, 0.6, 1.0, 5.0):
        histogram.labels("x").observe(value)
        ours[3].observe(value, ("x",))
    registry = CollectorRegistry()
    registry.register(Collected(*ours))  # type: ignore[arg-type]
    assert told(registry) == told(theirs)
    assert lone is not None


def test_there_is_a_bound_to_their_label_values() -> None:
    counter = tallies.Counter("c_total", "text", ("a", "b"))
    level = tallies.Level("g", "text", ("a",))
    histogram = tallies.Histogram("h", "text", (1.0,), ("a",))
    n = tallies.MOST_SERIES + 50
    for number in range(n):
        counter.add(1, (str(number), "x"))
        level.add(1, (str(number),))
        histogram.observe(0.5, (str(number),), "ab")
    counter.add(1, ("0", "x"))  # what is known is counted by itself still
    registry = CollectorRegistry()
    registry.register(Collected(counter, level, histogram))  # type: ignore[arg-type]
    numbers = told(registry)
    for name in ("c_total", "g", "h_count"):
        assert len([key for key in numbers if key[0] == name]) == tallies.MOST_SERIES + 1
        assert sum(number for key, number in numbers.items() if key[0] == name) == n + (name == "c_total")
    assert numbers["c_total", frozenset({("a", "other"), ("b", "other")})] == 50
    assert numbers["c_total", frozenset({("a", "0"), ("b", "x")})] == 2
