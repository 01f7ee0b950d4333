"""Models come, change and go while the service runs; what fails is told and disturbs nothing."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model.contract import OutOfDeviceMemory
from model.errors import ModelFileError
from service.core.catalog import Catalog, CatalogError
from service.core.errors import ErrorKind, ServiceError
from service.core.served_versions import ServedVersions
from tests.fakes import FakeEncoder, Gate


class Models:
    """A models directory of one-word artifacts: `bad` is refused, `bug` a fault, any other becomes the sha256."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.gate = Gate()
        self.gate.open()
        self.n_loads = 0

    def put(self, version: str, content: str = "good") -> None:
        path = self.root / version / "encoder.pt"
        path.parent.mkdir(parents=True, exist_ok=True)
        # As export does: another file under the same name.
        (path.parent / "new").write_text(content)
        (path.parent / "new").rename(path)

    def drop(self, folder: str) -> None:
        shutil.rmtree(self.root / folder)

    def load(self, path: Path) -> FakeEncoder:
        self.n_loads += 1
        self.gate.pass_through()
        content = path.read_text()
        if content == "bad":
            raise ModelFileError("encoder.pt is damaged")
        if content == "huge":
            raise OutOfDeviceMemory("cuda:0 has too little memory left")
        if content == "bug":
            raise RuntimeError(f"a fault at {path}")
        encoder = FakeEncoder()
        encoder.sha256 = content
        return encoder

    def catalog(self, versions: str = "all") -> Catalog:
        catalog = Catalog(self.root, self.load, versions=ServedVersions.read(versions), allow_empty=True)
        catalog.load_all()
        self.n_loads = 0
        return catalog


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


def served(catalog: Catalog) -> dict[str, str]:
    return {
        f"{card.name}/{version}": catalog.resolve(card.name, version).encoder.sha256
        for card in catalog.cards()
        for version in card.versions
    }


def index(catalog: Catalog) -> dict[str, tuple[str, str]]:
    return {f"{state.name}/{state.version}": (state.state, state.reason) for state in catalog.index()}


def refusal(change: Callable[[str], None], name: str = "m") -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        change(name)
    return caught.value


def test_the_start_serves_what_the_setting_says(models: Models) -> None:
    for version in ("m/1", "m/2", "n/1", "n/2"):
        models.put(version)
    assert list(served(models.catalog("m=1;*=latest"))) == ["m/1", "n/2"]
    assert list(served(models.catalog("n=2"))) == ["n/2"]


@pytest.mark.parametrize(
    ("versions", "told"),
    [
        ("m=3", "model m version 3 cannot be loaded: there is no encoder.pt"),
        ("x=latest", r"model x is to be served \(--versions\)"),
    ],
)
def test_what_must_be_served_and_is_not_there_refuses_the_start(models: Models, versions: str, told: str) -> None:
    models.put("m/1")
    with pytest.raises(CatalogError, match=told):
        models.catalog(versions)


def test_a_start_without_models_only_where_that_is_allowed(models: Models) -> None:
    assert refusal(models.catalog().resolve).detail == "no model is served at the moment"
    with pytest.raises(CatalogError, match="holds no model"):
        Catalog(models.root, models.load).load_all()


def test_a_load_switches_to_what_is_on_disk(models: Models) -> None:
    models.put("m/1", "old")
    models.put("n/1")
    catalog = models.catalog()
    before = catalog.resolve("m")
    models.put("m/1", "new")
    models.put("m/2")
    catalog.load("m")
    assert served(catalog) == {"m/1": "new", "m/2": "good", "n/1": "good"}
    assert index(catalog) == dict.fromkeys(("m/1", "m/2", "n/1"), ("ready", ""))
    # Who has it keeps it.
    assert before.encoder.sha256 == "old"
    models.put("o/1")
    catalog.load("o")
    assert [card.name for card in catalog.cards()] == ["m", "n", "o"]


