"""What a tab tells of what goes wrong in it: else the other tests here would miss it."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Route

from tests.end_to_end.server import PATIENCE_S
from tests.page.tab import Tab

STRANGER = "http://127.0.0.2:9/"

THROW = "() => setTimeout(() => { throw new Error('thrown and not caught'); })"
REJECT = "() => { Promise.reject(new Error('thrown and not caught')); }"
INLINE = "() => { const one = document.createElement('script'); one.textContent = '1'; document.body.append(one); }"
CALL = f"() => {{ fetch('{STRANGER}').catch(() => null); }}"
WORK = "() => { window.worker = new Worker('page/made_up.js'); }"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("() => console.error('said as an error')", "error: said as an error"),
        ("() => console.warn('said as a warning')", "warning: said as a warning"),
        (THROW, "not caught: Error: thrown and not caught"),
        (REJECT, "not caught: Error: thrown and not caught"),
        (INLINE, "error: policy: script-src-elem inline"),
        (CALL, f"error: policy: connect-src {STRANGER}"),
    ],
)
def test_what_goes_wrong_is_told(tab: Tab, what: str, told: str) -> None:
    tab.page.evaluate(what)
    assert any(complaint.startswith(told) for complaint in told_by(tab, 1)), tab.complaints
    tab.complaints.clear()


def test_what_goes_wrong_in_a_worker_is_told(tab: Tab) -> None:
    """A worker has the policy of its own file; this one's has none, so that its call goes out."""

    def made_up(route: Route) -> None:
        body = f"console.error('said in a worker'); fetch('{STRANGER}').catch(() => null);"
        route.fulfill(body=body, content_type="text/javascript")

    tab.page.context.route("**/page/made_up.js", made_up)
    tab.page.evaluate(WORK)
    told = told_by(tab, 2)
    assert f"asked a stranger: {STRANGER}" in told
    assert any(complaint.startswith("error: said in a worker") for complaint in told)
    tab.complaints.clear()


def told_by(tab: Tab, n: int) -> list[str]:
    """What is told, once there are so many complaints."""
    end = time.monotonic() + PATIENCE_S
    while len(tab.complaints) < n and time.monotonic() < end:
        tab.page.evaluate("() => new Promise(requestAnimationFrame)")
    return tab.complaints
