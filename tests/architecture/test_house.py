"""Rules of the house that no linter holds."""

import subprocess
import sys

import pytest

from tests.saves import ROOT


def loaded_by(*modules: str) -> set[str]:
    """What importing these modules loads, in a process of its own."""
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def test_both_transports_load_without_torch() -> None:
    modules = loaded_by("service.rest.app", "service.rest.admin_routes", "service.rpc.server", "service.core.engine")
    assert "torch" not in modules and "scvi" not in modules


def test_the_core_loads_without_a_transport() -> None:
    modules = loaded_by("service.core.engine", "service.core.worker")
    assert not modules & {"torch", "fastapi", "starlette", "pydantic", "grpc", "prometheus_client"}


def test_the_model_loads_without_the_service() -> None:
    modules = loaded_by("model.export", "model.inspection", "model.device_encoder")
    assert not {name.partition(".")[0] for name in modules} & {"service", "scvi", "fastapi", "grpc", "pydantic"}


def test_torch_jit_stays_behind_one_module() -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for package in ("model", "service")
        for path in (ROOT / package).rglob("*.py")
        if any(f"torch.jit.{call}(" in path.read_text() for call in ("script", "trace", "save", "load", "freeze"))
    }
    assert users == {"model/torchscript.py"}


@pytest.mark.parametrize("folder", ["model", "service", "proto", "examples", "benchmarks", "deploy"])
def test_no_file_bears_a_name_that_says_nothing(folder: str) -> None:
    nothing = {"utils", "util", "common", "helpers", "helper", "base", "manager", "handler", "misc"}
    names = {path.stem for path in (ROOT / folder).rglob("*.py")}
    folders = {path.name for path in (ROOT / folder).rglob("*") if path.is_dir()}
    assert not names & nothing
    assert not folders & {"grpc", "http"}, "they would shadow the real modules"


def test_proto_is_no_package() -> None:
    assert not (ROOT / "proto" / "__init__.py").exists(), "it would shadow proto-plus"
