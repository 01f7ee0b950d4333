"""The page as a person finds it: all by role and accessible name, so that whoever cannot see it finds it, too."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Download, FloatRect, Locator, Page, expect


class ThePage:
    """The parts of the page.

    Args:
        page: Playwright's, at the page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    def region(self, name: str) -> Locator:
        """A part of the page by its heading."""
        return self.page.get_by_role("region", name=name, exact=True)

    @property
    def models(self) -> Locator:
        return self.region("Models")

    @property
    def try_it(self) -> Locator:
        return self.region("Try it")

    @property
    def report(self) -> Locator:
        return self.region("Report")

    @property
    def see_it(self) -> Locator:
        return self.region("See it")

    @property
    def posterior(self) -> Locator:
        return self.region("Posterior")

    @property
    def watch_it(self) -> Locator:
        return self.region("Watch it")

    @property
    def problem(self) -> Locator:
        return self.page.get_by_role("alert")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name)

    def choice(self, label: str) -> Locator:
        """A field to choose in."""
        return self.try_it.get_by_role("combobox", name=label)

    @property
    def encode(self) -> Locator:
        return self.button(re.compile(r"^Encode [\d,]+ cells"))

    @property
    def plot(self) -> Locator:
        return self.see_it.get_by_role("img")

    def use_example(self) -> None:
        """Take the example cells and wait for the report."""
        self.button("Use the example cells").click()
        expect(self.report).to_be_visible()

    def choose_files(self, *files: Path) -> None:
        """Choose files in the browser's dialog."""
        self.page.get_by_label("Choose files").set_input_files(list(files))

    def drop_files(self, *files: Path) -> None:
        """Drag files from the desktop and drop them onto the page."""
        zone = self.try_it.get_by_text(re.compile("drop", re.IGNORECASE)).first
        zone.scroll_into_view_if_needed()
        box = zone.bounding_box()
        assert box is not None
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        session = self.page.context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
        session.detach()

    def encode_all(self) -> None:
        """Encode, and wait for the plot."""
        self.encode.click()
        expect(self.plot).to_be_visible()

    def plot_box(self) -> FloatRect:
        """Where the plot is."""
        self.plot.scroll_into_view_if_needed()
        box = self.plot.bounding_box()
        assert box is not None
        return box

    def colour_by(self, what: str) -> None:
        """Colour the cells by a column, by words of it."""
        field = self.see_it.get_by_role("combobox", name="Colour by")
        options = field.get_by_role("option").all_inner_texts()
        [label] = [option for option in options if what.lower() in option.lower()]
        field.select_option(label=label)

    def download(self, button: str) -> Download:
        """What a button of the result gives."""
        with self.page.expect_download() as download:
            self.button(button).click()
        return download.value
