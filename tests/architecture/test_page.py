"""Rules of the page's house: page/ and what is built of it."""

from __future__ import annotations

import json
import re

import pytest

from tests.saves import ROOT

SOURCES = ROOT / "page"
BUILT = ROOT / "service" / "rest" / "page_files"
PARTS = sorted(path.name for path in (SOURCES / "src").iterdir() if path.is_dir())
PACKAGE = json.loads((SOURCES / "package.json").read_text())
LOCK = json.loads((SOURCES / "package-lock.json").read_text())

LEAF = "service/types"
"""What the service's routes answer: types that name nothing else, so any part may know them."""

MAY_IMPORT = {
    "reading": set(),
    "planning": {"reading"},
    "service": {"planning", "reading"},
    "encoding": {"planning", "service"},
    "worker": {"encoding", "planning", "reading", "seeing", "service", "taking"},
    "seeing": set(),
}
"""Parts by the parts that they may know; those that a person sees, which know many, are not among them."""

IN_WORKERS = ("reading", "planning", "encoding", "worker")
"""Parts without a document."""


def imports(part: str) -> dict[str, list[str]]:
    """What the files of a part import, by file."""
    return {
        path.relative_to(SOURCES).as_posix(): re.findall(r'\b(?:from|import)\s*\(?"([^"]+)"', path.read_text())
        for path in (SOURCES / "src" / part).rglob("*.ts*")
    }


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_knows_those_below_it_alone(part: str) -> None:
    assert part in PARTS
    for file, names in imports(part).items():
        known = {match[1] for name in names if (match := re.match(rf"(?:\.\./)+({LEAF}$|[a-z]+(?=/))", name))}
        assert known - {part, LEAF} <= MAY_IMPORT[part], file


def test_the_types_of_the_service_import_nothing() -> None:
    assert imports("service")[f"src/{LEAF}.ts"] == []


@pytest.mark.parametrize("part", IN_WORKERS)
def test_what_runs_in_a_worker_draws_nothing(part: str) -> None:
    for file, names in imports(part).items():
        assert not [name for name in names if name.startswith(("preact", "@preact"))], file


def test_no_file_bears_a_name_that_says_nothing() -> None:
    nothing = {"utils", "util", "common", "helpers", "helper", "base", "manager", "handler", "misc"}
    for folder in ("src", "test"):
        assert not {path.name.split(".")[0] for path in (SOURCES / folder).rglob("*")} & nothing


def test_packages_are_pinned_and_the_lock_names_no_registry() -> None:
    asked = {**PACKAGE["dependencies"], **PACKAGE["devDependencies"]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in asked.values())
    locked = {name: entry for name, entry in LOCK["packages"].items() if name}
    assert {name: locked[f"node_modules/{name}"]["version"] for name in asked} == asked
    assert all("integrity" in entry and "resolved" not in entry for entry in locked.values())


def built() -> dict[str, str]:
    """What is built, by its path below the page's address; pictures and cells as what of them is text."""
    paths = [path for path in BUILT.rglob("*") if path.is_file()]
    return {path.relative_to(BUILT).as_posix(): path.read_text("utf-8", "ignore") for path in paths}


def test_every_built_file_is_named_by_the_index_or_by_a_file_that_it_names() -> None:
    files = built()
    reached, ahead = set(), {"index.html"}
    while ahead:
        text = files[file := ahead.pop()]
        reached.add(file)
        ahead |= {name for name in files if name.rpartition("/")[2] in text} - reached
    assert len(reached) > 1
    # The licences are for whoever looks for them.
    assert files.keys() - reached <= {"page/licenses.md"}


def test_what_is_built_tells_nothing_of_where() -> None:
    for name, text in built().items():
        assert str(ROOT) not in text, name
        assert "node_modules/" not in text, name


def test_the_licence_of_every_package_that_is_no_tool_is_told() -> None:
    told = re.findall(r"^## (\S+) (\S+):", (BUILT / "page" / "licenses.md").read_text(), re.MULTILINE)
    packages = [
        (name.rpartition("node_modules/")[2], entry["version"])
        for name, entry in LOCK["packages"].items()
        if name and not entry.get("dev")
    ]
    assert told == packages
