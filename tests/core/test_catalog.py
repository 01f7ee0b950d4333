"""Models are found, loaded and looked up; what cannot be served is told to the operator."""

from pathlib import Path

import pytest

from service.core.catalog import Catalog, CatalogError
from service.core.errors import ErrorKind, ServiceError
from tests.fakes import FakeEncoder


def place(root: Path, *artifacts: str) -> None:
    for artifact in artifacts:
        path = root / artifact / "encoder.pt"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")


def catalog(root: Path, *artifacts: str) -> Catalog:
    place(root, *artifacts)
    made = Catalog(root, lambda path: FakeEncoder())
    made.load_all()
    return made


def refusal(models: Catalog, *names: str | None) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        models.resolve(*names)
    assert caught.value.kind is ErrorKind.NOT_FOUND
    return caught.value


def test_the_highest_version_is_the_default(tmp_path: Path) -> None:
    models = catalog(tmp_path, "m/2", "m/10", "m/9")
    assert models.resolve("m").version == "10"
    assert models.resolve("m", "9").version == "9"
    assert models.card("m").versions == ("2", "9", "10")


def test_the_only_model_needs_no_name(tmp_path: Path) -> None:
    assert catalog(tmp_path, "m/1").resolve().name == "m"


def test_several_models_need_a_name(tmp_path: Path) -> None:
    models = catalog(tmp_path, "m/1", "n/1")
    assert "name one of 'm', 'n'" in refusal(models).detail
    assert [card.name for card in models.cards()] == ["m", "n"]


def test_what_is_not_there_lists_what_is(tmp_path: Path) -> None:
    models = catalog(tmp_path, "m/1", "m/2")
    assert "served: 'm'" in refusal(models, "x").detail
    assert "served: '1', '2'" in refusal(models, "m", "3").detail
    assert "x" * 10 not in refusal(models, "x" * 5000).detail


def test_each_version_has_its_own_columns(tmp_path: Path) -> None:
    models = catalog(tmp_path, "m/1", "m/2")
    assert models.resolve("m", "1").genes is not models.resolve("m", "2").genes


def test_a_card_tells_the_model(tmp_path: Path) -> None:
    card = catalog(tmp_path, "m/1").card("m")
    assert (card.name, card.version, card.state, card.sha256) == ("m", "1", "ready", "0" * 64)
    assert card.manifest["n_latent"] == 3
    assert card.manifest["batch"] == {"key": "batch", "categories": ("a", "b")}


def test_other_things_in_the_directory_are_left_alone(tmp_path: Path) -> None:
    place(tmp_path, "m/1", "m/.2.half", ".hidden/1", "m/notes", "m/0", "m/01", "bad name/1")
    (tmp_path / "README").write_text("")
    models = Catalog(tmp_path, lambda path: FakeEncoder())
    models.load_all()
    assert [card.versions for card in models.cards()] == [("1",)]


def test_an_empty_or_missing_directory_is_told(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="holds no model"):
        Catalog(tmp_path, lambda path: FakeEncoder()).load_all()
    with pytest.raises(CatalogError, match="not a directory"):
        Catalog(tmp_path / "nowhere", lambda path: FakeEncoder()).load_all()


def test_a_model_that_cannot_be_loaded_is_named_with_its_reason(tmp_path: Path) -> None:
    def load(path: Path) -> FakeEncoder:
        raise ValueError("damaged")

    place(tmp_path, "m/3")
    with pytest.raises(CatalogError, match="model m version 3 cannot be loaded: damaged"):
        Catalog(tmp_path, load).load_all()
