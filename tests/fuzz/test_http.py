"""Requests that schemathesis makes up from our OpenAPI document, those that obey it and those that do not."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck
from schemathesis import GenerationMode

from tests.fuzz import corpus
from tests.fuzz.counts import share_of
from tests.fuzz.in_process import InProcess
from tests.saves import ROOT

FULL = 1_900
"""Requests for each operation that takes a body; there are eleven. Those without one have little to get wrong."""

SCHEMA = schemathesis.openapi.from_dict(json.loads((ROOT / "docs" / "openapi.json").read_text()))
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations()}

OTHER_METHOD = 405
"""What a method is answered that a path does not have; documented as `default`."""


def ours(case: schemathesis.Case) -> tuple[str, str, dict[str, str], bytes]:
    """Method, target, headers and body of a case, as a client would send them."""
    kwargs: dict[str, Any] = case.as_transport_kwargs(base_url="http://service")
    kept = {
        name: kwargs[name]
        for name in ("method", "url", "headers", "params", "json", "data", "files", "cookies")
        if kwargs.get(name) is not None
    }
    prepared = requests.Request(**kept).prepare()
    body = prepared.body or b""
    return prepared.method, prepared.path_url, dict(prepared.headers), body.encode() if isinstance(body, str) else body


def known_names(case: schemathesis.Case, number: int) -> None:
    """Have half of the cases ask for the model that there is: a name made up leads nowhere."""
    known = {"model": corpus.NAME, "version": "1"}
    for name in case.path_parameters or {}:
        if name in known and number % 4 != (name == "version"):
            case.path_parameters[name] = known[name]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("label", OPERATIONS)
def test_an_operation(service: InProcess, label: str) -> None:
    operation = OPERATIONS[label]
    responses = operation.definition.raw["responses"]
    expected = {int(status) for status in responses if status.isdigit()} | {404, OTHER_METHOD}
    statuses: Counter[int] = Counter()

    def check(case: schemathesis.Case) -> None:
        known_names(case, statuses.total())
        method, target, headers, body = ours(case)
        answer = service.http(method, target, headers, body)
        statuses[answer.status] += 1
        # Some cases ask for their answer in no time at all.
        allowed = {504} if "X-Request-Timeout-Ms" in headers else set()
        assert answer.status < 500 or answer.status in allowed, (case, answer, service.errors.told)
        assert answer.status in expected, (case, answer)
        assert service.errors.told == [], (case, answer)
        if answer.headers.get("content-type", "").startswith(("application/json", "application/problem+json")):
            json.loads(answer.body)
        assert answer.headers["x-request-id"]

    takes_body = label.startswith("POST")
    modes = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if takes_body else [GenerationMode.POSITIVE]
    for mode in modes:
        run = hypothesis.given(operation.as_strategy(generation_mode=mode))(check)
        hypothesis.settings(
            max_examples=share_of(FULL) // 2,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[hypothesis.Phase.generate],
        )(run)()
    if takes_body:
        assert statuses.total() >= share_of(FULL) - 1, statuses
