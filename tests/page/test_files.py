"""Every file that biologists have: dropped, reported, encoded, and answered as a caller of /v1 is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from tests.page import made_files
from tests.page.latents import encoded
from tests.page.made_files import MadeCells
from tests.page.the_page import ThePage

BATCH_OF = "Batch of the cells"
BATCH = "PBMC5k"
"""Of the cells in files that cannot tell."""

WITH_LABELS: Mapping[str, Callable[[Path, MadeCells], Path]] = {
    "csr.h5ad": made_files.h5ad,
    "csc.h5ad": lambda path, cells: made_files.h5ad(path, cells, "csc", compression="gzip"),
    "dense.h5ad": lambda path, cells: made_files.h5ad(path, cells, "dense"),
    "cells.h5mu": made_files.h5mu,
}
WITHOUT: Mapping[str, Callable[[Path, MadeCells], Path]] = {
    "filtered_feature_bc_matrix.h5": made_files.tenx_h5,
    "matrix.zip": made_files.trio_zip,
    "filtered_feature_bc_matrix.tar.gz": made_files.trio_tar_gz,
    "counts.csv": made_files.csv,
}


@pytest.fixture(scope="module")
def cells(card: Mapping[str, Any]) -> MadeCells:
    return MadeCells.of(card)


@pytest.mark.parametrize("name", WITH_LABELS)
def test_a_dropped_file_is_read_as_it_is(
    page: ThePage, rest: httpx.Client, cells: MadeCells, tmp_path: Path, name: str
) -> None:
    page.drop_files(WITH_LABELS[name](tmp_path / name, cells))
    expect(page.report).to_contain_text("Your file has 2,000 of the model's 2,000 genes (100 %).")
    page.encode_all()
    answer = encoded(rest, "pbmc", cells.request(batch=cells.obs["batch"]))
    dataclasses.replace(answer, cells=cells.ids).assert_same(page.latents(tmp_path))


def test_counts_in_a_layer_are_asked_for(page: ThePage, rest: httpx.Client, cells: MadeCells, tmp_path: Path) -> None:
    page.drop_files(made_files.h5ad(tmp_path / "layer.h5ad", cells, counts_in="counts"))
    expect(page.try_it).to_contain_text("X of layer.h5ad looks log-normalised, not like raw counts")
    expect(page.encode).not_to_be_visible()
    page.answer("Raw counts", "layer counts")
    page.encode_all()
    encoded(rest, "pbmc", cells.request(batch=cells.obs["batch"])).assert_same(page.latents(tmp_path))


@pytest.mark.parametrize("name", WITHOUT)
def test_a_file_without_labels_is_asked_for_one(
    page: ThePage, rest: httpx.Client, cells: MadeCells, tmp_path: Path, name: str
) -> None:
    page.drop_files(WITHOUT[name](tmp_path / name, cells))
    expect(page.question(BATCH_OF)).to_have_attribute("aria-invalid", "true")
    expect(page.encode).not_to_be_visible()
    page.answer(BATCH_OF, f"{BATCH} for all cells")
    expect(page.report).to_contain_text("Your file has 14 of the model's 14 proteins (100 %).")
    page.encode_all()
    answer = encoded(rest, "pbmc", cells.request(batch=BATCH))
    dataclasses.replace(answer, cells=cells.ids).assert_same(page.latents(tmp_path))


def test_the_three_files_dropped_together(page: ThePage, rest: httpx.Client, cells: MadeCells, tmp_path: Path) -> None:
    files = [tmp_path / name for name in made_files.trio(cells)]
    for file, content in zip(files, made_files.trio(cells).values(), strict=True):
        file.write_bytes(content)
    page.drop_files(*files)
    page.answer(BATCH_OF, f"{BATCH} for all cells")
    page.encode_all()
    encoded(rest, "pbmc", cells.request(batch=BATCH)).assert_same(page.latents(tmp_path))


def test_the_report_tells_which_genes_are_missing_and_which_are_strange(
    page: ThePage, rest: httpx.Client, cells: MadeCells, tmp_path: Path
) -> None:
    fewer = cells.without_genes(300).with_strange_genes(7)
    page.choose_files(made_files.h5ad(tmp_path / "fewer.h5ad", fewer))
    expect(page.report).to_contain_text("Your file has 1,700 of the model's 2,000 genes (85 %).")
    expect(page.report).to_contain_text(
        f"300 genes are missing and count as 0, as if not expressed: {cells.genes[1700]}"
    )
    expect(page.report).to_contain_text("7 genes of the file are unknown to the model and not used: STRANGE0, ")
    page.encode_all()
    encoded(rest, "pbmc", fewer.request(batch=cells.obs["batch"])).assert_same(page.latents(tmp_path))


def test_a_label_that_the_model_does_not_know_is_asked_about(
    page: ThePage, rest: httpx.Client, cells: MadeCells, tmp_path: Path
) -> None:
    strange = cells.with_label("batch", "my own sample", slice(3))
    page.choose_files(made_files.h5ad(tmp_path / "strange.h5ad", strange))
    expect(page.question(BATCH_OF)).to_have_attribute("aria-invalid", "true")
    expect(page.try_it).to_contain_text("my own sample")
    page.answer(BATCH_OF, f"{BATCH} for all cells")
    page.encode_all()
    encoded(rest, "pbmc", cells.request(batch=BATCH)).assert_same(page.latents(tmp_path))


def test_a_second_file_takes_the_place_of_the_first(
    page: ThePage, rest: httpx.Client, cells: MadeCells, card: Mapping[str, Any], tmp_path: Path
) -> None:
    page.use_example()
    page.encode_all()
    page.drop_files(made_files.h5ad(tmp_path / "mine.h5ad", cells))
    expect(page.see_it).not_to_be_visible()
    expect(page.try_it).to_contain_text("mine.h5ad")
    page.encode_all()
    encoded(rest, "pbmc", cells.request(batch=cells.obs["batch"])).assert_same(page.latents(tmp_path))
