"""A model that wants batch and covariates: the page finds them, or asks, and sends what was chosen."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import expect

from tests.end_to_end import synthetic
from tests.end_to_end.server import PATIENCE_S, RunningServer
from tests.page import made_files
from tests.page.conftest import address
from tests.page.latents import encoded
from tests.page.made_files import MadeCells
from tests.page.tab import Tab
from tests.page.the_page import ThePage

RENAMED = {"batch": "sample", "donor": "patient", "lane": "channel", "age": "years"}


@pytest.fixture(scope="module")
def caller(covariates_service: RunningServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address(covariates_service), trust_env=False, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="module")
def cells(caller: httpx.Client) -> MadeCells:
    """With labels of every kind: texts, integers, numbers."""
    card = json.loads(caller.get(f"/v1/models/{synthetic.NAME}").raise_for_status().content)
    return MadeCells.of(card, n_cells=25)


@pytest.fixture
def page(tabs: Callable[..., Tab], covariates_service: RunningServer) -> ThePage:
    return ThePage(tabs(covariates_service).page)


def labels(cells: MadeCells) -> dict[str, object]:
    """As a caller says them."""
    return {
        "batch": cells.obs["batch"],
        "categorical_covariates": {key: cells.obs[key] for key in ("donor", "lane")},
        "continuous_covariates": {"age": cells.obs["age"]},
    }


def test_columns_of_the_model_s_names_are_found(
    page: ThePage, caller: httpx.Client, cells: MadeCells, tmp_path: Path
) -> None:
    page.drop_files(made_files.h5ad(tmp_path / "cells.h5ad", cells))
    page.encode_all()
    encoded(caller, synthetic.NAME, cells.request(**labels(cells))).assert_same(page.latents(tmp_path))


def test_other_names_are_asked_for(page: ThePage, caller: httpx.Client, cells: MadeCells, tmp_path: Path) -> None:
    renamed = dataclasses.replace(cells, obs={RENAMED[key]: values for key, values in cells.obs.items()})
    page.drop_files(made_files.h5ad(tmp_path / "renamed.h5ad", renamed))
    for key, column in RENAMED.items():
        expect(page.encode).not_to_be_visible()
        page.answer(key, column)
    page.encode_all()
    encoded(caller, synthetic.NAME, cells.request(**labels(cells))).assert_same(page.latents(tmp_path))


def test_one_value_for_all_cells(page: ThePage, caller: httpx.Client, cells: MadeCells, tmp_path: Path) -> None:
    few = dataclasses.replace(cells, obs={"age": cells.obs["age"]})
    page.drop_files(made_files.h5ad(tmp_path / "few.h5ad", few))
    for key, value in {"batch": "b1", "donor": "d2", "lane": "3"}.items():
        page.answer(key, f"{value} for all cells")
    page.encode_all()
    one = {**labels(cells), "batch": "b1", "categorical_covariates": {"donor": "d2", "lane": 3}}
    encoded(caller, synthetic.NAME, cells.request(**one)).assert_same(page.latents(tmp_path))
