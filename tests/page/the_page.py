"""The page as a person finds it: all by role and accessible name, so that whoever cannot see it finds it, too."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Locator, Page, expect

from tests.page.latents import Latents

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect


class ThePage:
    """The parts of the page, and what a person does with them.

    Args:
        page: Playwright's, at the page.
    """

    def __init__(self, page: Page) -> None:
        self.page = page

    def region(self, name: str | re.Pattern[str]) -> Locator:
        """A part of the page by its heading."""
        return self.page.get_by_role("region", name=name, exact=isinstance(name, str))

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name, exact=isinstance(name, str))

    @property
    def models(self) -> Locator:
        return self.region("Models")

    @property
    def watch_it(self) -> Locator:
        return self.region("Watch it")

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
        return self.region(re.compile("^Posterior of "))

    @property
    def alert(self) -> Locator:
        """What went wrong."""
        return self.page.get_by_role("alert")

    @property
    def encode(self) -> Locator:
        return self.button(re.compile("^Encode "))

    @property
    def plot(self) -> Locator:
        return self.see_it.get_by_role("application").or_(
            self.see_it.get_by_role("img", name=re.compile(" of .*cells"))
        )

    @property
    def told(self) -> Locator:
        """What is said of the cell that is pointed at."""
        return self.see_it.get_by_role("status").filter(has_text=re.compile("Point at a cell|:"))

    def question(self, label: str | re.Pattern[str]) -> Locator:
        """A thing to choose of the file."""
        return self.try_it.get_by_role("combobox", name=label)

    def answer(self, label: str | re.Pattern[str], option: str) -> None:
        """Choose, by words of the option's label."""
        field = self.question(label)
        field.select_option(label=_option(field, option))

    def use_example(self) -> None:
        """Take the example cells and wait for the report."""
        self.button("Use the example cells").click()
        expect(self.report).to_be_visible()

    def choose_files(self, *files: Path) -> None:
        """Choose files in the browser's dialog."""
        self.page.get_by_label("Choose files").set_input_files(list(files))

    def drop_files(self, *files: Path) -> None:
        """Drag files from the desktop and drop them onto the page."""
        size = self.page.viewport_size
        assert size is not None
        place = {"x": size["width"] / 2, "y": size["height"] / 2}
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
        field.select_option(label=_option(field, what))

    def find_cell(self, name: str) -> None:
        """Find a cell by its name, and wait for its posterior."""
        field = self.see_it.get_by_role("combobox", name="Find a cell")
        field.fill(name)
        field.press("Enter")
        expect(self.region(f"Posterior of {name}")).to_be_visible()

    def download(self, button: str, folder: Path) -> Path:
        """What a button gives, under the name that it suggests."""
        with self.page.expect_download() as download:
            self.button(button).click()
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        return path

    def latents(self, folder: Path) -> Latents:
        """What the button of the table gives."""
        return Latents.of_csv(self.download("Latents as CSV", folder))

    def snippet(self, language: str) -> str:
        """The same request in another language."""
        self.page.get_by_role("tab", name=language, exact=True).click()
        return self.page.get_by_role("tabpanel", name=language).locator("code").first.inner_text()


def _option(field: Locator, words: str) -> str:
    expect(field).to_contain_text(words)
    labels = field.get_by_role("option").all_inner_texts()
    [found] = [label for label in labels if label == words] or [label for label in labels if words in label]
    return found
