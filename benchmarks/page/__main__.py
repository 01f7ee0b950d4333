"""100,000 cells from an h5ad on the page: `python -m benchmarks.page`; docs/page.md.

A made-up file is dropped onto the page of a real service in a real Chromium, encoded and drawn, and then looked at:
coloured, pointed at, zoomed, moved. Each step is timed, with the longest frame and the memory that it took.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks import machine
from benchmarks.million import write_cells
from benchmarks.page.watched_tab import Phase, WatchedTab
from benchmarks.server_process import ROOT, our_server
from tests.page.chromium import ARGUMENTS, CHROMIUM
from tests.page.the_page import ThePage
from totalvi_client import Client

MOLECULES = 1500
"""A cell: about as many as the example's cells have."""

MOST_FRAME_MS, MOST_TAB_MIB = 200.0, 1536.0
PATIENCE_MS = 600_000.0
SIGHT = {"width": 1280, "height": 900}
MOVES, ZOOMS = 120, 20


def walk(page: Page, the_page: ThePage, tab: WatchedTab, cells: Path, n_cells: int) -> None:
    """All that a person would do."""

    def is_drawn(how: str) -> None:
        expect(the_page.plot).to_have_accessible_name(re.compile(how), timeout=PATIENCE_MS)

    with tab.phase("file dropped, until the report"):
        the_page.drop_files(cells)
        expect(the_page.encode).to_be_enabled(timeout=PATIENCE_MS)
    with tab.phase("encoded and drawn"):
        the_page.encode.click()
        is_drawn(f"PCA of {n_cells:,} cells")
    box = the_page.plot_box()
    page.mouse.move(0, 0)
    for column, title in (("uncertainty", "posterior uncertainty"), ("batch", "batch")):
        with tab.phase(f"coloured by {column}"):
            the_page.colour_by(column)
            is_drawn(f"coloured by {title}")
    across = [
        (box["x"] + box["width"] * i / MOVES, box["y"] + box["height"] * (0.3 + 0.4 * (i % 7) / 7))
        for i in range(1, MOVES)
    ]
    with tab.phase("pointed at"):
        for place in across:
            page.mouse.move(*place)
    with tab.phase("zoomed in and out"):
        page.mouse.move(*across[MOVES // 2])
        for step in range(ZOOMS):
            page.mouse.wheel(0, -120 if step < ZOOMS // 2 else 120)
    with tab.phase("moved"):
        page.mouse.down()
        for place in across[MOVES // 2 :]:
            page.mouse.move(*place)
        page.mouse.up()
    with tab.phase("a line drawn around cells"):
        the_page.button("Draw around cells").click()
        page.mouse.move(*across[0])
        page.mouse.down()
        for place in across:
            page.mouse.move(*place)
        page.mouse.up()
        expect(the_page.region("Selected cells")).to_be_visible()
        the_page.button("Clear selection").click()
    with tab.phase("a cell found, with its posterior"):
        the_page.find_cell(f"cell{n_cells // 2}")
    with tab.phase("latents as CSV"), page.expect_download(timeout=PATIENCE_MS) as download:
        the_page.button("Latents as CSV").click()
    download.value.path()
    with tab.phase("UMAP"):
        the_page.button("UMAP").click()
        is_drawn("UMAP of")


def table(phases: list[Phase]) -> str:
    """Rows of Markdown."""
    head = [
        "| step | s | frames | longest frame, ms | longest task, ms | tab, MiB | browser, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    rows = [
        f"| {at.name} | {at.seconds:.1f} | {at.frames} | {at.longest_frame_ms:.0f} | {at.longest_task_ms:.0f} "
        f"| {at.tab_mib:.0f} | {at.browser_mib:.0f} |"
        for at in phases
    ]
    return "\n".join(head + rows)


def main() -> None:
    """Make the file, serve, open, use, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, default=100_000)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        our_server(ROOT / "examples" / "models") as server,
        sync_playwright() as playwright,
    ):
        address = f"http://127.0.0.1:{server.facts['http_port']}"
        with Client(address) as client:
            card = client.model()
        assert card.batch is not None
        cells = Path(folder, "cells.h5ad")
        batches = tuple(map(str, card.batch.categories))
        write_cells(cells, card.genes, card.proteins, batches, arguments.cells, MOLECULES)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        print(f"{machine.described()}, Chromium {browser.version}")
        print(f"{arguments.cells:,} cells in {cells.stat().st_size / (1 << 20):,.0f} MiB")
        page = browser.new_page(viewport=SIGHT)
        page.goto(address)
        the_page = ThePage(page)
        expect(the_page.models).to_be_visible()
        with WatchedTab(browser, page) as tab:
            walk(page, the_page, tab, cells, arguments.cells)
            told = the_page.try_it.get_by_text(re.compile("encoded in")).inner_text()
        browser.close()
    print(table(tab.phases))
    print(told)
    frame = max(at.longest_frame_ms for at in tab.phases)
    memory = max(at.tab_mib for at in tab.phases)
    print(f"longest frame {frame:.0f} ms, most memory {memory:,.0f} MiB")
    if frame > MOST_FRAME_MS or memory > MOST_TAB_MIB:
        sys.exit("not as it should be")


if __name__ == "__main__":
    main()
