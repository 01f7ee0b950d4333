"""The plot: what is drawn where, what is told of a cell, what can be chosen; and one cell's posterior."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect

from tests.client.made_up import read
from tests.page.tab import Tab
from tests.page.the_page import ThePage
from tests.saves import ROOT

SHOWN_DIGITS = 3
"""Of the numbers in the posterior's table."""


@pytest.fixture(scope="module")
def cells() -> Any:
    return read(ROOT / "examples" / "cells.h5ad")


@pytest.fixture
def example(page: ThePage) -> ThePage:
    """The example cells, encoded."""
    page.use_example()
    page.encode_all()
    return page


def pointed_at(page: ThePage, n: int = 8) -> dict[str, tuple[float, float]]:
    """Cells that are told when the mouse goes over the plot, by name, and where it was then."""
    box = page.plot_box()
    places = np.random.default_rng(2).uniform(0.15, 0.85, (200, 2)) * [box["width"], box["height"]]
    found: dict[str, tuple[float, float]] = {}
    for x, y in places:
        page.page.mouse.move(box["x"] + x, box["y"] + y)
        page.page.evaluate("() => new Promise(requestAnimationFrame)")
        name = page.told.locator("strong")
        if name.count():
            found[name.inner_text()] = (x, y)
        if len(found) == n:
            break
    return found


def test_a_cell_that_is_pointed_at_is_told(example: ThePage, cells: Any, tmp_path: Path) -> None:
    """The right one: where the mouse was agrees with the cells' places in the PCA, but for the reach of the mouse."""
    latents = example.latents(tmp_path)
    names = latents.cells
    assert names is not None
    found = pointed_at(example)
    assert len(found) == 8
    centred = latents.z.astype(np.float64) - latents.z.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    rows = [names.index(name) for name in found]
    # x and y of the screen are each one of the components, scaled by the same factor and moved.
    plane = np.column_stack([centred[rows] @ axes.T, np.ones(len(rows))])
    screen = np.array(list(found.values()))
    fit, *_ = np.linalg.lstsq(plane, screen, rcond=None)
    assert np.abs(plane @ fit - screen).max() < 12
    assert np.abs(fit[0, 0]) == pytest.approx(np.abs(fit[1, 1]), rel=0.1)
    assert np.abs([fit[0, 1], fit[1, 0]]).max() < 0.1 * np.abs(fit[0, 0])
    name = list(found)[-1]
    expect(example.told).to_contain_text(cells.obs["population"][name])


def test_a_click_asks_for_the_posterior(example: ThePage, cells: Any) -> None:
    found = pointed_at(example, n=1)
    box = example.plot_box()
    [(name, (x, y))] = found.items()
    example.page.mouse.click(box["x"] + x, box["y"] + y)
    expect(example.region(f"Posterior of {name}")).to_be_visible()
    assert name in cells.obs_names


def test_the_posterior_is_the_service_s(example: ThePage, rest: httpx.Client, cells: Any) -> None:
    example.find_cell("drawn-7")
    posterior = example.region("Posterior of drawn-7")
    expect(posterior).to_contain_text("100 draws with seed 0")
    posterior.get_by_text("As a table").click()
    cell = cells["drawn-7"]
    request = {
        "genes": list(cell.var_names),
        "gene_counts": cell.X.toarray().tolist(),
        "proteins": list(cell.obsm["protein_expression"].columns),
        "protein_counts": cell.obsm["protein_expression"].to_numpy().tolist(),
        "batch": cell.obs["batch"].iloc[0],
    }
    answer = json.loads(rest.post("/v1/models/pbmc/encode", json=request).raise_for_status().content)
    [mean], [variance] = answer["qz"]["mean"], answer["qz"]["variance"]
    rows = posterior.get_by_role("row").all()[1:]
    assert len(rows) == len(mean) == 20
    for row, middle, squared in zip(rows, mean, variance, strict=True):
        numbers = [float(text.replace("\u2212", "-")) for text in row.get_by_role("cell").all_inner_texts()]
        spread = squared**0.5
        expected = [middle, spread, middle - 1.96 * spread, middle + 1.96 * spread]
        np.testing.assert_allclose(numbers, expected, rtol=0.6 * 10 ** (1 - SHOWN_DIGITS), atol=6e-4)


