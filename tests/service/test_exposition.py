"""What a server tells Prometheus: named by its conventions, read by its own parsers, bounded whatever callers send."""

from __future__ import annotations

import asyncio
import re
import shutil
import string
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics_families
from prometheus_client.parser import text_string_to_metric_families

from docs.write_metrics import PAGE, between, table
from model.errors import ModelFileError
from service.assembly import Service, build_service
from service.core.errors import ErrorKind
from service.core.priority import Priority
from service.core.recorder import PHASES
from service.gauges import STATES
from service.settings import Settings
from tests.fakes import FakeEncoder

CELL = {"gene_counts": [[1, 0, 2, 0, 0]], "protein_counts": [[0, 0]], "batch": "a"}

UNITS = ("_seconds", "_bytes", "_cells", "_entries", "_ratio", "_info")
UNITLESS = {
    "totalvi_requests_in_flight",
    "totalvi_ready",
    "totalvi_model_state",
    "totalvi_model_last_load_successful",
    "process_open_fds",
    "process_max_fds",
}
"""Gauges of things that have no unit but their own name."""

FORMATS: dict[str, Callable[[str], Iterable[Metric]]] = {
    "": text_string_to_metric_families,
    "application/openmetrics-text; version=1.0.0": open_metrics_families,
}


class Refuses(FakeEncoder):
    """An encoder of which the third version cannot be loaded."""

    @staticmethod
    def load(path: Path) -> FakeEncoder:
        if path.parent.name == "3":
            raise ModelFileError("encoder.pt is damaged")
        return FakeEncoder()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version in ("1", "2"):
        (root / "pbmc" / version).mkdir(parents=True)
        (root / "pbmc" / version / "encoder.pt").touch()
    return root


