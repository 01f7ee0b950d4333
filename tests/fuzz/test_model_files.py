"""Damaged model files: each is read or refused as a `ModelFileError`, and the process lives."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
from pathlib import Path

import pytest

from tests.fuzz.counts import share_of
from tests.fuzz.model_files import AT, READS, read_damaged

PATIENCE_S = 900.0
"""For all of them; a file that hangs is caught by it."""


@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("kind", READS)
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    n_cases = share_of(READS[kind][0])
    (tmp_path / "sources").mkdir()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as pool:
        try:
            outcomes, bugs = pool.submit(read_damaged, kind, tmp_path, n_cases).result(PATIENCE_S)
        except (concurrent.futures.process.BrokenProcessPool, TimeoutError) as error:
            pytest.fail(f"case {(tmp_path / AT).read_text()} ended or held up the process: {error!r}")

    assert bugs == []
    assert outcomes["refused"] > n_cases / 4, outcomes
    assert outcomes.total() == n_cases + 1
