"""One service and one browser for all tests of the page, and a new tab for each, which must not complain."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.end_to_end import synthetic
from tests.end_to_end.server import PATIENCE_S, RunningServer, export
from tests.page.chromium import ARGUMENTS, CHROMIUM, REQUIRED, missing
from tests.page.tab import Tab
from tests.page.the_page import ThePage
from tests.saves import EXAMPLE_MODELS

HERE = Path(__file__).parent

expect.set_options(timeout=1e3 * PATIENCE_S / 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a browser where there is none, unless it must be there."""
    if missing() and not REQUIRED:
        for item in items:
            if HERE in item.path.parents and "browser" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason=missing()))


# For this folder and no longer: while Playwright runs, its loop counts as running, and other tests could start none.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window."""
    assert CHROMIUM, missing()
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="package")
def service() -> Iterator[RunningServer]:
    """A server of the example model, as `make serve` serves it."""
    with RunningServer(EXAMPLE_MODELS, "--threads", 1, "--drain-delay-s", 0) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="package")
def covariates_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the synthetic model, which asks for batch and covariates."""
    models = tmp_path_factory.mktemp("models")
    export({synthetic.NAME: synthetic.RECIPE.write(tmp_path_factory.mktemp("save"))}, models)
    with RunningServer(models, "--threads", 1, "--drain-delay-s", 0) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="package")
def rest(service: RunningServer) -> Iterator[httpx.Client]:
    """A caller of the service beside the page."""
    with httpx.Client(base_url=address(service), trust_env=False, timeout=PATIENCE_S) as client:
        yield client


@pytest.fixture(scope="package")
def card(rest: httpx.Client) -> dict[str, Any]:
    """What the service tells of the example model."""
    return json.loads(rest.get("/v1/models/pbmc").raise_for_status().content)


@pytest.fixture
def tabs(browser: Browser) -> Iterator[Callable[..., Tab]]:
    """Opens tabs, each in a context of its own; at the end none of them may have complained."""
    opened: list[Tab] = []

    def open_tab(server: RunningServer, **options: Any) -> Tab:
        opened.append(Tab(browser, address(server), **options))
        return opened[-1]

    yield open_tab
    for tab in opened:
        tab.close()
    assert [complaint for tab in opened for complaint in tab.complaints] == []


@pytest.fixture
def tab(tabs: Callable[..., Tab], service: RunningServer) -> Tab:
    """A tab at the page of the service."""
    return tabs(service)


@pytest.fixture
def page(tab: Tab) -> ThePage:
    """The page of the service, opened."""
    return ThePage(tab.page)


def address(server: RunningServer) -> str:
    """Of a server's REST port."""
    return f"http://127.0.0.1:{server.http_port}"
