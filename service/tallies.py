"""Counters and histograms that cost a call next to nothing: plain numbers, read when Prometheus scrapes.

The client library's own look up their labels and take a lock at each of a call's dozen numbers; for a
call of one cell that is as much as reading its counts. Whoever owns these serialises the access to them.
"""

from __future__ import annotations

import bisect
import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar

log = logging.getLogger(__name__)

Labels: TypeAlias = tuple[str, ...]

ByLabels: TypeAlias = Mapping[Any, float]
"""Numbers by `Labels`; `Any`, as a mapping of pairs would not pass for one of tuples of any length."""

MOST_SERIES: Final = 1000
"""Label values that a metric has of its own; what comes later is counted together, as `OTHER`."""

OTHER: Final = "other"


class Tally(Protocol):
    """A metric: what it is, and its numbers now.

    Attributes:
        name: as it is scraped, with `_total` where it counts.
        text: what it is.
        labels: their names.
        kind: `counter`, `gauge` or `histogram`.
    """

    name: str
    text: str
    labels: Labels
    kind: str

    def family(self) -> Metric:
        """The numbers now."""
        ...


class _Numbers:
    """Numbers by label values, as a family of `_KIND`."""

    _KIND: type[CounterMetricFamily] | type[GaugeMetricFamily]
    kind: str

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._numbers: dict[Labels, float] = {}

    def add(self, amount: float, labels: Labels = ()) -> None:
        """Add to the number of these label values."""
        number = self._numbers.get(labels)
        if number is None:
            labels = _bounded(labels, self._numbers)
            number = self._numbers.get(labels, 0.0)
        self._numbers[labels] = number + amount

    def family(self) -> Metric:
        """The numbers now."""
        return _family(self._KIND, self, self._numbers)


class Counter(_Numbers):
    """Sums by label values.

    Args:
        name: of the metric; it ends in `_total`.
        text: what it counts.
        labels: their names.
    """

    _KIND = CounterMetricFamily
    kind = "counter"


class Level(_Numbers):
    """Numbers that go up and down, by label values; 0 at first where there are no labels.

    Args:
        name: of the metric.
        text: what it is.
        labels: their names.
    """

    _KIND = GaugeMetricFamily
    kind = "gauge"

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        super().__init__(name, text, labels)
        if not labels:
            self.set(0.0)

    def set(self, level: float) -> None:
        """Set the number, where there are no labels."""
        self._numbers[()] = level


class Reading:
    """A number that another part keeps, or numbers by label values, read whenever somebody asks.

    A part that cannot be read costs its own numbers and no others.

    Args:
        name: of the metric; with `_total` it counts, and the part must never count down.
        text: what it is.
        read: the number, or the numbers by label values.
        labels: their names.
    """

    def __init__(self, name: str, text: str, read: Callable[[], float | ByLabels], labels: Labels = ()) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.kind = "counter" if name.endswith("_total") else "gauge"
        self._read = read
        self._trouble = ""

    def family(self) -> Metric:
        """The numbers now."""
        numbers: ByLabels = {}
        trouble = ""
        try:
            read = self._read()
            numbers = read if isinstance(read, Mapping) else {(): read}
        except Exception as error:
            trouble = repr(error)
            if trouble != self._trouble:
                log.warning("%s cannot be read", self.name, exc_info=True)
        self._trouble = trouble
        return _family(CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily, self, numbers)


class Histogram:
    """How often a value was at most so large, by label values.

    Args:
        name: of the metric.
        text: what is observed.
        bounds: ascending.
        labels: their names.
    """

    kind = "histogram"

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Labels = ()) -> None:
        self.name, self.text, self.labels = name, text, labels
        self._bounds = tuple(bounds)
        self._titles = [*map(str, map(float, bounds)), "+Inf"]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        self._exemplars: dict[Labels, dict[int, Exemplar]] = {}
        if not labels:
            self._open(())

    def observe(self, value: float, labels: Labels = (), trace_id: str | None = None) -> None:
        """Take one value of these label values, with the id of the trace that tells of it where there is one."""
        counts = self._counts.get(labels)
        if counts is None:
            labels = _bounded(labels, self._counts)
            counts = self._counts.get(labels) or self._open(labels)
        self._sums[labels] += value
        bucket = bisect.bisect_left(self._bounds, value)
        counts[bucket] += 1
        if trace_id is not None:
            # The last one of each bucket is kept.
            self._exemplars.setdefault(labels, {})[bucket] = Exemplar({"trace_id": trace_id}, value, time.time())

    def family(self) -> Metric:
        """The buckets and sums now."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, counts in self._counts.items():
            exemplars = self._exemplars.get(labels, {})
            buckets = [
                (title, count, exemplars[bucket]) if bucket in exemplars else (title, count)
                for bucket, (title, count) in enumerate(zip(self._titles, itertools.accumulate(counts), strict=True))
            ]
            family.add_metric(labels, buckets, self._sums[labels])
        return family

    def _open(self, labels: Labels) -> list[int]:
        self._sums[labels] = 0.0
        return self._counts.setdefault(labels, [0] * len(self._titles))


def _bounded(labels: Labels, known: Mapping[Labels, object]) -> Labels:
    """These new label values, or those that are counted together once there are too many."""
    return labels if len(known) < MOST_SERIES else (OTHER,) * len(labels)


def _family(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily], tally: Tally, numbers: Mapping[Labels, float]
) -> Metric:
    family = kind(tally.name, tally.text, labels=tally.labels)
    for labels, number in numbers.items():
        family.add_metric(labels, number)
    return family
