"""The Dockerfile, read and not built: `make image-check` builds and runs it."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from tests.deploy.rendering import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text()


PINNED = re.compile(r"[^:@]+(:\d+\.\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})")

Instruction: TypeAlias = tuple[str, str]
"""Its word and its argument."""


def instructions(text: str) -> list[Instruction]:
    """Each instruction and its argument, comments left out and lines joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def complaints(text: str, ignored: str = IGNORED) -> list[str]:
    """What is wrong with a Dockerfile."""
    found = instructions(text)
    last = found[max(i for i, (word, _) in enumerate(found) if word == "FROM") :]
    told = [*of_bases(found), *of_steps(found), *of_image(dict(last))]
    copies = [rest for word, rest in last if word == "COPY"]
    if not ("dependencies" in copies[0] and "code" in copies[-1]):
        told.append("the layer of the dependencies is not below that of the code")
    if ignored.splitlines()[1] != "*":
        told.append("the context holds whatever lies about")
    return told


def of_bases(found: list[Instruction]) -> Iterator[str]:
    """Each is a stage, or an image of a whole version or a digest."""
    arguments = dict(rest.split("=", 1) for word, rest in found if word == "ARG" and "=" in rest)
    stages = {rest.split(" AS ")[1] for word, rest in found if word == "FROM"} | {"scratch"}
    for base in (rest.split()[0] for word, rest in found if word == "FROM"):
        image = arguments.get(base.strip("${}"), base)
        if base not in stages and not PINNED.fullmatch(image):
            yield f"base {image} is not pinned"


def of_steps(found: list[Instruction]) -> Iterator[str]:
    """Nothing comes in but by name."""
    for word, rest in found:
        if word == "ADD":
            yield f"ADD {rest}: fetches and unpacks by itself"
        if word == "RUN" and re.search(r"curl|wget|apt|--break-system-packages", rest):
            yield f"RUN {rest}: from the network, unpinned"
        if word == "COPY" and rest.split()[0] in (".", "./"):
            yield "COPY of everything"


def of_image(by_word: dict[str, str]) -> Iterator[str]:
    """What the last stage says of how it is run."""
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", by_word.get("USER", "")):
        yield "USER is no number, or root"
    # By their text: a shell's line would be another.
    wanted = {"ENTRYPOINT": '["totalvi-serve"]', "CMD": '["run"]', "STOPSIGNAL": "SIGTERM"}
    yield from (f"{word} is not {text}" for word, text in wanted.items() if by_word.get(word) != text)
    if not by_word.get("HEALTHCHECK", "").endswith('CMD ["totalvi-serve", "healthcheck"]'):
        yield "HEALTHCHECK does not ask the server"
    for variable in ("TOTALVI_HOST=0.0.0.0", "TOTALVI_MODELS=/models", "PYTHONDONTWRITEBYTECODE=1", "HOME=/tmp"):
        if variable not in by_word.get("ENV", "").split():
            yield f"no {variable}"
    for name in ("title", "version", "revision", "created", "licenses"):
        if f"org.opencontainers.image.{name}=" not in by_word.get("LABEL", ""):
            yield f"no label {name}"


def test_it_obeys() -> None:
    assert complaints(DOCKERFILE) == []


BROKEN: dict[str, Callable[[str], str]] = {
    "base python:latest is not pinned": lambda text: re.sub(r"(ARG PYTHON_IMAGE=)\S+", r"\1python:latest", text),
    "base python:3.11-slim is not pinned": lambda text: re.sub(r"(ARG PYTHON_IMAGE=)\S+", r"\1python:3.11-slim", text),
    "ADD": lambda text: text + "ADD https://example.com/x /x\n",
    "from the network": lambda text: text + "RUN curl -O https://example.com/x\n",
    "COPY of everything": lambda text: text.replace(
        "COPY LICENSE README.md pyproject.toml /source/", "COPY . /source/"
    ),
    "USER is no number": lambda text: text.replace("USER 10001:10001\n", "USER app\n"),
    "or root": lambda text: text.replace("USER 10001:10001\n", ""),
    "ENTRYPOINT is not": lambda text: text.replace('ENTRYPOINT ["totalvi-serve"]', "ENTRYPOINT totalvi-serve"),
    "CMD is not": lambda text: text.replace('\nCMD ["run"]', ""),
    "HEALTHCHECK does not ask": lambda text: text.replace("HEALTHCHECK", "#"),
    "STOPSIGNAL is not": lambda text: text.replace("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"),
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
