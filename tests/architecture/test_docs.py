"""What docs/access.md says of limits is what the code has."""

from __future__ import annotations

import dataclasses
import re

import pytest

from service.core.messages import Limits
from service.settings import AccessSettings, ConnectionSettings, flag
from tests.saves import ROOT

PAGE = (ROOT / "docs" / "access.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
LIMITS = dataclasses.asdict(Limits())


def number(text: str) -> int:
    return int(re.sub(r"\D", "", text)) << (20 if text.endswith("MiB") else 0)


@pytest.mark.parametrize("name", LIMITS)
def test_each_published_limit_is_there_with_its_default(name: str) -> None:
    [row] = [row for row in ROWS if row[0] == f"`{name}`"]
    assert number(row[2]) == LIMITS[name]


@pytest.mark.parametrize("field", dataclasses.fields(ConnectionSettings), ids=lambda field: field.name)
def test_each_bound_of_a_connection_is_there_with_its_default(field: dataclasses.Field[float]) -> None:
    [row] = [row for row in ROWS if row[0] == f"`{flag(field.name)}`"]
    assert number(row[1]) == field.default


@pytest.mark.parametrize("field", dataclasses.fields(AccessSettings), ids=lambda field: field.name)
def test_each_setting_of_access_is_there(field: dataclasses.Field[object]) -> None:
    assert f"`{flag(field.name)} FILE`" in PAGE
