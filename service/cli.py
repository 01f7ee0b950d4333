"""The command line. Errors are one line on standard error that says what to do; exit 2 for usage, 1 for the rest."""

from __future__ import annotations

import argparse
import http.client
import io
import json
import os
import signal
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from service import settings
from service.version import installed_version

PROGRAM = "totalvi-serve"
PROBE_TIMEOUT_S = 2.0
SHOWN_ITEMS = 5
"""Items of a list that `inspect` shows to people."""


class UsageError(Exception):
    """A command line that cannot be followed; one line."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError` where argparse would print a page."""
        raise UsageError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a gene's name is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    try:
        namespace, unknown = _parser().parse_known_args(arguments)
        if unknown:
            namespace.parser.error(f"unknown argument {unknown[0]}")
        code: int = namespace.command(namespace)
        sys.stdout.flush()
    except (UsageError, settings.SettingsError) as error:
        return _refuse(str(error), 2)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader has gone (`| head`); what is left to print must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _refuse(f"the output cannot be written ({error.strerror})", 1)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description="Serve the encoder of a trained totalVI model.")
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {installed_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="serve the models of a directory")
    settings.add_flags(run)
    run.set_defaults(command=_run, parser=run)

    export = commands.add_parser("export", help="turn a scvi-tools save into a model to be served")
    export.add_argument(
        "save", type=Path, metavar="SAVE", help="what model.save() wrote: the directory or its model.pt"
    )
    export.add_argument("--name", type=_model_name, required=True, help="name of the model")
    export.add_argument("--version", type=_model_version, required=True, help="its version: 1, 2, 3, …")
    export.add_argument("--into", type=Path, required=True, metavar="MODELS", help="directory of the models")
    export.add_argument(
        "--input-transform",
        choices=("auto", "log1p", "scaled"),
        default="auto",
        help="what scvi-tools did to counts in training (log1p up to 1.3.0, scaled since); auto decides by the save",
    )
    export.set_defaults(command=_export, parser=export)

    inspect = commands.add_parser("inspect", help="print what a save or a model to be served is")
    inspect.add_argument("path", type=Path, metavar="SAVE_OR_ARTIFACT")
    inspect.add_argument("--json", action="store_true", help="print all of it, as JSON")
    inspect.set_defaults(command=_inspect, parser=inspect)

    check = commands.add_parser("healthcheck", help="ask a running server whether it is ready; exit 0 if so, else 1")
    asked = check.add_mutually_exclusive_group()
    asked.add_argument("--url", help="probe to ask [/readyz at TOTALVI_HOST and TOTALVI_ADMIN_PORT]")
    asked.add_argument("--live", action="store_true", help="ask whether it is alive instead")
    check.set_defaults(command=_healthcheck, parser=check)
    return parser


def _run(namespace: argparse.Namespace) -> int:
    chosen = settings.Settings.from_args(namespace, os.environ)
    # Until the loop takes signals over: nothing runs yet, and process 1 of a container would not even hear them.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # Callers must not write into our log, and gRPC's C core tells standard error of their mistakes in lines of its own.
    # It reads this once, when grpc is first imported, which the next line does.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from service import allocator, lifecycle, log_setup  # noqa: PLC0415 - --help and healthcheck are to be instant

    allocator.keep_freed_memory()
    log_setup.configure(chosen.log.log_level, chosen.log.log_format)
    lifecycle.run(chosen)


def _export(namespace: argparse.Namespace) -> int:
    from model.errors import ModelFileError  # noqa: PLC0415
    from model.export import export_save  # noqa: PLC0415 - loads torch

    try:
        report = export_save(
            namespace.save,
            name=namespace.name,
            version=namespace.version,
            into=namespace.into,
            input_transform=namespace.input_transform,
        )
    except (ModelFileError, OSError) as error:
        return _refuse(str(error), 1)
    print("\n".join(report.lines()))
    return 0


def _inspect(namespace: argparse.Namespace) -> int:
    from model.errors import ModelFileError  # noqa: PLC0415
    from model.inspection import inspect_path  # noqa: PLC0415 - loads torch

    try:
        card = inspect_path(namespace.path)
    except (ModelFileError, OSError) as error:
        return _refuse(str(error), 1)
    print(json.dumps(card, indent=2, ensure_ascii=False) if namespace.json else aligned(card))
    return 0


def _healthcheck(namespace: argparse.Namespace) -> int:
    url = namespace.url or probe_url("livez" if namespace.live else "readyz", os.environ)
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme != "http":
        raise UsageError(f"--url {url!r} is not like http://127.0.0.1:8002/readyz")
    # Not urllib.request: a proxy from the environment has no say in whether this container is well.
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_TIMEOUT_S)
    try:
        connection.request("GET", parts.path or "/")
        status = connection.getresponse().status
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _refuse(f"no answer from {url} ({error}): is the server running?", 1)
    finally:
        connection.close()
    return 0 if status == 200 else _refuse(f"{url} answered {status}: the server's log says why", 1)


def probe_url(probe: str, environ: Mapping[str, str]) -> str:
    """Where the server that this environment configures answers a probe."""
    host = settings.read_variable("host", environ)
    # What is listened on everywhere is asked here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    port = settings.read_variable("admin_port", environ)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/{probe}"


def aligned(card: Mapping[str, Any]) -> str:
    """A card for people: names in one column, long lists cut, nested facts indented."""
    return "\n".join(_aligned_lines(card))


def _aligned_lines(card: Mapping[str, Any]) -> list[str]:
    width = max((len(str(name)) for name in card), default=0)
    lines = []
    for name, value in card.items():
        facts = _facts(value)
        if facts:
            lines += [f"{name}", *(f"  {line}" for line in _aligned_lines(facts))]
        else:
            lines.append(f"{name!s:<{width}}  {_shown(value)}")
    return lines


def _facts(value: Any) -> Mapping[str, Any]:
    """What is told of `value` on lines of its own: a mapping's members, or the categories of each covariate."""
    if isinstance(value, list | tuple) and all(isinstance(field, Mapping) for field in value):
        return {field["key"]: field["categories"] for field in value}
    return value if isinstance(value, Mapping) else {}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        if not value:
            return "none"
        items = [_shown(item) for item in value]
        return f"{', '.join(items[:SHOWN_ITEMS])}{f', … ({len(items)} in all)' if len(items) > SHOWN_ITEMS else ''}"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    # A name from a file may hold what a terminal would obey.
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in str(value))


def _model_name(text: str) -> str:
    from model.contract import MODEL_NAME  # noqa: PLC0415 - loads numpy

    if not MODEL_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot name a model: take letters, digits, '.', '_', '-' (128 at most), not a mark first"
        )
    return text


def _model_version(text: str) -> int:
    from model.contract import MODEL_VERSION  # noqa: PLC0415 - loads numpy

    if not MODEL_VERSION.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a version: give 1, 2, 3, …")
    return int(text)


def _refuse(message: str, code: int) -> int:
    print(f"{PROGRAM}: {' '.join(message.split())}", file=sys.stderr)
    return code
