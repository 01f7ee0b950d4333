"""Nothing leads out of the models directory: neither a caller's name nor a link."""

import os
from pathlib import Path

import pytest

from model.errors import ModelFileError
from service.core.model_folder import CatalogError, ModelFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for where in ("models/m/1", "models/m/2", "elsewhere/1", "models/real/1"):
        folder = tmp_path / where
        folder.mkdir(parents=True)
        (folder / "encoder.pt").write_text(where)
    return tmp_path / "models"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../elsewhere", "m/1", "/", "m\n", "m\0", "x" * 300, "..\\m", "%2e%2e"]
)
def test_a_name_that_names_no_model_never_becomes_a_path(root: Path, name: str) -> None:
    assert ModelFolder(root).versions(name) == []


def test_a_model_that_is_not_there_has_no_versions(root: Path) -> None:
    (root / "file").write_text("")
    assert [ModelFolder(root).versions(name) for name in ("lost", "file", "m")] == [[], [], ["1", "2"]]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("linked", "../elsewhere"),
        ("m/3", "../../elsewhere/1"),
        ("m/2/encoder.pt", "../../../elsewhere/1/encoder.pt"),
    ],
)
def test_links_that_lead_out_are_refused(root: Path, link: str, target: str) -> None:
    path = root / link
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    name, version = {"linked": ("linked", "1"), "m/3": ("m", "3")}.get(link, ("m", "2"))
    folder = ModelFolder(root)
    assert version in folder.versions(name)
    with pytest.raises(ModelFileError, match="leads out of the models directory") as refused:
        folder.artifact(name, version)
    assert str(root.parent) not in str(refused.value)


def test_links_within_are_followed(root: Path) -> None:
    """As Kubernetes mounts volumes: everything is a link into a hidden folder beside it."""
    (root / "alias").symlink_to("real")
    (root.parent / "mounted").symlink_to(root)
    folder = ModelFolder(root.parent / "mounted")
    assert folder.names() == ["alias", "m", "real"]
    assert folder.artifact("alias", "1") == root.resolve() / "real" / "1" / "encoder.pt"


def test_an_artifact_that_is_not_there(root: Path) -> None:
    (root / "m" / "1" / "encoder.pt").unlink()
    (root / "m" / "2" / "encoder.pt").unlink()
    (root / "m" / "2" / "encoder.pt").symlink_to("encoder.pt")
    folder = ModelFolder(root)
    for version in ("1", "2", "7"):
        with pytest.raises(ModelFileError, match=r"there is no encoder.pt in its folder"):
            folder.artifact("m", version)
    assert folder.mark("m", "1") is None
    # A circle is told by a mark of its own: it is tried, and so told, once.
    assert folder.mark("m", "2") is not None


def test_another_content_has_another_mark(root: Path) -> None:
    folder = ModelFolder(root)
    path = root / "m" / "1" / "encoder.pt"
    before, stat = folder.mark("m", "1"), path.stat()
    path.write_text("MODELS/M/1")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert before == folder.mark("m", "1") or stat.st_ctime_ns != path.stat().st_ctime_ns
    path.write_text("longer than before")
    assert folder.mark("m", "1") != before


def test_a_directory_that_is_none(root: Path) -> None:
    with pytest.raises(CatalogError, match="is not a directory"):
        ModelFolder(root / "m" / "1" / "encoder.pt").names()
