"""The example cells, from the button to the picture, a cell and the latents; and what the page tells at first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import anndata
import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.client.made_up import read
from tests.page.latents import Latents, encoded
from tests.page.the_page import ThePage
from tests.saves import ROOT


@pytest.fixture(scope="module")
def cells() -> anndata.AnnData:
    return read(ROOT / "examples" / "cells.h5ad")


@pytest.fixture(scope="module")
def answer(rest: httpx.Client, cells: anndata.AnnData) -> Latents:
    """What the service answers to a caller for the example cells."""
    proteins = cells.obsm["protein_expression"]
    request = {
        "cells": list(cells.obs_names),
        "genes": list(cells.var_names),
        "gene_counts": cells.X.toarray().tolist(),
        "proteins": list(proteins.columns),
        "protein_counts": proteins.to_numpy().tolist(),
        "batch": list(cells.obs["batch"]),
    }
    return encoded(rest, "pbmc", request)


def test_the_page_tells_what_is_served(page: ThePage, card: dict[str, Any]) -> None:
    expect(page.page).to_have_title(re.compile("totalvi-serve"))
    expect(page.page.get_by_role("heading", level=1)).to_have_text("totalvi-serve")
    shown = page.models.get_by_role("article", name="pbmc")
    for text in ("ready", "2,000", "PBMC10k", "PBMC5k", card["input_transform_decision"], card["sha256"]):
        expect(shown).to_contain_text(text)
    lookup = shown.get_by_role("searchbox", name="Is my gene or protein in pbmc?")
    lookup.fill("MS4A1")
    expect(shown).to_contain_text("MS4A1 is one of the model's genes")
    expect(page.models.get_by_role("link", name="REST documentation")).to_have_attribute("href", "docs")


def test_the_example_from_the_button_to_the_picture(page: ThePage, answer: Latents, tmp_path: Path) -> None:
    page.use_example()
    expect(page.report).to_contain_text("Your file has 2,000 of the model's 2,000 genes (100 %).")
    expect(page.report).to_contain_text("Your file has 14 of the model's 14 proteins (100 %).")
    page.encode_all()
    expect(page.try_it).to_contain_text(re.compile(r"600 cells encoded in (less than )?[\d.]+ s"))
    expect(page.plot).to_have_accessible_name(re.compile("PCA of 600 cells, coloured by"))
    table = page.latents(tmp_path)
    answer.assert_same(table)
    answer.assert_same(Latents.of_npz(page.download("Latents as NPZ", tmp_path)))
    assert table.cells == answer.cells
    assert len(np.unique(table.z, axis=0)) == 600


def test_what_the_service_did_is_watched(page: ThePage) -> None:
    page.use_example()
    page.encode_all()
    expect(page.watch_it).to_contain_text("The service is ready")
    cells = page.watch_it.get_by_role("figure", name=re.compile("Cells encoded"))
    expect(cells).to_be_visible()
    # The chart's highest bar.
    expect(cells).to_contain_text(re.compile(r"most [1-9]"))
