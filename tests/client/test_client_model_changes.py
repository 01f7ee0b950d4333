"""A model that is exchanged while its cells are encoded, under its own version and under a new one."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.client.asked import of_all, slices
from tests.client.ways import open_way
from tests.end_to_end import synthetic
from tests.end_to_end.operators import admin
from tests.end_to_end.server import RunningServer, export
from totalvi_client import Cells, ModelChanged

TOKEN = "correct-horse-battery-staple"
CELLS = synthetic.cells(40)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the same columns with other weights."""
    recipe = dataclasses.replace(synthetic.RECIPE, seed=1)
    into = tmp_path_factory.mktemp("other")
    export({synthetic.NAME: recipe.write(tmp_path_factory.mktemp("save"))}, into)
    return into / synthetic.NAME / "1"


@pytest.fixture(scope="module")
def changing(synthetic_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Path]]:
    """A server whose operator may load models, and their directory."""
    models = tmp_path_factory.mktemp("changing")
    token = models.parent / f"{models.name}.token"
    token.write_text(TOKEN)
    shutil.copytree(synthetic_models, models, dirs_exist_ok=True)
    with RunningServer(models, "--admin-token-file", token, "--drain-delay-s", "0") as running:
        yield running.wait_until_ready(), models


def cells_with(change: Callable[[], None]) -> Iterator[Cells]:
    """The cells, with a change before the third slice."""
    for number, one in enumerate(slices(CELLS, [10, 20, 30])):
        if number == 2:
            change()
        yield one


def test_under_its_own_version_it_is_an_error_under_a_new_one_it_is_nobodys_matter(
    way: str, changing: tuple[RunningServer, Path], other: Path, synthetic_models: Path
) -> None:
    server, models = changing
    folder = models / synthetic.NAME

    def put(artifact: Path, version: str) -> None:
        half = folder / f".{version}.half"
        shutil.copytree(artifact, half)
        shutil.rmtree(folder / version, ignore_errors=True)
        half.rename(folder / version)
        answer = admin(server, "POST", f"/{synthetic.NAME}/load", TOKEN)
        assert answer.status_code == 200, answer.text

    with open_way(way, server.http_port, server.grpc_port) as client:
        before = client.model(synthetic.NAME)
        found = list(client.encode_stream(cells_with(lambda: put(other, "2")), **of_all(CELLS)))
        assert [one.model_version for one in found] == ["1"] * 4
        assert client.model(synthetic.NAME).version == "2"

        with pytest.raises(ModelChanged, match="version 1 of model synthetic"):
            list(client.encode_stream(cells_with(lambda: put(other, "1")), **of_all(CELLS) | {"version": 1}))
        assert client.model(synthetic.NAME, 1).sha256 != before.sha256

        put(synthetic_models / synthetic.NAME / "1", "1")
        shutil.rmtree(folder / "2")
        assert admin(server, "POST", f"/{synthetic.NAME}/load", TOKEN).status_code == 200
        assert client.model(synthetic.NAME) == before
