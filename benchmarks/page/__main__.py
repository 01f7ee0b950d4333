"""100,000 cells from an h5ad on the page: `python -m benchmarks.page`; docs/page.md.

A made-up file is dropped onto the page of a real service in a real Chromium, encoded and drawn, and then looked at:
coloured, pointed at, zoomed, moved. Each step is timed, with the longest frame and the memory that it took.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.million import write_cells
from benchmarks.page.devtools import Chromium
from benchmarks.page.watched_tab import Phase, WatchedTab
from benchmarks.server_process import ROOT, cpu_s, our_server
from totalvi_client import Client

MOLECULES = 1500
"""A cell: about as many as the example's cells have."""

MOST_FRAME_MS, MOST_TAB_MIB = 200.0, 1536.0
SIZE = (1280, 900)
MOVES, ZOOMS = 120, 20

BUTTON = "[...document.querySelectorAll('button')].find((one) => one.textContent.trim().startsWith({!r}))"
COLOUR = """(() => {{
  const field = [...document.querySelectorAll("select")].find((one) => one.labels[0].textContent.includes("Colour by"));
  field.value = {!r};
  field.dispatchEvent(new Event("change", {{ bubbles: true }}));
}})()"""
FIND = """(() => {{
  const field = document.getElementById("find-cell");
  field.value = {!r};
  field.dispatchEvent(new Event("input", {{ bubbles: true }}));
  setTimeout(() => field.form.requestSubmit(), 50);
}})()"""
PLOT = "document.querySelector('#see [aria-label*=\" cells, coloured by\"]')"
TOLD = "[...document.querySelectorAll('#try .note')].find((one) => one.textContent.includes('encoded in'))"


def is_drawn(how: str) -> str:
    """Whether the plot says so of itself."""
    return f"{PLOT}?.ariaLabel.includes({how!r})"


def walk(chromium: Chromium, tab: WatchedTab, cells: Path, n_cells: int) -> None:
    """All that a person would do."""
    with tab.phase("file dropped, until the report"):
        chromium.drop([cells], *(pixels / 2 for pixels in SIZE))
        chromium.until(BUTTON.format("Encode "))
    with tab.phase("encoded and drawn"):
        chromium.js(BUTTON.format("Encode ") + ".click()")
        chromium.until(is_drawn(f"PCA of {n_cells:,} cells"))
    chromium.js(f"{PLOT}.scrollIntoView({{ behavior: 'instant', block: 'center' }})")
    left, top, width, height = chromium.js(
        f"(({{ x, y, width, height }}) => [x, y, width, height])({PLOT}.getBoundingClientRect())"
    )
    across = [(left + width * i / MOVES, top + height * (0.3 + 0.4 * (i % 7) / 7)) for i in range(1, MOVES)]
    for value, title in (("uncertainty", "posterior uncertainty"), ("obs:batch", "batch")):
        with tab.phase(f"coloured by {title}"):
            chromium.js(COLOUR.format(value))
            chromium.until(is_drawn(f"coloured by {title}"))
    with tab.phase("pointed at"):
        for place in across:
            chromium.mouse("mouseMoved", *place)
    with tab.phase("zoomed in and out"):
        for step in range(ZOOMS):
            chromium.mouse("mouseWheel", *across[MOVES // 2], deltaX=0, deltaY=-120 if step < ZOOMS // 2 else 120)
    with tab.phase("moved"):
        chromium.drag(across[MOVES // 2 :])
    with tab.phase("a line drawn around cells"):
        chromium.js(BUTTON.format("Draw around cells") + ".click()")
        chromium.drag(across)
        chromium.until("document.querySelector('[aria-label=\"Selected cells\"]')")
    chromium.js(BUTTON.format("Clear selection") + ".click()")
    with tab.phase("a cell found, with its posterior"):
        name = f"cell{n_cells // 2}"
        chromium.js(FIND.format(name))
        chromium.until(f"document.querySelector('[aria-label=\"Posterior of {name}\"]')")
    with tab.phase("latents as CSV"):
        chromium.js(BUTTON.format("Latents as CSV") + ".click()")
        while not list(chromium.downloads.glob("*.csv")):
            time.sleep(0.02)
    with tab.phase("UMAP"):
        chromium.js(BUTTON.format("UMAP") + ".click()")
        chromium.until(is_drawn("UMAP of "))


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
    with tempfile.TemporaryDirectory() as folder, our_server(ROOT / "examples" / "models") as server:
        address = f"http://127.0.0.1:{server.facts['http_port']}"
        with Client(address) as client:
            card = client.model()
        assert card.batch is not None
        cells = Path(folder, "cells.h5ad")
        batches = tuple(map(str, card.batch.categories))
        write_cells(cells, card.genes, card.proteins, batches, arguments.cells, MOLECULES)
        before = cpu_s(server.pid)
        with Chromium(f"{address}/", SIZE) as chromium:
            print(f"{machine.described()}, {chromium.version}")
            print(f"{arguments.cells:,} cells in {cells.stat().st_size / (1 << 20):,.0f} MiB")
            chromium.until("document.querySelector('article')")
            with WatchedTab(chromium) as tab:
                walk(chromium, tab, cells, arguments.cells)
                told = chromium.js(TOLD + ".textContent")
        server_s = cpu_s(server.pid) - before
    print(table(tab.phases))
    print(f"{' '.join(told.split())} The server's processor time: {server_s:.1f} s.")
    frame = max(at.longest_frame_ms for at in tab.phases)
    memory = max(at.tab_mib for at in tab.phases)
    print(f"longest frame {frame:.0f} ms, most memory {memory:,.0f} MiB")
    if frame > MOST_FRAME_MS or memory > MOST_TAB_MIB:
        sys.exit("not as it should be")


if __name__ == "__main__":
    main()
