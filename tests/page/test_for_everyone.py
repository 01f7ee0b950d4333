"""For whoever comes: by keyboard alone, with a screen reader, in the dark, on a phone, without motion."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.end_to_end.server import RunningServer
from tests.page.chromium import AXE, REQUIRED, axe_missing
from tests.page.tab import Tab
from tests.page.the_page import ThePage

PHONE = {"viewport": {"width": 375, "height": 740}, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}

VIOLATIONS = """
async () => {
  const { violations } = await axe.run(document);
  return violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`));
}
"""


def violations(tab: Tab) -> list[str]:
    """What axe-core finds wrong with what is shown now."""
    tab.page.evaluate(AXE.read_text())
    return tab.page.evaluate(VIOLATIONS)


@pytest.mark.skipif(bool(axe_missing()) and not REQUIRED, reason=axe_missing())
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_core_finds_nothing(tabs: Callable[..., Tab], service: RunningServer, scheme: str) -> None:
    tab = tabs(service, color_scheme=scheme)
    page = ThePage(tab.page)
    expect(page.models.get_by_role("article")).to_be_visible()
    expect(page.watch_it).to_contain_text("The service is ready")
    assert violations(tab) == []
    page.use_example()
    assert violations(tab) == []
    page.encode_all()
    page.find_cell("drawn-7")
    assert violations(tab) == []


def test_the_example_by_keyboard_alone(tab: Tab, page: ThePage) -> None:
    def go_to(name: str) -> None:
        """Press Tab until something of that name has the focus."""
        for _ in range(60):
            tab.page.keyboard.press("Tab")
            if tab.page.evaluate("() => document.activeElement.innerText ?? ''").strip().startswith(name):
                return
        raise AssertionError(f"no way to {name!r} by the Tab key")

    expect(page.models.get_by_role("article")).to_be_visible()
    go_to("Skip to the file")
    tab.page.keyboard.press("Enter")
    go_to("Use the example cells")
    tab.page.keyboard.press("Enter")
    expect(page.encode).to_be_visible()
    go_to("Encode 600 cells")
    tab.page.keyboard.press("Enter")
    expect(page.plot).to_be_visible()
    go_to("UMAP")
    tab.page.keyboard.press("Shift+Tab")
    assert tab.page.evaluate("() => document.activeElement.innerText") == "PCA"


def test_the_focus_is_seen(tab: Tab, page: ThePage) -> None:
    for name in ("Use the example cells",):
        button = page.button(name)
        before = button.screenshot()
        button.focus()
        tab.page.keyboard.press("Shift+Tab")
        tab.page.keyboard.press("Tab")
        assert button.evaluate("(one) => one.matches(':focus-visible')")
        style = button.evaluate("(one) => getComputedStyle(one).outlineStyle")
        assert style != "none" or button.screenshot() != before


@pytest.mark.parametrize("width", [375, 320])
def test_nothing_is_wider_than_a_phone(tabs: Callable[..., Tab], service: RunningServer, width: int) -> None:
    options: dict[str, Any] = {**PHONE, "viewport": {"width": width, "height": 740}}
    tab = tabs(service, **options)
    page = ThePage(tab.page)

    def widest() -> int:
        return tab.page.evaluate("() => document.documentElement.scrollWidth")

    expect(page.models.get_by_role("article")).to_be_visible()
    assert widest() <= width
    page.use_example()
    assert widest() <= width
    page.encode_all()
    page.find_cell("drawn-7")
    assert widest() <= width
    box = page.plot_box()
    assert box["width"] > 0.8 * width


def test_the_page_follows_the_system_s_light_and_dark(tab: Tab, page: ThePage) -> None:
    def lightness() -> float:
        """Of the page's paper."""
        colour = tab.page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3

    expect(page.models.get_by_role("article")).to_be_visible()
    tab.page.emulate_media(color_scheme="light")
    assert lightness() > 200
    tab.page.emulate_media(color_scheme="dark")
    assert lightness() < 80


def test_who_wants_no_motion_gets_none(tabs: Callable[..., Tab], service: RunningServer) -> None:
    tab = tabs(service, reduced_motion="reduce")
    page = ThePage(tab.page)
    page.use_example()
    page.encode_all()
    moving = "() => document.getAnimations().filter((one) => one.playState === 'running').length"
    assert tab.page.evaluate(moving) == 0
