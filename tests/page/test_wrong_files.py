"""Files that cannot be used: each is told what it is, and what to do; the page goes on."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.page import made_files
from tests.page.made_files import MadeCells
from tests.page.the_page import ThePage


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


WRONG: Mapping[str, tuple[Callable[[Path, MadeCells], Path], str]] = {
    "text.h5ad": (lambda path, _: _text(path, "these are no counts\n" * 9), "text"),
    "picture.png": (lambda path, _: made_files.png(path), "picture"),
    "empty.h5ad": (lambda path, _: _text(path, ""), "empty"),
    "short.h5ad": (lambda path, cells: made_files.truncated(made_files.h5ad(path, cells)), "damaged|incomplete|cut"),
    "logged.h5ad": (lambda path, cells: made_files.h5ad(path, cells, counts_in=""), "raw counts"),
    "notes.zip": (lambda path, _: made_files.strange_zip(path), "matrix"),
    "words.csv": (lambda path, _: _text(path, "cell,name\na,x y\nb,z\n"), "number|counts"),
}
"""By name: what makes the file, and what the message must say."""


@pytest.fixture(scope="module")
def cells(card: Mapping[str, Any]) -> MadeCells:
    return MadeCells.of(card, n_cells=30)


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_used_is_told_why(page: ThePage, cells: MadeCells, tmp_path: Path, name: str) -> None:
    make, words = WRONG[name]
    page.drop_files(make(tmp_path / name, cells))
    problem = page.alert.or_(page.question("Raw counts").locator("xpath=.."))
    expect(problem).to_contain_text(re.compile(words, re.IGNORECASE))
    expect(problem).not_to_contain_text(re.compile(r"fault of its own|undefined|H5[A-Z]|\bat 0x|Error:"))
    expect(page.encode).not_to_be_visible()
    page.use_example()
    expect(page.alert).not_to_be_visible()
    expect(page.encode).to_be_visible()
