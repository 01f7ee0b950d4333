"""What a tab tells of what goes wrong in it: else the other tests here would miss it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route

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
        (THROW, "not caught: thrown and not caught"),
        (REJECT, "not caught: thrown and not caught"),
        (INLINE, "error: policy: script-src-elem inline"),
        (CALL, f"error: policy: connect-src {STRANGER}"),
    ],
)
def test_what_goes_wrong_is_told(tab: Tab, what: str, told: str) -> None:
    tab.page.evaluate(what)
    assert tells(tab, told), tab.complaints
    tab.complaints.clear()


def test_what_goes_wrong_in_a_worker_is_told(tab: Tab) -> None:
    """A worker has the policy of its own file; this one's has none, so that its call goes out."""

    def made_up(route: Route) -> None:
        body = f"console.error('said in a worker'); fetch('{STRANGER}').catch(() => null);"
        route.fulfill(body=body, content_type="text/javascript")

    tab.page.context.route("**/page/made_up.js", made_up)
    tab.page.evaluate(WORK)
    assert tells(tab, f"asked a stranger: {STRANGER}", "error: said in a worker"), tab.complaints
    tab.complaints.clear()


def tells(tab: Tab, *beginnings: str) -> bool:
    """Whether complaints that begin so come."""
    return tab.comes_to(
        lambda: all(any(complaint.startswith(one) for complaint in tab.complaints) for one in beginnings)
    )
