"""Rules of the house that no linter holds."""

import re
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


def test_who_traces_nothing_loads_no_opentelemetry_sdk() -> None:
    assert not {name for name in loaded_by("service.assembly") if name.startswith(("opentelemetry.sdk", "service.tra"))}


def test_the_model_loads_without_the_service() -> None:
    modules = loaded_by("model.export", "model.inspection", "model.device_encoder")
    assert not {name.partition(".")[0] for name in modules} & {"service", "scvi", "fastapi", "grpc", "pydantic"}


def sources_with(*texts: str) -> set[str]:
    """The files of the program that hold any of these texts."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in ("model", "service")
        for path in (ROOT / package).rglob("*.py")
        if any(text in path.read_text() for text in texts)
    }


def test_torch_jit_stays_behind_one_module() -> None:
    calls = (f"torch.jit.{call}(" for call in ("script", "trace", "save", "load", "freeze"))
    assert sources_with(*calls) == {"model/torchscript.py"}


def test_what_both_transports_do_stands_once() -> None:
    assert sources_with("internal error; the log has it") == {"service/core/errors.py"}
    assert sources_with("uuid4()") == {"service/core/request_id.py"}
    assert sources_with("asyncio.to_thread(function") == {"service/core/off_loop.py"}


@pytest.mark.parametrize("folder", ["model", "service", "proto", "examples", "benchmarks", "docs", "tests"])
def test_no_file_bears_a_name_that_says_nothing(folder: str) -> None:
    assert (ROOT / folder).is_dir()
    nothing = {"utils", "util", "common", "helpers", "helper", "base", "manager", "handler", "misc"}
    names = {path.stem for path in (ROOT / folder).rglob("*.py")}
    folders = {path.name for path in (ROOT / folder).rglob("*") if path.is_dir()}
    assert not names & nothing
    assert not folders & {"grpc", "http"}, "they would shadow the real modules"


def test_proto_is_no_package() -> None:
    assert not (ROOT / "proto" / "__init__.py").exists(), "it would shadow proto-plus"


def pins(file: str) -> dict[str, str]:
    """Versions by distribution, its name spelled as PyPI compares it."""
    lines = (ROOT / file).read_text().splitlines()
    pinned = [line.partition("==") for line in lines if not line.startswith("#")]
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in pinned}


def test_what_parity_installs_is_pinned_once() -> None:
    everywhere, parity = pins("constraints.txt"), pins("constraints-parity.txt")
    assert {"scvi-tools", "anndata", "mudata"} <= parity.keys()
    assert not everywhere.keys() & parity.keys(), "pip refuses two pins that differ"
    assert all({**everywhere, **parity}.values())
