"""Frozen settings, one group a part; every field is one flag and one `TOTALVI_…` variable (API 1).

The fields are the only table: `--http-port`, `TOTALVI_HTTP_PORT` and the attribute `http_port` are one name in three
spellings, and a field's metadata says how its text is read and what `--help` says of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal

from service.core.served_versions import ALL_VERSIONS, SPELLING, ServedVersions
from service.core.tokens import MIN_TOKEN_CHARACTERS, TOKEN
from service.setting_readers import Read, a_file, matching, number, one_of, size, switch, whole

LEVELS: Final = ("debug", "info", "warning", "error")
"""Of the log."""

PREFIX = "TOTALVI_"
CLIENTS = frozenset({f"{PREFIX}CLIENT_SERVER", f"{PREFIX}CLIENT_TOKEN"})
"""Variables of the client, which may be set in the same shell."""
MIB = 1 << 20


class SettingsError(Exception):
    """A setting that cannot be used; one line that names its flag or variable and says what to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """What a settings field knows of its text: how it is read, and what `--help` says."""

    read: Read
    help: str
    shown_default: str


def setting(default: Any, read: Read, text: str, *, shown: str | None = None) -> Any:
    """A field of a settings group; `shown` is its default as people read it."""
    return dataclasses.field(default=default, metadata=option(read, text, shown or str(default)))


def option(read: Read, text: str, shown: str) -> dict[str, Option]:
    """A field's metadata."""
    return {"option": Option(read, text, shown)}


