"""Counters and histograms that cost a call next to nothing: plain numbers, read when Prometheus scrapes.

The client library's own look up their labels and take a lock at each of a call's dozen numbers; for a
call of one cell that is as much as reading its counts. Whoever owns these serialises the access to them.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Labels = tuple[str, ...]


class _Numbers:
    """Numbers by label values, as a family of `_KIND`."""

    _KIND: type[CounterMetricFamily] | type[GaugeMetricFamily]

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        self._about = (name, text)
        self._labels = labels
        self._numbers: dict[Labels, float] = {}

    def add(self, amount: float, labels: Labels = ()) -> None:
        """Add to the number of these label values."""
        self._numbers[labels] = self._numbers.get(labels, 0.0) + amount

    def family(self) -> Metric:
        """The numbers now."""
        family = self._KIND(*self._about, labels=self._labels)
        for labels, number in self._numbers.items():
            family.add_metric(labels, number)
        return family


class Counter(_Numbers):
    """Sums by label values.

    Args:
        name: of the metric, without `_total`.
        text: what it counts.
        labels: their names.
    """

    _KIND = CounterMetricFamily


class Level(_Numbers):
    """Numbers that go up and down, by label values; 0 at first where there are no labels.

    Args:
        name: of the metric.
        text: what it is.
        labels: their names.
    """

    _KIND = GaugeMetricFamily

    def __init__(self, name: str, text: str, labels: Labels = ()) -> None:
        super().__init__(name, text, labels)
        if not labels:
            self.set(0.0)

    def set(self, level: float) -> None:
        """Set the number, where there are no labels."""
        self._numbers[()] = level


class Histogram:
    """How often a value was at most so large, by label values.

    Args:
        name: of the metric.
        text: what is observed.
        bounds: ascending.
        labels: their names.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float], labels: Labels = ()) -> None:
        self._about = (name, text)
        self._labels = labels
        self._bounds = tuple(bounds)
        self._titles = [*map(str, map(float, bounds)), "+Inf"]
        self._counts: dict[Labels, list[int]] = {}
        self._sums: dict[Labels, float] = {}
        if not labels:
            self._open(())

    def observe(self, value: float, labels: Labels = ()) -> None:
        """Take one value of these label values."""
        counts = self._counts.get(labels) or self._open(labels)
        self._sums[labels] += value
        counts[bisect.bisect_left(self._bounds, value)] += 1

    def family(self) -> Metric:
        """The buckets and sums now."""
        family = HistogramMetricFamily(*self._about, labels=self._labels)
        for labels, counts in self._counts.items():
            buckets = list(zip(self._titles, itertools.accumulate(counts, initial=None), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        return family

    def _open(self, labels: Labels) -> list[int]:
        self._sums[labels] = 0.0
        return self._counts.setdefault(labels, [0] * len(self._titles))
