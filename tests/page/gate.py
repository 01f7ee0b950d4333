"""Holds calls of the page back, so that things happen in an order that the test chose."""

from __future__ import annotations

import re

from playwright.sync_api import Route

from tests.page.tab import Tab

ENCODE = re.compile(r"/encode$")


class Gate:
    """Holds the page's calls back until it is opened.

    Args:
        tab: whose.
        calls: by their address.
    """

    def __init__(self, tab: Tab, calls: re.Pattern[str] = ENCODE) -> None:
        self.held: list[Route] = []
        self._tab = tab
        self._calls = calls
        self._is_open = False
        tab.page.context.route(calls, self._pass)

    def wait(self) -> None:
        """Until something is held."""
        assert self._tab.comes_to(lambda: self.held)

    def open(self) -> None:
        """Let go on what is held, and hold nothing any more."""
        self._is_open = True
        # Letting one go may let the browser hand over another.
        while self.held:
            self.held.pop(0).continue_()

    def fail(self) -> None:
        """Let what is held come to nothing, and what follows pass."""
        self._is_open = True
        while self.held:
            self.held.pop(0).abort()

    def _pass(self, route: Route) -> None:
        if self._is_open:
            route.continue_()
        else:
            self.held.append(route)
