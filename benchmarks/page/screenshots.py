"""The pictures of docs/page.md: `python -m benchmarks.page.screenshots`; the example cells, served."""

from __future__ import annotations

import argparse
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from benchmarks.server_process import ROOT, our_server
from tests.page.chromium import ARGUMENTS, CHROMIUM
from tests.page.the_page import ThePage

CELL = "drawn-7"
N_COLOURS = 255
DESK: Mapping[str, Any] = {"viewport": {"width": 1200, "height": 900}}
PHONE: Mapping[str, Any] = {
    "viewport": {"width": 375, "height": 812},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


@contextmanager
def page_of(browser: Browser, address: str, **options: Any) -> Iterator[ThePage]:
    """The page in a context of its own."""
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(address)
    the_page = ThePage(page)
    expect(the_page.models.get_by_role("article")).to_be_visible()
    yield the_page
    context.close()


def in_sight(page: ThePage) -> bytes:
    """What is seen of the cells without scrolling."""
    page.page.mouse.move(0, 0)
    page.see_it.evaluate("(one) => scrollTo({ top: one.offsetTop - 12, behavior: 'instant' })")
    return page.page.screenshot()


def save(picture: bytes, path: Path) -> None:
    """With a palette: a fraction of the bytes, and no difference to see."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image.quantize(N_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.name}: {image.width} x {image.height}, {path.stat().st_size / 1024:.0f} kB")


def main() -> None:
    """Take them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--into", type=Path, default=ROOT / "docs" / "images")
    into = parser.parse_args().into
    with our_server(ROOT / "examples" / "models") as server, sync_playwright() as playwright:
        address = f"http://127.0.0.1:{server.facts['http_port']}"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        with page_of(browser, address, color_scheme="light", **DESK) as page:
            page.use_example()
            save(page.try_it.screenshot(), into / "page-report.png")
            page.encode_all()
            page.button("UMAP").click()
            expect(page.plot).to_have_accessible_name(re.compile("UMAP of"))
            page.find_cell(CELL)
            save(in_sight(page), into / "page-light.png")
        with page_of(browser, address, color_scheme="dark", **DESK) as page:
            page.use_example()
            page.encode_all()
            page.colour_by("uncertainty")
            expect(page.plot).to_have_accessible_name(re.compile("uncertainty"))
            save(in_sight(page), into / "page-dark.png")
            expect(page.watch_it).to_contain_text("The service is ready")
            save(page.watch_it.screenshot(), into / "page-watch.png")
        with page_of(browser, address, color_scheme="light", **PHONE) as page:
            page.use_example()
            page.encode_all()
            save(in_sight(page), into / "page-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
