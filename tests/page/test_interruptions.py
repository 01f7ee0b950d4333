"""What comes between: the stop button, a service that dies and comes back, one that is full."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route, expect

from tests.end_to_end.replicas import free_ports
from tests.end_to_end.server import RunningServer
from tests.page.gate import ENCODE, Gate
from tests.page.tab import Tab
from tests.page.the_page import ThePage
from tests.saves import EXAMPLE_MODELS

FAILED = r"Failed to load resource"
"""What the browser itself says of every call that fails."""


def test_stopped_by_the_button(tab: Tab, page: ThePage) -> None:
    gate = Gate(tab)
    page.use_example()
    page.encode.click()
    expect(page.page.get_by_role("progressbar", name="Encoding")).to_be_visible()
    assert tab.comes_to(lambda: gate.held)
    page.button("Stop").click()
    expect(page.alert).to_contain_text("Stopped")
    expect(page.page.get_by_role("progressbar", name="Encoding")).not_to_be_visible()
    expect(page.see_it).not_to_be_visible()
    gate.held.clear()  # which nobody waits for any more
    gate.open()
    page.encode_all()
    expect(page.alert).not_to_be_visible()


def test_a_full_service_is_asked_again(tab: Tab, page: ThePage) -> None:
    tab.expect_complaint(f"{FAILED}.* 429")
    refused: list[str] = []

    def refuse_twice(route: Route) -> None:
        if len(refused) == 2:
            route.continue_()
            return
        refused.append(route.request.url)
        problem = {"code": "overloaded", "detail": "the queue is full", "request_id": "r"}
        route.fulfill(status=429, json=problem, headers={"Retry-After": "0"})

    tab.page.context.route(ENCODE, refuse_twice)
    page.use_example()
    page.encode_all()
    assert len(refused) == 2
    expect(page.alert).not_to_be_visible()


def test_a_service_that_dies_and_comes_back(tabs: Callable[..., Tab], tmp_path: Path) -> None:
    [port] = free_ports(1)
    flags = ("--threads", 1, "--drain-delay-s", 0, "--http-port", port)
    with RunningServer(EXAMPLE_MODELS, *flags) as server:
        tab = tabs(server.wait_until_ready())
        tab.expect_complaint(FAILED)
        page = ThePage(tab.page)
        page.use_example()
        gate = Gate(tab)
        page.encode.click()
        expect(page.page.get_by_role("progressbar", name="Encoding")).to_be_visible()
        assert tab.comes_to(lambda: gate.held)
        server.stop(signal.SIGKILL)
    # What was under way meets nobody.
    gate.open()
    expect(page.watch_it.get_by_role("alert")).to_contain_text("The service does not answer")
    with RunningServer(EXAMPLE_MODELS, *flags) as server:
        server.wait_until_ready()
        expect(page.plot).to_be_visible()
        expect(page.watch_it).to_contain_text("The service is ready")
        expect(page.alert).not_to_be_visible()
        assert len(page.latents(tmp_path).library) == 600
    # And without anything under way: the file is looked at, and nobody answers.
    page.button("Use the example cells").click()
    expect(page.try_it.get_by_role("alert")).to_contain_text("it does not answer")
    with RunningServer(EXAMPLE_MODELS, *flags) as server:
        server.wait_until_ready()
        page.try_it.get_by_role("button", name="Try again").click()
        expect(page.report).to_be_visible()