def test_cells_are_found_by_a_part_of_their_name(example: ThePage) -> None:
    field = example.see_it.get_by_role("combobox", name="Find a cell")
    field.fill("drawn-59")
    field.press("Enter")
    expect(example.see_it).to_contain_text(re.compile("drawn-59.*chosen|Several cells"))
    field.fill("nobody")
    field.press("Enter")
    expect(example.see_it).to_contain_text("No cell has “nobody” in its name.")


def test_colours_are_explained_and_choose_cells(example: ThePage, cells: Any, tmp_path: Path) -> None:
    populations = cells.obs["population"].value_counts()
    legend = example.see_it.get_by_role("region", name=re.compile("^Colours"))
    for population, n in populations.items():
        expect(legend.get_by_role("button", name=str(population))).to_contain_text(str(n))
    name = populations.index[0]
    legend.get_by_role("button", name=name).click()
    expect(example.region("Selected cells")).to_contain_text(f"{populations.iloc[0]} of 600 cells")
    example.colour_by("batch")
    expect(legend.get_by_role("button", name="PBMC5k")).to_contain_text(str((cells.obs["batch"] == "PBMC5k").sum()))
    example.colour_by("uncertainty")
    expect(example.plot).to_have_accessible_name(re.compile("coloured by posterior uncertainty"))
    expect(legend).to_contain_text(re.compile(r"\d\.\d"))
    example.colour_by("library")
    expect(example.plot).to_have_accessible_name(re.compile("coloured by library size"))
    latents = example.latents(tmp_path)
    expect(legend).to_contain_text(f"to {latents.library.max():,.0f}")


def test_a_line_around_all_cells_chooses_all(example: ThePage) -> None:
    box = example.plot_box()
    example.button("Draw around cells").click()
    mouse = example.page.mouse
    corners = [(0.005, 0.005), (0.995, 0.005), (0.995, 0.995), (0.005, 0.995), (0.005, 0.02)]
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    mouse.move(*places[0])
    mouse.down()
    for place in places[1:]:
        mouse.move(*place, steps=10)
    mouse.up()
    expect(example.region("Selected cells")).to_contain_text("600 of 600 cells")
    example.button("Clear selection").click()
    expect(example.region("Selected cells")).not_to_be_visible()


def test_umap_is_drawn_when_asked(example: ThePage) -> None:
    before = example.plot.screenshot()
    example.button("UMAP").click()
    expect(example.plot).to_have_accessible_name(re.compile("UMAP of 600 cells"))
    expect(example.button("UMAP")).to_have_attribute("aria-pressed", "true")
    assert example.plot.screenshot() != before
    example.button("PCA").click()
    expect(example.plot).to_have_accessible_name(re.compile("PCA of 600 cells"))


def test_the_plot_moves_and_comes_back(tab: Tab, example: ThePage) -> None:
    box = example.plot_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.mouse.move(0, 0)
    before = example.plot.screenshot()
    tab.page.mouse.move(*middle)
    tab.page.mouse.wheel(0, -400)  # scrolls the page, as everywhere
    tab.page.mouse.move(0, 0)
    example.plot.scroll_into_view_if_needed()
    assert example.plot.screenshot() == before
    box = example.plot_box()
    tab.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.page.keyboard.down("Control")
    tab.page.mouse.wheel(0, -400)
    tab.page.keyboard.up("Control")
    tab.page.mouse.move(0, 0)
    assert tab.comes_to(lambda: example.plot.screenshot() != before)
    example.button("Show all").click()
    tab.page.mouse.move(0, 0)
    assert tab.comes_to(lambda: example.plot.screenshot() == before)
