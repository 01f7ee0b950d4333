"""How light the page is, and what it may do: its first load, its policy, its headers."""

from __future__ import annotations

import gzip
import re

import httpx
from playwright.sync_api import expect

from tests.page.tab import Tab
from tests.page.the_page import ThePage
from tests.saves import ROOT

MOST_FIRST_BYTES = 500_000
BUILT = ROOT / "service" / "rest" / "page_files"


def hdf5_reader() -> str:
    """The name of the file that holds it: the largest one."""
    return max((BUILT / "page").glob("*.js"), key=lambda file: file.stat().st_size).name


def test_the_first_load_is_light_and_leaves_the_hdf5_reader_out(tab: Tab, page: ThePage) -> None:
    expect(page.models.get_by_role("article")).to_be_visible()
    expect(page.watch_it).to_contain_text("The service is ready")
    loaded = {request.url.removeprefix(tab.address): request.sizes() for request in tab.requests}
    assert "/" in loaded
    assert any(path.endswith(".js") for path in loaded)
    assert sum(sizes["responseBodySize"] + sizes["responseHeadersSize"] for sizes in loaded.values()) < MOST_FIRST_BYTES
    assert f"/page/{hdf5_reader()}" not in loaded
    page.use_example()
    assert f"/page/{hdf5_reader()}" in {request.url.removeprefix(tab.address) for request in tab.requests}


def test_the_policy_lets_nothing_in_and_nothing_out(rest: httpx.Client) -> None:
    index = rest.get("/").raise_for_status()
    [script] = re.findall(r'<script[^>]* src="\./(page/[^"]+)"', index.text)
    for answer in (index, rest.get(script).raise_for_status()):
        policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert policy["style-src"] == "'self'"
        assert policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe-inline" not in str(policy)
        assert "'unsafe-eval'" not in str(policy)
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_is_built_travels_packed_and_is_kept(rest: httpx.Client) -> None:
    for file in sorted((BUILT / "page").glob("*.js")):
        answer = rest.get(f"/page/{file.name}", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.content == file.read_bytes()
        assert int(answer.headers["content-length"]) < 1.1 * len(gzip.compress(answer.content))
        assert "immutable" in answer.headers["cache-control"]
        again = rest.get(f"/page/{file.name}", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    assert rest.get("/").headers["cache-control"] == "no-cache"