def test_a_failed_load_changes_nothing_and_is_told(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    models.put("m/1")
    catalog = models.catalog()
    before = catalog.resolve("m")
    models.put("m/2", "bad")
    models.put("m/3")
    refused = refusal(catalog.load)
    assert (refused.kind, refused.detail) == (
        ErrorKind.INVALID,
        "model m version 2 cannot be loaded: encoder.pt is damaged",
    )
    assert catalog.resolve("m") is before
    assert index(catalog) == {
        "m/1": ("ready", ""),
        "m/2": ("failed", "encoder.pt is damaged"),
        "m/3": ("unloaded", "left as it was, for version 2 cannot be loaded: encoder.pt is damaged"),
    }
    assert [state.version for state in catalog.index(ready=True)] == ["1"]
    models.put("m/2")
    catalog.load("m")
    assert set(index(catalog).values()) == {("ready", "")}


def test_a_failed_reload_of_what_is_served_is_told_beside_it(models: Models) -> None:
    models.put("m/1", "old")
    catalog = models.catalog()
    models.put("m/1", "bad")
    refusal(catalog.load)
    assert (served(catalog), index(catalog)) == ({"m/1": "old"}, {"m/1": ("ready", "encoder.pt is damaged")})


def test_a_device_without_memory_for_it_may_have_some_later(models: Models) -> None:
    models.put("m/1")
    catalog = models.catalog()
    models.put("m/2", "huge")
    refused = refusal(catalog.load)
    assert (refused.kind, refused.retry_after_s) == (ErrorKind.UNAVAILABLE, 1.0)
    assert refused.detail == "model m version 2 cannot be loaded: cuda:0 has too little memory left"
    assert index(catalog)["m/2"] == ("failed", "cuda:0 has too little memory left")
    assert served(catalog) == {"m/1": "good"}


@pytest.mark.parametrize("how", ["refresh", "load"])
def test_of_a_failed_model_whose_folder_is_gone_nothing_is_told(models: Models, how: str) -> None:
    """Or its failure would be told, and an alert would last, until a restart."""
    models.put("m/1")
    catalog = models.catalog()
    models.put("n/1", "bad")
    refusal(catalog.load, "n")
    assert index(catalog)["n/1"] == ("failed", "encoder.pt is damaged")
    models.drop("n")
    if how == "refresh":
        catalog.refresh()
    else:
        assert refusal(catalog.load, "n").kind is ErrorKind.NOT_FOUND
    assert index(catalog) == {"m/1": ("ready", "")}


def test_a_fault_is_told_without_its_words(models: Models, caplog: pytest.LogCaptureFixture) -> None:
    models.put("m/1")
    catalog = models.catalog()
    models.put("m/2", "bug")
    refused = refusal(catalog.load)
    assert refused.kind is ErrorKind.INTERNAL
    assert index(catalog)["m/2"] == ("failed", "RuntimeError; the server's log tells more")
    assert str(models.root) not in refused.detail + str(index(catalog))
    assert "a fault at" in caplog.text


@pytest.mark.parametrize("name", ["lost", "../m", "", "m/1", "x" * 5000])
def test_a_model_that_is_not_there(models: Models, name: str) -> None:
    models.put("m/1")
    catalog = models.catalog()
    for change in (catalog.load, catalog.unload):
        refused = refusal(change, name)
        assert refused.kind is ErrorKind.NOT_FOUND
        assert len(refused.detail) < 200
    assert list(index(catalog)) == ["m/1"]


def test_an_unloaded_model_is_gone_until_it_is_loaded(models: Models) -> None:
    models.put("m/1")
    models.put("n/1")
    catalog = models.catalog()
    before = catalog.resolve("m")
    catalog.unload("m")
    assert refusal(catalog.resolve).kind is ErrorKind.NOT_FOUND
    assert index(catalog)["m/1"] == ("unloaded", "by request")
    assert before.encoder.sha256 == "good"
    assert refusal(catalog.unload).detail == "there is no such model; served: 'n'"
    catalog.load("m")
    assert list(served(catalog)) == ["m/1", "n/1"]


def test_a_directory_that_cannot_be_read_is_told_without_its_path(
    models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.put("m/1")
    catalog = models.catalog()

    def fail(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    for change in (catalog.load, catalog.unload):
        refused = refusal(change)
        assert (refused.kind, refused.detail) == (ErrorKind.UNAVAILABLE, "the models directory cannot be read")
    catalog.refresh()
    assert list(served(catalog)) == ["m/1"]


def test_lookups_go_on_while_a_model_is_loaded(models: Models) -> None:
    models.put("m/1", "old")
    catalog = models.catalog()
    models.put("m/1", "new")
    models.put("m/2")
    models.gate = Gate()
    threads = [threading.Thread(target=catalog.load, args=("m",), daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    models.gate.wait_entered()
    assert served(catalog) == {"m/1": "old"}
    assert index(catalog) == {"m/1": ("ready", ""), "m/2": ("loading", "")}
    models.gate.release()
    models.gate.wait_entered()
    # One load at a time: the second thread has not come in.
    assert (models.n_loads, served(catalog)) == (2, {"m/1": "old"})
    models.gate.open()
    for thread in threads:
        thread.join(20)
    assert (models.n_loads, served(catalog)) == (4, {"m/1": "new", "m/2": "good"})


def test_a_refresh_loads_what_is_new_and_nothing_else(models: Models) -> None:
    models.put("m/1")
    catalog = models.catalog()
    before = catalog.resolve("m", "1")
    catalog.refresh()
    assert models.n_loads == 0
    models.put("m/2")
    models.put("n/1")
    # Exports in the making, and a folder that somebody fills by hand.
    models.put("m/.3.half")
    (models.root / "m" / "4").mkdir()
    catalog.refresh()
    assert list(served(catalog)) == ["m/1", "m/2", "n/1"]
    assert (models.n_loads, catalog.resolve("m", "1")) == (2, before)
    assert index(catalog) == dict.fromkeys(served(catalog), ("ready", ""))


def test_a_refresh_under_latest_switches_and_goes_back(models: Models) -> None:
    models.put("m/1")
    catalog = models.catalog("latest")
    models.put("m/2")
    catalog.refresh()
    assert list(served(catalog)) == ["m/2"]
    models.drop("m/2")
    catalog.refresh()
    assert list(served(catalog)) == ["m/1"]


def test_a_refresh_unloads_what_is_gone(models: Models) -> None:
    for version in ("m/1", "m/2", "n/1"):
        models.put(version)
    catalog = models.catalog()
    models.drop("m/1")
    models.drop("n")
    catalog.refresh()
    assert list(index(catalog)) == ["m/2"]


def test_a_refresh_takes_a_file_that_was_changed_in_its_place(models: Models) -> None:
    models.put("m/1", "old")
    catalog = models.catalog()
    models.put("m/1", "newer")
    catalog.refresh()
    assert served(catalog) == {"m/1": "newer"}
    models.put("m/1", "bad")
    catalog.refresh()
    catalog.refresh()
    assert (served(catalog), index(catalog)) == ({"m/1": "newer"}, {"m/1": ("ready", "encoder.pt is damaged")})
    assert models.n_loads == 2


@pytest.mark.parametrize("versions", ["all", "latest", "m=1,2,3"])
def test_a_version_that_fails_is_told_once_and_tried_again_when_it_changes(
    models: Models, caplog: pytest.LogCaptureFixture, versions: str
) -> None:
    models.put("m/1", "first")
    catalog = models.catalog(versions.replace(",2,3", ""))
    catalog._versions = ServedVersions.read(versions)
    models.put("m/2", "bad")
    for _ in range(3):
        catalog.refresh()
    assert (served(catalog), models.n_loads) == ({"m/1": "first"}, 1)
    assert index(catalog)["m/2"] == ("failed", "encoder.pt is damaged")
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    # It does not stand in the way of others.
    models.put("m/3", "third")
    catalog.refresh()
    assert catalog.resolve("m").version == "3"
    assert index(catalog)["m/2"] == ("failed", "encoder.pt is damaged")
    models.put("m/2", "mended")
    catalog.refresh()
    assert "m/2" not in index(catalog) or index(catalog)["m/2"] == ("ready", "")


def test_a_model_unloaded_by_request_stays_so_until_its_folder_changes(models: Models) -> None:
    models.put("m/1")
    models.put("n/1")
    catalog = models.catalog()
    catalog.unload("m")
    catalog.refresh()
    assert list(served(catalog)) == ["n/1"]
    assert index(catalog)["m/1"] == ("unloaded", "by request")
    models.put("m/2")
    catalog.refresh()
    assert list(served(catalog)) == ["m/1", "m/2", "n/1"]


@pytest.mark.parametrize("lost", ["the directory", "all that was in it"])
def test_what_is_served_survives_a_lost_mount(models: Models, caplog: pytest.LogCaptureFixture, lost: str) -> None:
    models.put("m/1")
    catalog = models.catalog()
    before = catalog.resolve("m")
    shutil.rmtree(models.root)
    if lost != "the directory":
        models.root.mkdir()
    caplog.clear()
    for _ in range(3):
        catalog.refresh()
    assert catalog.resolve("m") is before
    assert len(caplog.records) == 1
    models.put("m/2")
    catalog.refresh()
    assert list(served(catalog)) == ["m/2"]


def test_loads_are_counted_and_timed(models: Models) -> None:
    models.put("m/1")
    catalog = models.catalog()
    assert catalog.loads == {("m", "ok"): 1, ("m", "failed"): 0}
    before = dict(catalog.loads)
    models.put("m/7", "bad")
    with pytest.raises(ServiceError):
        catalog.load("m")
    assert catalog.loads["m", "failed"] == before["m", "failed"] + 1
    models.drop("m/7")
    catalog.load("m")
    served = [state for state in catalog.index(ready=True) if state.name == "m"]
    assert catalog.loads["m", "ok"] > before["m", "ok"]
    assert {version for name, version in catalog.load_s if name == "m"} == {state.version for state in served}
    assert all(seconds >= 0 for seconds in catalog.load_s.values())
    models.put("new/1", "bad")
    with pytest.raises(ServiceError):
        catalog.load("new")
    assert (catalog.loads["new", "ok"], catalog.loads["new", "failed"]) == (0, 1)
