"""What is installed of the service, by the wheel that the image is made of."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.saves import ROOT

pytest.importorskip("setuptools")  # what builds it; pip brings its own, and the checks need it for nothing else

MADE_UP = {"index.html", "page/index-AAAAAAAA.js", "page/cells-AAAAAAAA.h5ad", "page/licenses.md"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel of this code with a page that was made up."""
    source = tmp_path_factory.mktemp("source")
    for name in ("LICENSE", "README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    for package in ("model", "service"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__", "page_files"))
    for name in MADE_UP:
        file = source / "service" / "rest" / "page_files" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("made up")
    build = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, "dist"], cwd=source, check=True, capture_output=True, timeout=60)
    [wheel] = Path(source, "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_it_has_the_page(installed: set[str]) -> None:
    below = "service/rest/page_files/"
    assert {name.removeprefix(below) for name in installed if name.startswith(below)} == MADE_UP


def test_it_has_all_code(installed: set[str]) -> None:
    code = {file.relative_to(ROOT).as_posix() for name in ("model", "service") for file in (ROOT / name).rglob("*.py")}
    assert code <= installed


def test_it_has_no_tests_and_no_source_of_the_page(installed: set[str]) -> None:
    assert {name.split("/")[0] for name in installed if ".dist-info" not in name} == {"model", "service"}
