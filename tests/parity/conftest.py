"""Prints the numbers of docs/fidelity.md after the tests."""

from __future__ import annotations

import collections
import itertools

import pytest

from tests.parity.exactness import Deviations


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """For each output the worst model: largest deviations from float64, and the ratio of their root mean squares."""
    found = collections.defaultdict(list)
    outcomes = ("passed", "failed", "xfailed", "xpassed")
    for report in itertools.chain(*(terminalreporter.getreports(outcome) for outcome in outcomes)):
        for output, value in report.user_properties:
            if isinstance(value, Deviations):
                found[output].append(value)
    if found:
        terminalreporter.section("deviation from float64, the worst of all models")
    for output, models in found.items():
        terminalreporter.line(
            f"{output:12}{len(models)} models: ours {max(model.our_largest for model in models):.1e}, "
            f"scvi-tools {max(model.their_largest for model in models):.1e}; "
            f"largest ratio {max(model.our_largest / model.their_largest for model in models):.2f}, "
            f"of root mean squares {max(model.our_mean / model.their_mean for model in models):.2f}"
        )
