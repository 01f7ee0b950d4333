"""A tab of the browser, and what went wrong in it beside what the test looks at."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, Request

from tests.end_to_end.server import PATIENCE_S

TELL_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""


class Tab:
    """A tab in a context of its own: no cookies, no cache, no storage of others.

    Args:
        browser: where.
        address: of the service; the only host that may be asked for anything.
        path: of the page there.
        options: of Playwright's context.

    Attributes:
        page: Playwright's.
        complaints: errors and warnings of the console, errors that nobody caught, violated policies, strangers that
            were called.
        requests: all that was asked for, in order.
    """

    def __init__(self, browser: Browser, address: str, path: str = "/", **options: Any) -> None:
        self.address = address
        self.complaints: list[str] = []
        self.requests: list[Request] = []
        self._expected: list[str] = []
        self._context = browser.new_context(accept_downloads=True, **options)
        self._context.on("request", self._requested)
        self._context.on("console", self._said)
        self._context.on("weberror", lambda error: self._complain(f"not caught: {error.error}"))
        self._context.add_init_script(TELL_VIOLATIONS)
        self.page: Page = self._context.new_page()
        self.page.goto(address + path)

    def expect_complaint(self, pattern: str) -> None:
        """From now on the console may say this: browsers report every failed request there, whatever the page does."""
        self._expected.append(pattern)

    def comes_to(self, condition: Callable[[], Any]) -> bool:
        """Whether that holds before long; the browser goes on meanwhile."""
        end = time.monotonic() + PATIENCE_S
        while not (holds := bool(condition())) and time.monotonic() < end:
            self.page.evaluate("() => new Promise(requestAnimationFrame)")
        return holds

    def close(self) -> None:
        """Close it with all that it holds."""
        self._context.close()

    def _requested(self, request: Request) -> None:
        self.requests.append(request)
        at = urlsplit(request.url)
        if at.scheme not in ("blob", "data") and f"{at.scheme}://{at.netloc}" != self.address:
            self._complain(f"asked a stranger: {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._complain(f"{message.type}: {message.text} ({message.location.get('url', '')})")

    def _complain(self, what: str) -> None:
        if not any(re.search(pattern, what) for pattern in self._expected):
            self.complaints.append(what)
