"""What docs/reliability.md names as its proof is there."""

from __future__ import annotations

import re

from tests.saves import ROOT

TEXT = (ROOT / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)(?:::(\w+))?`", TEXT)))


def test_every_test_of_the_table_is_there() -> None:
    assert len(NAMED) > 50
    missing = [
        f"{path}::{test}" if test else path
        for path, test in NAMED
        if not (ROOT / path).is_file() or (test and f"def {test}(" not in (ROOT / path).read_text())
    ]
    assert missing == []


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", TEXT)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_row_says_where_it_is_shown_or_that_it_is_open() -> None:
    table = TEXT[TEXT.index("## What is shown") : TEXT.index("## Memory")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("|")]
    rows = [row for row in rows if not set(row[0]) <= {"-", " "} and row[-1] != "result"]
    assert len(rows) > 35
    for what, shown_by, result in rows:
        assert ("`tests/" in shown_by) if result.startswith("holds") else ("open" in result or "elsewhere" in result), (
            what
        )
