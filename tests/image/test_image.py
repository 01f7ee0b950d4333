"""The image as it runs: by `make image-check`, which builds it and says in IMAGE_ROOT and IMAGE_CONFIG where it is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.image.container import PATIENCE_S, Container

ROOT_VARIABLE, CONFIG_VARIABLE = "IMAGE_ROOT", "IMAGE_CONFIG"

pytestmark = pytest.mark.skipif(ROOT_VARIABLE not in os.environ, reason="no image was built (make image-check)")


@pytest.fixture(scope="module")
def root() -> Path:
    return Path(os.environ[ROOT_VARIABLE])


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    """What the image says of itself, as `buildah inspect` tells: OCI's words, and Docker's where OCI has none."""
    told = json.loads(Path(os.environ[CONFIG_VARIABLE]).read_text())
    return told["OCIv1"]["config"] | {"Healthcheck": told["Docker"]["config"]["Healthcheck"]}


@pytest.fixture(scope="module")
def container(root: Path, image: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    with Container(root, image, tmp_path_factory.mktemp("container")) as started:
        yield started.wait_until_ready()


def called(container: Container) -> dict[str, Any]:
    with container.beside(sys.executable, "-m", "tests.image.caller") as caller:
        told, _ = caller.communicate(timeout=PATIENCE_S)
    assert caller.returncode == 0, told
    return json.loads(told.splitlines()[-1])


def test_it_answers_rest_and_grpc_and_the_probes(container: Container) -> None:
    seen = called(container)
    assert seen["probes"] == {"livez": 200, "readyz": 200, "startupz": 200, "metrics": 200}
    assert seen["page"] == 200
    assert len(seen["means"]) == len(seen["grpc"].splitlines()) == 5


def test_it_is_nobody_and_writes_nowhere(container: Container) -> None:
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{container.pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    for place in ("/", "/tmp", "/opt/totalvi", "/models"):
        told = container.run("touch", f"{place}/x")
        assert "Read-only file system" in told.stderr, place


def test_the_server_is_process_1_and_leaves_no_zombies(container: Container, image: dict[str, Any]) -> None:
    command = container.run("cat", "/proc/1/cmdline").stdout.split("\0")
    assert command[1:3] == ["/opt/totalvi/bin/totalvi-serve", "run"], command
    kind, *check = image["Healthcheck"]["Test"]
    assert kind == "CMD"
    for _ in range(3):
        told = container.run(*check)
        assert told.returncode == 0, told.stderr
    assert container.processes() == {1: "S"}


def test_no_installer_is_left_in_it(root: Path) -> None:
    assert not list(root.glob("opt/totalvi/bin/pip*"))
    assert list(root.glob("opt/totalvi/lib/python3*/site-packages/torch"))


def test_sigterm_drains_and_ends_it_with_0(root: Path, image: dict[str, Any], tmp_path: Path) -> None:
    """Process 1 hears SIGTERM, serves on for the delay and leaves: no call fails."""
    with Container(root, image, tmp_path, environ={"TOTALVI_DRAIN_DELAY_S": "5"}) as container:
        container.wait_until_ready()
        with container.beside(sys.executable, "-m", "tests.image.caller", "until-draining") as caller:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "calling\n"
            container.send("TERM")
            told, _ = caller.communicate(timeout=PATIENCE_S)
        assert caller.returncode == 0, told
        seen = json.loads(told.splitlines()[-1])
        assert seen["while_draining"] == 10
        assert seen["livez_while_draining"] == 200
        assert container.wait() == 0
        assert "received SIGTERM" in container.log


def test_sigterm_while_it_loads(root: Path, image: dict[str, Any], tmp_path: Path) -> None:
    with Container(root, image, tmp_path) as container:
        while "loading the models" not in container.log:
            pass
        container.send("TERM")
        assert container.wait() == 0


def test_any_other_user_can_run_it(root: Path, image: dict[str, Any], tmp_path: Path) -> None:
    """OpenShift gives each namespace a number of its own, and the group 0."""
    with Container(root, image, tmp_path, user="1000660000:0") as container:
        container.wait_until_ready()
        assert len(called(container)["means"]) == 5
        assert container.run("totalvi-serve", "healthcheck", "--live").returncode == 0


def test_variables_of_a_service_refuse_to_start(root: Path, image: dict[str, Any], tmp_path: Path) -> None:
    """What Kubernetes would set for the Service totalvi-serve, were it not for enableServiceLinks: false."""
    with Container(root, image, tmp_path, environ={"TOTALVI_SERVE_PORT": "tcp://10.0.0.1:8000"}) as container:
        assert container.wait() == 2
        assert "TOTALVI_SERVE_PORT" in container.log
