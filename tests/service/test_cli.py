from __future__ import annotations

import dataclasses
import http.server
import json
import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.errors import ModelFileError
from service import cli


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("TOTALVI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def stub_module(monkeypatch):
    def install(name: str, **contents: object) -> None:
        module = types.ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)

    return install


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["serve"], "'run', 'export', 'inspect', 'healthcheck'"),
        (["run"], "--models DIRECTORY"),
        (["run", "--models", "m", "--http-port", "x"], "--http-port 'x': give a whole number"),
        (["run", "--models", "m", "--tokens", "t"], "unknown argument --tokens; see totalvi-serve run --help"),
        (["run", "--models", "m", "--tls-cert", "c"], "--tls-cert needs --tls-key"),
        (["run", "--models", "m", "--admin"], "unknown argument --admin"),
        (["run", "--model", "m"], "unknown argument --model"),
        (["run", "--models"], "--models"),
        (["export", "s", "--name", ".a", "--version", "1", "--into", "m"], "--name: '.a' cannot name a model"),
        (["export", "s", "--name", "a/b", "--version", "1", "--into", "m"], "--name: 'a/b' cannot name a model"),
        (["export", "s", "--name", "a" * 129, "--version", "1", "--into", "m"], "cannot name a model"),
        (["export", "s", "--name", "a\n", "--version", "1", "--into", "m"], "cannot name a model"),
        (["export", "s", "--name", "a", "--version", "0", "--into", "m"], "--version: '0' is not a version"),
        (["export", "s", "--name", "a", "--version", "01", "--into", "m"], "--version: '01' is not a version"),
        (["export", "s", "--name", "a", "--into", "m"], "--version"),
        (["export", "s", "--name", "a", "--version", "1", "--into", "m", "--input-transform", "x"], "log1p"),
        (["inspect"], "SAVE_OR_ARTIFACT"),
        (["inspect", "a", "b\nc"], "unknown argument b c"),
        (["healthcheck", "--url", "https://h/"], "http://127.0.0.1:8002/readyz"),
        (["healthcheck", "--url", "http://h:port/"], "http://127.0.0.1:8002/readyz"),
        (["healthcheck", "--url", "http://[h/"], "http://127.0.0.1:8002/readyz"),
        (["healthcheck", "--live", "--url", "http://h/"], "not allowed with"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(arguments, said, capsys):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("totalvi-serve: ")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["export", "--help"], ["--version"]])
def test_help_and_version_exit_0(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    assert left.value.code == 0
    assert "totalvi-serve" in capsys.readouterr().out


def test_run_help_shows_each_flag_with_its_variable_and_default(capsys):
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "--max-request-bytes BYTES largest body or message [TOTALVI_MAX_REQUEST_BYTES; 64MiB]" in said


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["healthcheck", "--url", "http://127.0.0.1:1/"]])
def test_what_must_be_instant_loads_nothing_heavy(arguments):
    code = (
        "import sys, service.cli\n"
        "try: service.cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'grpc', 'fastapi', 'uvicorn', 'prometheus_client'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    finished = subprocess.run([sys.executable, "-c", code, *arguments], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(("environ", "seen"), [({}, "NONE"), ({"GRPC_VERBOSITY": "debug"}, "debug")])
def test_run_silences_grpc_before_it_is_imported(environ, seen):
    code = (
        "import os, sys, service.cli\n"
        "class Seen:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'grpc': sys.exit(os.environ.get('GRPC_VERBOSITY'))\n"
        "sys.meta_path.insert(0, Seen())\n"
        "service.cli.main(['run', '--models', 'm'])\n"
    )
    inherited = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    finished = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, env=inherited | environ
    )
    assert finished.stderr == f"{seen}\n"


@dataclasses.dataclass
class Report:
    path: Path

    def lines(self) -> list[str]:
        return [f"wrote {self.path}", "checked"]


def test_export_passes_its_arguments_and_prints_the_report(stub_module, capsys):
    asked = {}

    def export_save(save: Path, **options: object) -> Report:
        asked.update(save=save, **options)
        return Report(Path("m/pbmc/3/encoder.pt"))

    stub_module("model.export", export_save=export_save)
    assert cli.main(["export", "save", "--name", "pbmc", "--version", "3", "--into", "m"]) == 0
    assert asked == {
        "save": Path("save"),
        "name": "pbmc",
        "version": 3,
        "into": Path("m"),
        "input_transform": "auto",
    }
    assert capsys.readouterr().out == "wrote m/pbmc/3/encoder.pt\nchecked\n"