@dataclasses.dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where the servers listen, and whether for browsers too. Port 0 takes a free one."""

    host: str = setting("127.0.0.1", matching(r"\S+", "an address or host name"), "address of all ports")
    http_port: int = setting(8000, whole(0, 65535), "callers' REST port; 0 takes a free one")
    grpc_port: int = setting(8001, whole(0, 65535), "callers' gRPC port; 0 takes a free one")
    admin_port: int = setting(8002, whole(0, 65535), "operators' port (metrics, probes); 0 takes a free one")
    page: bool = setting(
        True, switch, "whether the REST port has a page for people, at /, open to all: on or off", shown="on"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """What one connection may hold, and for how long."""

    max_connections: int = setting(4096, whole(1, 1 << 20), "most connections of a port; further ones are closed")
    header_timeout_s: float = setting(
        10.0, number(0.01, 3600), "seconds for a connection's handshake, and for a request's headers", shown="10"
    )
    body_timeout_s: float = setting(
        120.0, number(0.01, 86_400), "seconds for the body of a REST request, from its headers on", shown="120"
    )
    stall_timeout_s: float = setting(
        30.0, number(0.01, 3600), "seconds in which a REST caller must have taken some of its answer", shown="30"
    )
    connection_age_s: float = setting(
        300.0,
        number(0, 86_400),
        "seconds after which a gRPC connection takes no new calls, so that its caller finds new replicas; 0: never",
        shown="300",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class AccessSettings:
    """Who may call, and how the callers' ports are encrypted; the operators' port is plain HTTP."""

    tokens_file: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            a_file, "file of the callers' tokens, NAME TOKEN [EXPIRES] a line; followed", "no token is asked for"
        ),
    )
    tls_cert: Path | None = dataclasses.field(
        default=None, metadata=option(a_file, "file of the callers' ports' certificate chain, PEM; followed", "no TLS")
    )
    tls_key: Path | None = dataclasses.field(
        default=None, metadata=option(a_file, "file of the certificate's private key, PEM; followed", "no TLS")
    )
    tls_client_ca: Path | None = dataclasses.field(
        default=None,
        metadata=option(
            a_file, "file of the CAs of which callers must show a certificate, PEM; followed", "none is asked for"
        ),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class CatalogSettings:
    """Which models are served, and who may change that while the service runs."""

    versions: ServedVersions = dataclasses.field(
        default=ALL_VERSIONS, metadata=option(ServedVersions.read, f"which versions are served: {SPELLING}", "all")
    )
    allowed_sha256_file: Path | None = dataclasses.field(
        default=None, metadata=option(a_file, "file of the sha256 that an artifact may have; read at every load", "any")
    )
    watch_models: float = setting(
        0.0, number(0, 86_400), "seconds between looks at the models directory for changes; 0: none", shown="0"
    )
    allow_empty: bool = setting(False, switch, "whether to start without any model: on or off", shown="off")
    admin_token_file: Path | None = dataclasses.field(
        default=None,
        metadata=option(a_file, "file of the token that /admin on the operators' port asks for", "/admin is off"),
    )
    repository_api: bool = setting(
        False, switch, "whether callers may load and unload models, as they may call: on or off", shown="off"
    )

    def read_admin_token(self) -> str | None:
        """The operators' token; None: there is none.

        Raises:
            SettingsError: it cannot be used.
        """
        if self.admin_token_file is None:
            return None
        source = flag("admin_token_file")
        try:
            token = self.admin_token_file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise SettingsError(f"{source}: {self.admin_token_file} cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            token = ""
        if not TOKEN.fullmatch(token):
            wanted = f"one word of {MIN_TOKEN_CHARACTERS} or more plain characters"
            raise SettingsError(f"{source}: {self.admin_token_file} must hold {wanted}")
        return token


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceSettings:
    """What the encoder runs on."""

    device: str = setting(
        "auto", matching(r"auto|cpu|cuda(:\d{1,3})?", "auto, cpu, cuda or cuda:N"), "where to compute"
    )
    threads: int = setting(
        0, whole(0, 1024), "threads of one computation on the cpu; 0 takes the cores", shown="the cores"
    )
    precision: Literal["float32", "tf32", "bfloat16"] = setting(
        "float32",
        one_of("float32", "tf32", "bfloat16"),
        "arithmetic of the encoder: float32, tf32 (cuda) or bfloat16; the model's card tells the error",
    )
    stuck_after_s: float = setting(
        60.0,
        number(0.1, 86_400),
        "seconds after which a computation that has not ended is taken for stuck, and the process ends",
        shown="60",
    )


@dataclasses.dataclass(frozen=True, slots=True)
class BatchSettings:
    """How calls share one computation."""

    max_batch_cells: int = setting(1024, whole(1, 1 << 20), "most cells in one computation")
    max_batch_entries: int = setting(1 << 22, whole(1, 1 << 30), "most non-zero gene counts in one computation")
    max_delay_ms: float = setting(0.0, number(0, 10_000), "how long an idle encoder waits for company", shown="0")


@dataclasses.dataclass(frozen=True, slots=True)
class LimitSettings:
    """What is refused: as overload where the queue is full, as too large where one call asks too much."""

    max_queue_cells: int = setting(
        65536, whole(1, 1 << 30), "most cells of a priority that wait; where none do, one call of any size is taken"
    )
    max_queue_bytes: int = setting(
        1 << 30, size(1, 1 << 40), "most memory of the calls that wait, likewise", shown="1GiB"
    )
    max_inflight_bytes: int = setting(
        512 * MIB,
        size(1, 1 << 40),
        "most memory of bodies and messages whose calls have not ended; where there are none, one of any size is taken",
        shown="512MiB",
    )
    # gRPC holds message sizes in an int32.
    max_request_bytes: int = setting(64 * MIB, size(1, (1 << 31) - 1), "largest body or message", shown="64MiB")
    max_request_cells: int = setting(65536, whole(1, 1 << 30), "most cells of one call")
    max_samples: int = setting(1000, whole(0, 1 << 20), "most draws for a cell")
    max_sample_values: int = setting(1 << 23, whole(0, 1 << 30), "most drawn numbers of one call")


@dataclasses.dataclass(frozen=True, slots=True)
class DrainSettings:
    """How the process goes down: it serves on for the delay, then has the timeout to finish what it took in."""

    drain_delay_s: float = setting(
        5.0, number(0, 3600), "seconds to serve on after a stop signal, until balancers have noticed", shown="5"
    )
    drain_timeout_s: float = setting(
        30.0, number(1, 3600), "seconds after the delay to finish what was taken in", shown="30"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged, and how."""

    log_level: str = setting("info", one_of(*LEVELS), "least severity that is logged")
    log_format: str = setting(
        "auto", one_of("auto", "text", "json"), "form of a log line", shown="text on a terminal, json elsewhere"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class TraceSettings:
    """Which calls are traced, and who is told."""

    traces_endpoint: str | None = dataclasses.field(
        default=None,
        metadata=option(
            matching(r"https?://[^\s/?#@]+(/[^\s?#]*)?", "an address like http://127.0.0.1:4318"),
            "OTLP collector that traces are sent to over HTTP; needs totalvi-serve[otel]",
            "nothing is traced",
        ),
    )
    traces_ratio: float = setting(
        1.0, number(0, 1), "share that is traced of the calls that come without a decision of their caller's", shown="1"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All settings of a server."""

    models: Path = dataclasses.field(
        metadata=option(matching(r".+", "a directory", Path), "directory of the models", "required")
    )
    listen: ListenSettings = dataclasses.field(default_factory=ListenSettings)
    connections: ConnectionSettings = dataclasses.field(default_factory=ConnectionSettings)
    access: AccessSettings = dataclasses.field(default_factory=AccessSettings)
    catalog: CatalogSettings = dataclasses.field(default_factory=CatalogSettings)
    device: DeviceSettings = dataclasses.field(default_factory=DeviceSettings)
    batch: BatchSettings = dataclasses.field(default_factory=BatchSettings)
    limits: LimitSettings = dataclasses.field(default_factory=LimitSettings)
    drain: DrainSettings = dataclasses.field(default_factory=DrainSettings)
    log: LogSettings = dataclasses.field(default_factory=LogSettings)
    traces: TraceSettings = dataclasses.field(default_factory=TraceSettings)

    def __post_init__(self) -> None:
        """Raise `SettingsError` where the groups do not fit each other."""
        _refuse_equal_ports(self.listen)
        _refuse_half_of_tls(self.access)

    @classmethod
    def from_args(cls, namespace: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
        """Settings of a parsed command line and an environment; a flag beats a variable, a variable the default.

        Raises:
            SettingsError: a variable is unknown, or a value is missing, unreadable, out of range or does not fit.
        """
        _refuse_unknown_variables(environ)
        values: dict[type, dict[str, Any]] = {group: {} for group in (cls, *GROUPS.values())}
        for group, field in fields():
            for source, text in (
                (flag(field.name), getattr(namespace, field.name, None)),
                (variable(field.name), environ.get(variable(field.name))),
            ):
                if text is not None:
                    values[group][field.name] = _read(source, field, text)
                    break
        if "models" not in values[cls]:
            raise SettingsError(f"no models directory: give {flag('models')} DIRECTORY or set {variable('models')}")
        return cls(**values[cls], **{name: group(**values[group]) for name, group in GROUPS.items()})


GROUPS: dict[str, type] = {
    "listen": ListenSettings,
    "connections": ConnectionSettings,
    "access": AccessSettings,
    "catalog": CatalogSettings,
    "device": DeviceSettings,
    "batch": BatchSettings,
    "limits": LimitSettings,
    "drain": DrainSettings,
    "log": LogSettings,
    "traces": TraceSettings,
}


def fields() -> Iterator[tuple[type, dataclasses.Field[Any]]]:
    """Every setting with the group that holds it, in the order of `--help`."""
    for group in (Settings, *GROUPS.values()):
        for field in dataclasses.fields(group):
            if "option" in field.metadata:
                yield group, field


def flag(name: str) -> str:
    """The flag of the setting `name`."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """The environment variable of the setting `name`."""
    return PREFIX + name.upper()


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the flag of every setting; their texts are read later, beside the environment's."""
    for _, field in fields():
        option: Option = field.metadata["option"]
        parser.add_argument(
            flag(field.name),
            metavar=field.name.rpartition("_")[2].upper(),
            help=f"{option.help} [{variable(field.name)}; {option.shown_default}]",
        )


def read_variable(name: str, environ: Mapping[str, str]) -> Any:
    """The one setting `name` from the environment, or its default.

    Raises:
        SettingsError: its variable cannot be read.
    """
    field = next(field for _, field in fields() if field.name == name)
    text = environ.get(variable(name))
    return field.default if text is None else _read(variable(name), field, text)


def _read(source: str, field: dataclasses.Field[Any], text: str) -> Any:
    option: Option = field.metadata["option"]
    try:
        return option.read(text)
    except ValueError as error:
        raise SettingsError(f"{source} {text!r}: give {error}") from None


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = [variable(field.name) for _, field in fields()]
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in CLIENTS and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)[0]
            raise SettingsError(f"unknown environment variable {name}: did you mean {nearest}? unset it or correct it")


def _refuse_equal_ports(listen: ListenSettings) -> None:
    seen: dict[int, str] = {}
    for name in ("http_port", "grpc_port", "admin_port"):
        port = getattr(listen, name)
        if port and port in seen:
            raise SettingsError(f"{flag(seen[port])} and {flag(name)} are both {port}: give each its own port")
        seen[port] = name


def _refuse_half_of_tls(access: AccessSettings) -> None:
    given = [name for name in ("tls_cert", "tls_key", "tls_client_ca") if getattr(access, name) is not None]
    missing = [name for name in ("tls_cert", "tls_key") if name not in given]
    if given and missing:
        raise SettingsError(
            f"{flag(given[0])} needs {' and '.join(map(flag, missing))}: give them too, or none of them"
        )
