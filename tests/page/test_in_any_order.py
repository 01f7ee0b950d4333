"""People do not wait: what was asked of one file, model or choice is never shown for another, and nothing locks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Route, expect

from tests.end_to_end import synthetic
from tests.end_to_end.server import RunningServer, export
from tests.page import made_files
from tests.page.gate import Gate
from tests.page.made_files import MadeCells
from tests.page.tab import Tab
from tests.page.the_page import ThePage
from tests.saves import EXAMPLE_MODELS

FAILED = r"Failed to load resource"
LIMITS = re.compile(r"/v1/limits$")
MODELS = re.compile(r"/v1/models$")
WORKER = re.compile(r"/page/worker-[^/]*\.js$")
EXAMPLE = re.compile(r"/page/cells-[^/]*\.h5ad$")
READER = re.compile(r"/page/h5-[^/]*\.js$")


def test_the_last_of_two_files_is_the_one(tab: Tab, page: ThePage, card: dict[str, Any], tmp_path: Path) -> None:
    slow = made_files.h5ad(tmp_path / "slow.h5ad", MadeCells.of(card, n_cells=60, seed=1))
    quick = made_files.csv(tmp_path / "quick.csv", MadeCells.of(card, n_cells=30, seed=2))
    gate = Gate(tab, READER)
    page.choose_files(slow)
    gate.wait()
    page.choose_files(quick)
    expect(page.try_it).to_contain_text("quick.csv")
    page.answer(re.compile("Batch"), "PBMC5k for all")
    expect(page.report).to_be_visible()
    gate.open()
    page.encode.click()
    expect(page.try_it).to_contain_text("30 cells encoded")
    assert len(page.latents(tmp_path).library) == 30


def test_a_file_chosen_while_another_is_encoded(tab: Tab, page: ThePage, card: dict[str, Any], tmp_path: Path) -> None:
    other = made_files.h5ad(tmp_path / "other.h5ad", MadeCells.of(card, n_cells=30))
    gate = Gate(tab)
    page.use_example()
    page.encode.click()
    gate.wait()
    page.choose_files(other)
    expect(page.try_it).to_contain_text("other.h5ad")
    expect(page.encode).to_have_text("Encode 30 cells")
    expect(page.page.get_by_role("progressbar")).not_to_be_visible()
    gate.held.clear()  # which nobody waits for any more
    gate.open()
    page.encode_all()
    assert len(page.latents(tmp_path).library) == 30


def test_stopped_before_it_began(tab: Tab, page: ThePage) -> None:
    gate = Gate(tab, LIMITS)
    page.use_example()
    tab.requests.clear()
    page.encode.click()
    gate.wait()
    page.button("Stop").click()
    expect(page.alert).to_contain_text("Stopped")
    gate.held.clear()
    gate.open()
    assert [request.url for request in tab.requests if request.url.endswith("/encode")] == []
    expect(page.see_it).not_to_be_visible()


def test_a_worker_that_cannot_be_loaded(tab: Tab, page: ThePage) -> None:
    tab.expect_complaint(FAILED)
    gate = Gate(tab, WORKER)
    page.button("Use the example cells").click()
    gate.wait()
    gate.fail()
    expect(page.alert).to_contain_text("could not be loaded")
    page.button("Try again").click()
    expect(page.report).to_be_visible()


def test_a_file_before_there_are_models(tabs: Callable[..., Tab], service: RunningServer) -> None:
    tab = tabs(service, path="/page/licenses.md")  # not yet the page
    tab.expect_complaint(f"{FAILED}.* 404")  # a browser looks for an icon there
    gate = Gate(tab, MODELS)
    tab.page.goto(tab.address)
    page = ThePage(tab.page)
    page.button("Use the example cells").click()
    gate.wait()
    expect(page.try_it).to_contain_text("example-cells.h5ad")
    gate.open()
    expect(page.report).to_be_visible()


def test_a_page_opened_while_the_service_loads(tabs: Callable[..., Tab], service: RunningServer) -> None:
    tab = tabs(service, path="/page/licenses.md")
    tab.expect_complaint(f"{FAILED}.* (404|503)")
    told: list[str] = []

    def starting(route: Route) -> None:
        if len(told) == 2:
            route.continue_()
            return
        told.append(route.request.url)
        problem = {"code": "unavailable", "detail": "the service is starting", "request_id": "r"}
        route.fulfill(status=503, json=problem)

    tab.page.context.route(MODELS, starting)
    tab.page.goto(tab.address)
    page = ThePage(tab.page)
    expect(page.alert).to_contain_text("The service is not ready")
    expect(page.models.get_by_role("article", name="pbmc")).to_be_visible()
    expect(page.alert).not_to_be_visible()


def test_a_result_is_of_the_choices_that_it_was_made_with(page: ThePage, tmp_path: Path) -> None:
    page.use_example()
    page.encode_all()
    before = page.latents(tmp_path)
    assert "batch=" not in page.snippet("Python")
    page.answer(re.compile("Batch"), "PBMC5k for all")
    expect(page.see_it).to_contain_text("and the choices before")
    assert "batch=" not in page.snippet("Python")
    page.button("Encode with these choices").click()
    expect(page.see_it).not_to_contain_text("and the choices before")
    assert 'batch="PBMC5k"' in page.snippet("Python")
    assert (page.latents(tmp_path).z != before.z).any()


def test_a_file_that_cannot_be_read_leaves_what_was_there(page: ThePage, tmp_path: Path) -> None:
    page.use_example()
    page.encode_all()
    wrong = tmp_path / "wrong.h5ad"
    wrong.write_text("no HDF5")
    page.choose_files(wrong)
    expect(page.alert).to_contain_text("wrong.h5ad")
    expect(page.plot).to_be_visible()
    assert len(page.latents(tmp_path).library) == 600


def test_a_model_that_is_replaced_meanwhile(tab: Tab, page: ThePage) -> None:
    gate = Gate(tab)
    page.use_example()
    page.encode.click()
    gate.wait()

    def another(route: Route) -> None:
        answered = route.fetch()
        route.fulfill(response=answered, json={**answered.json(), "sha256": "0" * 64})

    tab.page.context.route(re.compile(r"/versions/1$"), another)
    gate.open()
    expect(page.alert).to_contain_text("was replaced by another model meanwhile")
    expect(page.see_it).not_to_be_visible()


def test_an_answer_that_breaks_off_is_asked_for_again(tab: Tab, page: ThePage) -> None:
    tab.expect_complaint(FAILED)
    gate = Gate(tab)
    page.use_example()
    page.encode.click()
    gate.wait()
    gate.fail()
    expect(page.plot).to_be_visible()
    expect(page.alert).not_to_be_visible()


def test_a_wrong_file_after_a_good_one_that_is_still_read(
    tab: Tab, page: ThePage, card: dict[str, Any], tmp_path: Path
) -> None:
    table = made_files.csv(tmp_path / "table.csv", MadeCells.of(card, n_cells=30))
    page.choose_files(table)
    page.answer(re.compile("Batch"), "PBMC5k for all")
    page.encode_all()
    gate = Gate(tab, READER)
    page.choose_files(made_files.h5ad(tmp_path / "slow.h5ad", MadeCells.of(card, n_cells=60)))
    gate.wait()
    page.choose_files(made_files.png(tmp_path / "wrong.png"))
    expect(page.alert).to_contain_text("wrong.png")
    gate.open()
    expect(page.try_it).to_contain_text("table.csv")
    assert len(page.latents(tmp_path).library) == 30
    page.button("Encode again").click()
    expect(page.try_it).to_contain_text("30 cells encoded")
    assert len(page.latents(tmp_path).library) == 30


def test_a_wrong_file_while_the_good_one_is_checked(tab: Tab, page: ThePage, tmp_path: Path) -> None:
    gate = Gate(tab, re.compile(r"/validate$"))
    page.button("Use the example cells").click()
    gate.wait()
    page.choose_files(made_files.png(tmp_path / "wrong.png"))
    expect(page.alert).to_contain_text("wrong.png")
    gate.open()
    expect(page.report).to_be_visible()
    expect(page.alert).to_contain_text("wrong.png")
    page.encode_all()


def test_the_example_that_does_not_come_leaves_the_result(tab: Tab, page: ThePage, tmp_path: Path) -> None:
    tab.expect_complaint(FAILED)
    page.use_example()
    page.encode_all()
    before = page.latents(tmp_path)
    page.answer(re.compile("Batch"), "PBMC5k for all")
    gate = Gate(tab)
    page.button("Encode with these choices").click()
    gate.wait()
    tab.page.context.route(EXAMPLE, lambda route: route.abort())
    page.button("Use the example cells").click()
    expect(page.alert).to_contain_text("it does not answer")
    expect(page.page.get_by_role("progressbar")).not_to_be_visible()
    gate.held.clear()
    gate.open()
    assert (page.latents(tmp_path).z == before.z).all()
    expect(page.see_it).to_contain_text("and the choices before")


def test_a_worker_that_dies_with_the_file(tab: Tab, page: ThePage) -> None:
    tab.expect_complaint("no memory")
    page.use_example()
    page.encode_all()
    [worker] = [worker for worker in tab.page.workers if "/worker-" in worker.url]
    worker.evaluate("() => { setTimeout(() => { throw new Error('no memory'); }); }")
    expect(page.alert).to_contain_text("failed")
    expect(page.see_it).not_to_be_visible()
    page.button("Try again").click()
    expect(page.report).to_be_visible()
    page.encode_all()


def test_another_model_under_the_same_version(tab: Tab, page: ThePage) -> None:
    page.use_example()
    page.encode_all()

    def another(route: Route) -> None:
        answered = route.fetch()
        told = answered.json()
        told["models"][0]["sha256"] = "0" * 64
        route.fulfill(response=answered, json=told)

    tab.page.context.route(MODELS, another)
    tab.page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.see_it).to_contain_text("of the model and the choices before")


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of the example model and of the synthetic one."""
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(EXAMPLE_MODELS, models, dirs_exist_ok=True)
    export({synthetic.NAME: synthetic.RECIPE.write(tmp_path_factory.mktemp("save"))}, models)
    with RunningServer(models, "--threads", 1, "--drain-delay-s", 0) as running:
        yield running.wait_until_ready()


def test_of_several_models_the_one_that_has_the_genes(
    tabs: Callable[..., Tab], two_models: RunningServer, tmp_path: Path
) -> None:
    tab = tabs(two_models, path="/page/licenses.md")
    tab.expect_complaint(f"{FAILED}.* 404")
    gate = Gate(tab, MODELS)
    tab.page.goto(tab.address)
    page = ThePage(tab.page)
    with httpx.Client(base_url=tab.address, trust_env=False) as caller:
        card = caller.get(f"/v1/models/{synthetic.NAME}").raise_for_status().json()
    # A table has neither batch nor covariates, and is there before the models are.
    page.choose_files(made_files.csv(tmp_path / "cells.csv", MadeCells.of(card, n_cells=30)))
    expect(page.try_it).to_contain_text("cells.csv")
    gate.open()
    expect(page.question("Model")).to_have_value(synthetic.NAME)
    page.button("Use the example cells").click()
    expect(page.question("Model")).to_have_value("pbmc")
    expect(page.report).to_be_visible()