def with_service(models: Path, work: Callable[[Service, httpx.AsyncClient, httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """Run `work` with a service, one of its callers and one of its operators."""

    async def run() -> Any:
        post = asyncio.get_running_loop().call_soon_threadsafe
        service = build_service(Settings(models=models), post=post, load_encoder=Refuses.load)
        service.load()
        service.health.mark_ready()
        callers = httpx.AsyncClient(transport=httpx.ASGITransport(service.http_app), base_url="http://callers")
        operators = httpx.AsyncClient(transport=httpx.ASGITransport(service.operator_app), base_url="http://operators")
        try:
            async with callers, operators:
                return await work(service, callers, operators)
        finally:
            assert service.finish(10.0)
            await service.grpc_server.stop(None)

    return asyncio.run(run())


async def told(operators: httpx.AsyncClient, accept: str) -> list[Metric]:
    answer = await operators.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(accept.split(";", maxsplit=1)[0] or "text/plain")
    return list(FORMATS[accept](answer.text))


def documented_values() -> dict[str, set[str]]:
    """The values of each label, by docs/metrics.md."""
    section = PAGE.read_text().partition("## Labels\n")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    return {label: set(re.findall(r"`([^`]+)`", row[2])) for row in rows for label in re.findall(r"`(\w+)`", row[1])}


@pytest.mark.parametrize("accept", FORMATS)
def test_every_metric_has_a_text_and_a_name_by_the_conventions(models: Path, accept: str) -> None:
    async def work(service: Service, callers: httpx.AsyncClient, operators: httpx.AsyncClient) -> list[Metric]:
        assert (await callers.post("/v1/encode", json=CELL)).status_code == 200
        return await told(operators, accept)

    families = with_service(models, work)
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation.strip(), family.name
        assert re.fullmatch(r"(totalvi|process|python)(_[a-z]+)+", family.name)
        assert family.type in ("counter", "gauge", "histogram"), family.name
        if family.type == "counter":
            assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        elif family.name not in UNITLESS:
            assert family.name.endswith(UNITS), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_created"))
        assert not re.search(r"_(milliseconds|ms|mib|kib|percent|minutes)\b", family.name)
        for label in {label for sample in family.samples for label in sample.labels} - {"le"}:
            assert label in documented_values() or family.name.endswith("_info") or family.name.startswith("python_")


def test_the_page_tells_what_a_server_tells(models: Path) -> None:
    """`python -m docs.write_metrics` writes the table anew."""

    async def work(service: Service, callers: httpx.AsyncClient, operators: httpx.AsyncClient) -> None:
        assert between(PAGE.read_text())[1] == table(service.recorder.told)
        await callers.post("/v1/encode", json=CELL)
        listed = {tally.name.removesuffix("_total"): tally for tally in service.recorder.told}
        running = {family.name: family for family in await told(operators, "")}
        assert listed.keys() == {name for name in running if name.startswith("totalvi_")}
        for name, tally in listed.items():
            assert (running[name].type, running[name].documentation) == (tally.kind, tally.text)
            for sample in running[name].samples:
                assert sample.labels.keys() - {"le"} == set(tally.labels), name
        page = PAGE.read_text()
        assert [
            name
            for name in running
            if name.startswith("process_") and f"`{name}" not in page and name != "process_virtual_memory_bytes"
        ] == []

    with_service(models, work)


def test_the_page_tells_the_values_of_labels() -> None:
    values = documented_values()
    assert values["outcome"] == {"ok", "failed", *(kind.value for kind in ErrorKind)}
    assert values["phase"] == set(PHASES)
    assert values["state"] == set(STATES)
    assert values["priority"] == {priority.value for priority in Priority}
    sources = "".join(path.read_text() for folder in ("rest", "rpc") for path in Path("service", folder).glob("*.py"))
    used = re.findall(r'"\w+": \("(\w+)", self\.', sources)
    used += re.findall(r'stream_method\([^"]*"[^"]*", "(\w+)"', sources)
    used += re.findall(r'(?:answer|answer_call)\([^"()]*(?:\([^()]*\))?[^"()]*"(\w+)"', sources)
    assert set(used) <= values["operation"]
    assert {"encode", "encode_stream", "infer", "authenticate", "get_model"} <= set(used)


HOSTILE = st.text(
    st.sampled_from(string.ascii_letters + string.digits + '._-%{}"\\\n$é\U0001f9ec/ '), min_size=1, max_size=40
)
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(HOSTILE, HOSTILE, METHODS, HOSTILE), min_size=1, max_size=4))
def test_nothing_that_a_caller_writes_becomes_a_label(models: Path, asked: list[tuple[str, str, str, str]]) -> None:
    def paths(name: str, version: str) -> Iterator[str]:
        name, version = urllib.parse.quote(name, safe=""), urllib.parse.quote(version, safe="/")
        yield from (f"/v1/models/{name}/encode", f"/v1/models/pbmc/versions/{version}/encode", f"/v1/{name}")
        yield from (f"/v1/models/{name}", f"/v2/models/{name}/versions/{version}/infer", f"/v2/models/{name}/ready")
        yield from (f"/v2/repository/models/{name}/load", f"/{name}/{version}")

    async def work(service: Service, callers: httpx.AsyncClient, operators: httpx.AsyncClient) -> None:
        assert (await callers.post("/v1/models/pbmc/versions/1/encode", json=CELL)).status_code == 200
        for name, version, method, text in asked:
            headers = {"X-Request-Priority": text.encode("latin-1", "replace").replace(b"\n", b"_").strip() or b"x"}
            for path in paths(name, version):
                await callers.request(method, path, json=CELL)
                await callers.post(path, json={**CELL, "model": name, "batch": text}, headers=headers)
        for accept in FORMATS:
            check(await told(operators, accept))

    def check(families: list[Metric]) -> None:
        values = documented_values() | {"model": {"", "pbmc"}, "version": {"", "1", "2"}}
        for family in families:
            if not family.name.startswith("totalvi_") or family.name == "totalvi_build_info":
                continue
            for sample in family.samples:
                for label, value in sample.labels.items():
                    assert label == "le" or value in values[label], sample

    with_service(models, work)


def test_the_numbers_are_those_of_the_parts(models: Path, tmp_path: Path) -> None:
    models = shutil.copytree(models, tmp_path / "models")

    async def work(service: Service, callers: httpx.AsyncClient, operators: httpx.AsyncClient) -> dict[str, Any]:
        await callers.post("/v1/models/pbmc/versions/1/encode", json=CELL | {"protein_counts": None, "proteins": None})
        (models / "pbmc" / "3").mkdir()
        (models / "pbmc" / "3" / "encoder.pt").touch()
        service.catalog.refresh()
        with service.batcher.reserve(6554, 0, Priority.BULK):
            families = await told(operators, "")
        samples = [sample for family in families for sample in family.samples]
        return {
            f"{s.name} {' '.join(value for _, value in sorted(s.labels.items()))}".strip(): s.value for s in samples
        }

    numbers = with_service(models, work)
    assert {
        "totalvi_ready": 1,
        "totalvi_queue_capacity_cells": 65536,
        "totalvi_queue_capacity_bytes": 1 << 30,
        "totalvi_body_capacity_bytes": 512 << 20,
        "totalvi_queue_cells": 6554,
        "totalvi_queue_oldest_age_seconds": 0,
        "totalvi_worker_batch_age_seconds": 0,
        "totalvi_queue_dropped_cells_total": 0,
        "totalvi_model_state pbmc ready 1": 1,
        "totalvi_model_state pbmc failed 1": 0,
        "totalvi_model_state pbmc failed 3": 1,
        "totalvi_model_last_load_successful pbmc 2": 1,
        "totalvi_model_last_load_successful pbmc 3": 0,
        "totalvi_model_loads_total pbmc ok": 2,
        "totalvi_model_loads_total pbmc failed": 1,
        "totalvi_coverage_ratio_sum genes pbmc": 1,
        "totalvi_coverage_ratio_sum proteins pbmc": 0,
    }.items() <= numbers.items()
    assert numbers["totalvi_queue_ratio interactive"] == 0
    assert numbers["totalvi_queue_ratio bulk"] == pytest.approx(0.1, abs=1e-4)
    assert numbers["totalvi_worker_busy_seconds_total"] > 0
    assert {
        "totalvi_model_load_duration_seconds pbmc 1",
        "totalvi_model_load_duration_seconds pbmc 2",
    } <= numbers.keys()
    assert any(name.startswith("totalvi_build_info") for name in numbers)