@pytest.mark.parametrize(
    "error", [ModelFileError("model.pt is cut short; copy it again"), PermissionError(13, "Permission denied", "x\ny")]
)
@pytest.mark.parametrize("command", ["export", "inspect"])
def test_a_file_that_cannot_be_used_is_one_line_and_exit_1(command, error, stub_module, capsys):
    def fail(*_: object, **__: object) -> None:
        raise error

    stub_module("model.export", export_save=fail)
    stub_module("model.inspection", inspect_path=fail)
    options = ["--name", "a", "--version", "1", "--into", "m"] if command == "export" else []
    assert cli.main([command, "save", *options]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


CARD = {
    "genes": [f"gene{i}" for i in range(7)],
    "batch": {"key": "site", "categories": ["a", 1, True]},
    "n_latent": 20,
    "library_encoder_trained": False,
    "scvi_version": None,
    "proteins_missing_per_batch": {},
    "deviation_from_eager": {"qz_mean": 1.5e-7},
}


def test_inspect_aligns_for_people(stub_module, capsys):
    stub_module("model.inspection", inspect_path=lambda path: CARD)
    assert cli.main(["inspect", "encoder.pt"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "genes                       gene0, gene1, gene2, gene3, gene4, … (7 in all)",
        "batch",
        "  key         site",
        "  categories  a, 1, yes",
        "n_latent                    20",
        "library_encoder_trained     no",
        "scvi_version                none",
        "proteins_missing_per_batch  none",
        "deviation_from_eager",
        "  qz_mean  1.5e-07",
    ]


def test_inspect_shows_each_covariate_on_a_line(stub_module, capsys):
    fields = (
        {"key": "donor", "categories": ("d1", "d2")},
        {"key": "site", "categories": tuple(range(7))},
    )
    card = {"categorical_covariates": fields, "continuous_covariates": ("age", "dose"), "proteins": ()}
    stub_module("model.inspection", inspect_path=lambda path: card)
    assert cli.main(["inspect", "encoder.pt"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "categorical_covariates",
        "  donor  d1, d2",
        "  site   0, 1, 2, 3, 4, … (7 in all)",
        "continuous_covariates   age, dose",
        "proteins                none",
    ]


def test_inspect_gives_all_of_it_as_json(stub_module, capsys):
    stub_module("model.inspection", inspect_path=lambda path: CARD)
    assert cli.main(["inspect", "encoder.pt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == CARD


def test_inspect_shows_no_sign_that_a_terminal_obeys(stub_module, capsys):
    stub_module("model.inspection", inspect_path=lambda path: {"genes": ["a\x1b[2Jb", "new\nline", "β"]})
    assert cli.main(["inspect", "encoder.pt"]) == 0
    assert capsys.readouterr().out == "genes  a\\x1b[2Jb, new\\nline, β\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_terminal_can_show_any_name(encoding, tmp_path):
    code = (
        "import sys, types; module = types.ModuleType('model.inspection');"
        "module.inspect_path = lambda path: {'genes': ['β', '\\ud800']};"
        "sys.modules['model.inspection'] = module; from service import cli; sys.exit(cli.main(['inspect', 'x']))"
    )
    environ = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("sink", "code", "said"), [("reader that leaves", 1, b""), ("/dev/full", 1, b"cannot be written")]
)
def test_output_that_goes_nowhere_is_no_traceback(sink, code, said):
    arguments = [sys.executable, "-m", "service", "inspect", "examples/models/pbmc/1/encoder.pt", "--json"]
    if sink == "/dev/full":
        with open(sink, "wb") as full:
            done = subprocess.run(arguments, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
        errors, returned = done.stderr, done.returncode
    else:
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            errors, returned = process.stderr.read(), process.wait(60)
    assert returned == code
    assert said in errors and b"Traceback" not in errors and errors.count(b"\n") <= 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/é", "http://a..b/", "http://127.0.0.1:1/a b"])
def test_healthcheck_of_a_strange_address_is_one_line(url, capsys):
    assert cli.main(["healthcheck", "--url", url]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def probes() -> Iterator[http.server.HTTPServer]:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/livez" else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_healthcheck_asks_where_the_environment_says(probes, monkeypatch, capsys):
    monkeypatch.setenv("TOTALVI_ADMIN_PORT", str(probes.server_port))
    monkeypatch.setenv("TOTALVI_HOST", "0.0.0.0")
    # A proxy must not be asked.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert cli.main(["healthcheck", "--live"]) == 0
    assert cli.main(["healthcheck"]) == 1
    assert "answered 503" in capsys.readouterr().err
    assert cli.main(["healthcheck", "--url", f"http://127.0.0.1:{probes.server_port}/livez"]) == 0


def test_healthcheck_of_nothing_is_one_line_and_exit_1(capsys):
    assert cli.main(["healthcheck", "--url", "http://127.0.0.1:1/readyz"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_healthcheck_refuses_an_unreadable_variable(monkeypatch):
    monkeypatch.setenv("TOTALVI_ADMIN_PORT", "x")
    assert cli.main(["healthcheck"]) == 2


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8002/readyz"),
        ({"TOTALVI_HOST": "::"}, "http://[::1]:8002/readyz"),
        ({"TOTALVI_HOST": "10.0.0.7", "TOTALVI_ADMIN_PORT": "9"}, "http://10.0.0.7:9/readyz"),
    ],
)
def test_probe_url(environ, url):
    assert cli.probe_url("readyz", environ) == url


def test_an_interrupted_command_exits_130(stub_module):
    def interrupt(path: Path) -> None:
        raise KeyboardInterrupt

    stub_module("model.inspection", inspect_path=interrupt)
    assert cli.main(["inspect", "x"]) == 130
