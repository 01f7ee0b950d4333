"""A service that asks for a token: so does the page, which keeps it for its tab and tells it to nobody else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.end_to_end.server import RunningServer
from tests.page.tab import Tab
from tests.page.the_page import ThePage
from tests.saves import EXAMPLE_MODELS

TOKEN, WRONG = "Alice-0123456789abcdef", "Wrong-0123456789abcdef"
REFUSED = "Failed to load resource.* 401"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that asks for a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    flags = ("--threads", 1, "--drain-delay-s", 0, "--tokens-file", tokens)
    with RunningServer(EXAMPLE_MODELS, *flags) as running:
        yield running.wait_until_ready()


def test_the_page_asks_for_the_token_and_works_with_it(
    tabs: Callable[..., Tab], guarded: RunningServer, tmp_path: Path
) -> None:
    tab = tabs(guarded)
    tab.expect_complaint(REFUSED)
    page = ThePage(tab.page)
    field = page.page.get_by_role("textbox", name="Token")
    expect(page.region("This service asks for a token")).to_be_visible()
    expect(page.try_it).not_to_be_visible()
    field.fill(WRONG)
    page.button("Use this token").click()
    expect(page.alert).to_contain_text("The token is not accepted")
    field.fill(TOKEN)
    field.press("Enter")
    expect(page.models.get_by_role("article", name="pbmc")).to_be_visible()
    page.use_example()
    page.encode_all()
    assert len(page.latents(tmp_path).library) == 600
    expect(page.watch_it).to_contain_text("The service is ready")

    # It is in no address and in nothing that is copied or kept.
    assert [request.url for request in tab.requests if TOKEN in request.url] == []
    for language in ("curl", "Python", "R"):
        snippet = page.snippet(language)
        assert "TOTALVI_CLIENT_TOKEN" in snippet
        assert TOKEN not in snippet
    assert tab.page.context.cookies() == []
    assert tab.page.evaluate("() => Object.values(localStorage)") == []

    # A reload keeps it, another tab does not have it, and it can be forgotten.
    tab.page.reload()
    expect(page.models.get_by_role("article", name="pbmc")).to_be_visible()
    other = tabs(guarded)
    other.expect_complaint(REFUSED)
    expect(ThePage(other.page).region("This service asks for a token")).to_be_visible()
    page.button("Forget the token").click()
    expect(page.region("This service asks for a token")).to_be_visible()
    assert tab.page.evaluate("() => Object.values(sessionStorage)") == []
