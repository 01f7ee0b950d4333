"""The Dockerfile, read and not built: `make image-check` builds and runs it."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from collections.abc import Callable

import pytest

from tests.deploy.rendering import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction and its argument, comments left out and lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def complaints(text: str, ignored: str = IGNORED) -> list[str]:
    """What is wrong with a Dockerfile."""
    found = instructions(text)
    last = found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]
    told = []
    arguments = dict(rest.split("=", 1) for word, rest in found if word == "ARG" and "=" in rest)
    stages = {rest.split(" AS ")[1] for word, rest in found if word == "FROM"}
    for base in (rest.split()[0] for word, rest in found if word == "FROM"):
        image = arguments.get(base.strip("${}"), base)
        if base not in stages and base != "scratch" and not re.fullmatch(r"[^:@]+(:\d+\.\d+\.\d+[\w.-]*|@sha256:\w{64})", image):
            told.append(f"base {image} is not pinned")
    for word, rest in found:
        if word == "ADD":
            told.append(f"ADD {rest}: fetches and unpacks by itself")
        if word == "RUN" and re.search(r"curl|wget|apt|--break-system-packages", rest):
            told.append(f"RUN {rest}: from the network, unpinned")
        if word == "COPY" and rest.split()[0] in (".", "./"):
            told.append("COPY of everything")
    by_word = {word: rest for word, rest in last}
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", by_word.get("USER", "")):
        told.append("USER is no number, or root")
    for word, wanted in (("ENTRYPOINT", ["totalvi-serve"]), ("CMD", ["run"])):
        try:
            fits = json.loads(by_word.get(word, "null")) == wanted
        except json.JSONDecodeError:
            fits = False  # a shell's line
        if not fits:
            told.append(f"{word} is not {wanted}")
    if not by_word.get("HEALTHCHECK", "").endswith('CMD ["totalvi-serve", "healthcheck"]'):
        told.append("HEALTHCHECK does not ask the server")
    if "STOPSIGNAL" in by_word and by_word["STOPSIGNAL"] != "SIGTERM":
        told.append("STOPSIGNAL is not what the server drains on")
    for variable in ("TOTALVI_HOST=0.0.0.0", "TOTALVI_MODELS=/models", "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp"):
        if variable not in by_word.get("ENV", "").split():
            told.append(f"no {variable}")
    for name in ("title", "version", "revision", "created", "licenses"):
        if f"org.opencontainers.image.{name}=" not in by_word.get("LABEL", ""):
            told.append(f"no label {name}")
    copies = [rest for word, rest in last if word == "COPY"]
    if not ("dependencies" in copies[0] and "code" in copies[-1]):
        told.append("the layer of the dependencies is not below that of the code")
    if ignored.splitlines()[1] != "*":
        told.append("the context holds whatever lies about")
    return told


def test_it_obeys() -> None:
    assert complaints(DOCKERFILE) == []


BROKEN: dict[str, Callable[[str], str]] = {
    "base python:latest is not pinned": lambda text: re.sub(r"(ARG PYTHON_IMAGE=)\S+", r"\1python:latest", text),
    "base python:3.11-slim is not pinned": lambda text: re.sub(r"(ARG PYTHON_IMAGE=)\S+", r"\1python:3.11-slim", text),
    "ADD": lambda text: text + "ADD https://example.com/x /x\n",
    "from the network": lambda text: text + "RUN curl -O https://example.com/x\n",
    "COPY of everything": lambda text: text.replace("COPY LICENSE README.md pyproject.toml /source/", "COPY . /source/"),
    "USER is no number": lambda text: text.replace("USER 10001:10001\n", "USER app\n"),
    "or root": lambda text: text.replace("USER 10001:10001\n", ""),
    "ENTRYPOINT is not": lambda text: text.replace('ENTRYPOINT ["totalvi-serve"]', "ENTRYPOINT totalvi-serve"),
    "CMD is not": lambda text: text.replace('\nCMD ["run"]', ""),
    "HEALTHCHECK does not ask": lambda text: text.replace("HEALTHCHECK", "#"),
    "STOPSIGNAL": lambda text: text.replace("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"),
    "no TOTALVI_HOST": lambda text: text.replace("TOTALVI_HOST=0.0.0.0", "TOTALVI_HOST=127.0.0.1"),
    "no label revision": lambda text: text.replace("org.opencontainers.image.revision", "revision"),
    "not below": lambda text: text.replace("COPY --from=dependencies /opt/totalvi /opt/totalvi\n", ""),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_rule_is_told(complaint: str) -> None:
    assert [told for told in complaints(BROKEN[complaint](DOCKERFILE)) if complaint in told]


def test_the_version_is_the_projects() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"ARG VERSION={version}\n" in DOCKERFILE
    base = (ROOT / "deploy" / "base" / "kustomization.yaml").read_text()
    assert f"newTag: {version}\n" in base


def test_what_it_copies_is_let_through() -> None:
    let_through = {line[1:] for line in IGNORED.splitlines() if line.startswith("!")}
    copied = {
        source
        for word, rest in instructions(DOCKERFILE)
        if word == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == let_through


def test_the_requirements_are_the_projects() -> None:
    script = runpy.run_path(str(ROOT / "deploy" / "image" / "requirements.py"), run_name="requirements")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert script["requirements"](ROOT / "pyproject.toml", []) == project["dependencies"]
    assert set(project["optional-dependencies"]["dev"]) < set(script["requirements"](ROOT / "pyproject.toml", ["dev"]))
    with pytest.raises(KeyError):
        script["requirements"](ROOT / "pyproject.toml", ["no such extra"])
