from __future__ import annotations

import argparse
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service import settings
from service.core.served_versions import ALL_VERSIONS, ServedVersions
from service.settings import Settings, SettingsError

MODELS = {"TOTALVI_MODELS": "models"}

# API 1, and the limits that DESIGN adds to it: flag, variable, where it is held, default, another text, its value.
TABLE = [
    ("--host", "TOTALVI_HOST", "listen.host", "127.0.0.1", "0.0.0.0", "0.0.0.0"),
    ("--http-port", "TOTALVI_HTTP_PORT", "listen.http_port", 8000, "0", 0),
    ("--grpc-port", "TOTALVI_GRPC_PORT", "listen.grpc_port", 8001, "9001", 9001),
    ("--admin-port", "TOTALVI_ADMIN_PORT", "listen.admin_port", 8002, "65535", 65535),
    ("--page", "TOTALVI_PAGE", "listen.page", True, "off", False),
    ("--max-connections", "TOTALVI_MAX_CONNECTIONS", "connections.max_connections", 4096, "1", 1),
    ("--connection-age-s", "TOTALVI_CONNECTION_AGE_S", "connections.connection_age_s", 300.0, "0", 0.0),
    ("--header-timeout-s", "TOTALVI_HEADER_TIMEOUT_S", "connections.header_timeout_s", 10.0, "0.5", 0.5),
    ("--body-timeout-s", "TOTALVI_BODY_TIMEOUT_S", "connections.body_timeout_s", 120.0, "60", 60.0),
    ("--stall-timeout-s", "TOTALVI_STALL_TIMEOUT_S", "connections.stall_timeout_s", 30.0, "5", 5.0),
    ("--tokens-file", "TOTALVI_TOKENS_FILE", "access.tokens_file", None, "a", Path("a")),
    ("--tls-cert", "TOTALVI_TLS_CERT", "access.tls_cert", None, "a", Path("a")),
    ("--tls-key", "TOTALVI_TLS_KEY", "access.tls_key", None, "a", Path("a")),
    ("--tls-client-ca", "TOTALVI_TLS_CLIENT_CA", "access.tls_client_ca", None, "a", Path("a")),
    ("--versions", "TOTALVI_VERSIONS", "catalog.versions", ALL_VERSIONS, "latest", ServedVersions({"*": "latest"})),
    ("--allowed-sha256-file", "TOTALVI_ALLOWED_SHA256_FILE", "catalog.allowed_sha256_file", None, "a", Path("a")),
    ("--watch-models", "TOTALVI_WATCH_MODELS", "catalog.watch_models", 0.0, "2.5", 2.5),
    ("--allow-empty", "TOTALVI_ALLOW_EMPTY", "catalog.allow_empty", False, "on", True),
    ("--admin-token-file", "TOTALVI_ADMIN_TOKEN_FILE", "catalog.admin_token_file", None, "a", Path("a")),
    ("--repository-api", "TOTALVI_REPOSITORY_API", "catalog.repository_api", False, "on", True),
    ("--device", "TOTALVI_DEVICE", "device.device", "auto", "cuda:1", "cuda:1"),
    ("--threads", "TOTALVI_THREADS", "device.threads", 0, "3", 3),
    ("--precision", "TOTALVI_PRECISION", "device.precision", "float32", "float32", "float32"),
    ("--stuck-after-s", "TOTALVI_STUCK_AFTER_S", "device.stuck_after_s", 60.0, "1.5", 1.5),
    ("--max-batch-cells", "TOTALVI_MAX_BATCH_CELLS", "batch.max_batch_cells", 1024, "16", 16),
    ("--max-batch-entries", "TOTALVI_MAX_BATCH_ENTRIES", "batch.max_batch_entries", 1 << 22, "5000", 5000),
    ("--max-delay-ms", "TOTALVI_MAX_DELAY_MS", "batch.max_delay_ms", 0.0, "2.5", 2.5),
    ("--max-queue-cells", "TOTALVI_MAX_QUEUE_CELLS", "limits.max_queue_cells", 65536, "70000", 70000),
    ("--max-queue-bytes", "TOTALVI_MAX_QUEUE_BYTES", "limits.max_queue_bytes", 1 << 30, "2G", 2 << 30),
    ("--max-inflight-bytes", "TOTALVI_MAX_INFLIGHT_BYTES", "limits.max_inflight_bytes", 512 << 20, "2G", 2 << 30),
    ("--max-request-bytes", "TOTALVI_MAX_REQUEST_BYTES", "limits.max_request_bytes", 64 << 20, "1MiB", 1 << 20),
    ("--max-request-cells", "TOTALVI_MAX_REQUEST_CELLS", "limits.max_request_cells", 65536, "7", 7),
    ("--max-samples", "TOTALVI_MAX_SAMPLES", "limits.max_samples", 1000, "0", 0),
    ("--max-sample-values", "TOTALVI_MAX_SAMPLE_VALUES", "limits.max_sample_values", 1 << 23, "100", 100),
    ("--drain-delay-s", "TOTALVI_DRAIN_DELAY_S", "drain.drain_delay_s", 5.0, "0", 0.0),
    ("--drain-timeout-s", "TOTALVI_DRAIN_TIMEOUT_S", "drain.drain_timeout_s", 30.0, "1.5", 1.5),
    (
        "--traces-endpoint",
        "TOTALVI_TRACES_ENDPOINT",
        "traces.traces_endpoint",
        None,
        "http://otel:4318",
        "http://otel:4318",
    ),
    ("--traces-ratio", "TOTALVI_TRACES_RATIO", "traces.traces_ratio", 1.0, "0.25", 0.25),
    ("--log-level", "TOTALVI_LOG_LEVEL", "log.log_level", "info", "error", "error"),
    ("--log-format", "TOTALVI_LOG_FORMAT", "log.log_format", "auto", "json", "json"),
]


def load(*arguments: str, **environ: str) -> Settings:
    parser = argparse.ArgumentParser()
    settings.add_flags(parser)
    return Settings.from_args(parser.parse_args(arguments), {**MODELS, **environ})


def held(chosen: Settings, where: str) -> object:
    group, name = where.split(".")
    return getattr(getattr(chosen, group), name)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_each_setting_has_a_flag_a_variable_and_a_default(row):
    flag, variable, where, default, text, value = row
    # What is of no use alone.
    others = {"TOTALVI_TLS_CERT": "c", "TOTALVI_TLS_KEY": "k"} if flag.startswith("--tls") else {}
    assert held(load(), where) == default
    assert held(load(**{**others, variable: text}), where) == value
    assert held(load(flag, text, **others), where) == value
    assert type(held(load(flag, text, **others), where)) is type(value)


def test_the_table_is_complete():
    assert {flag for flag, *_ in TABLE} | {"--models"} == {settings.flag(field.name) for _, field in settings.fields()}


def test_a_flag_beats_a_variable_beats_the_default():
    assert load("--http-port", "1", TOTALVI_HTTP_PORT="2").listen.http_port == 1
    # What a flag overrules is not even read.
    assert load("--http-port", "1", TOTALVI_HTTP_PORT="x").listen.http_port == 1


def test_models_is_required():
    with pytest.raises(SettingsError, match=r"--models DIRECTORY.*TOTALVI_MODELS"):
        Settings.from_args(argparse.Namespace(), {})
    assert load("--models", "elsewhere").models == Path("elsewhere")


@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("TOTALVI_MAX_BATCH_CELL", "TOTALVI_MAX_BATCH_CELLS"),
        ("TOTALVI_HTTPPORT", "TOTALVI_HTTP_PORT"),
        ("TOTALVI_LOGLEVEL", "TOTALVI_LOG_LEVEL"),
        ("TOTALVI_", "TOTALVI_"),
        # Features that are not built: never silently ignored.
        ("TOTALVI_TOKENS", "TOTALVI_TOKENS_FILE"),
        ("TOTALVI_ADMIN", "TOTALVI_ADMIN_PORT"),
        ("TOTALVI_CLIENT_CA", "TOTALVI_TLS_CLIENT_CA"),
    ],
)
def test_an_unknown_variable_names_the_nearest(unknown, nearest):
    with pytest.raises(SettingsError, match=f"{unknown}: did you mean {nearest}"):
        load(**{unknown: "1"})


def test_other_programs_variables_are_left_alone():
    assert load(PATH="/bin", TOTAL_VI="1", totalvi_host="x", TOTALVI_CLIENT_SERVER="x").listen.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("1", 1), ("64MiB", 64 << 20), ("64M", 64 << 20), ("2k", 2048), ("1KiB", 1024), ("1gib", 1 << 30)],
)
def test_sizes(text, n_bytes):
    assert load("--max-request-bytes", text).limits.max_request_bytes == n_bytes


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--http-port", "-1"),
        ("--http-port", "65536"),
        ("--http-port", ""),
        ("--http-port", "8_000"),
        ("--http-port", "٣"),
        ("--host", ""),
        ("--host", "a b"),
        ("--models", ""),
        ("--versions", ""),
        ("--versions", "newest"),
        ("--versions", "m"),
        ("--versions", "m=0"),
        ("--versions", "m=1;m=2"),
        ("--versions", "m=1,all"),
        ("--watch-models", "-1"),
        ("--allow-empty", "yes"),
        ("--repository-api", "true"),
        ("--admin-token-file", ""),
        ("--traces-endpoint", "collector:4318"),
        ("--traces-endpoint", "grpc://collector"),
        ("--traces-endpoint", "http://name:secret@collector"),
        ("--traces-endpoint", "http://collector/v1/traces?key=1"),
        ("--traces-ratio", "1.1"),
        ("--device", "tpu"),
        ("--threads", "-1"),
        ("--precision", "float16"),
        ("--max-batch-cells", "0"),
        ("--max-batch-cells", "1e3"),
        ("--max-delay-ms", "nan"),
        ("--max-delay-ms", "-0.1"),
        ("--max-delay-ms", "inf"),
        ("--max-request-bytes", "64MB"),
        ("--max-request-bytes", "0"),
        ("--max-request-bytes", "2GiB"),
        ("--max-request-bytes", "-5"),
        ("--max-connections", "0"),
        ("--header-timeout-s", "0"),
        ("--tokens-file", ""),
        ("--tls-key", ""),
        ("--drain-timeout-s", "soon"),
        ("--drain-timeout-s", "0"),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
    ],
)
def test_nonsense_is_refused_by_name(flag, text):
    variable = settings.variable(flag[2:].replace("-", "_"))
    for source, arguments, environ in ((flag, (f"{flag}={text}",), {}), (variable, (), {variable: text})):
        with pytest.raises(SettingsError, match=rf"^{re.escape(source)} .*: give ") as refused:
            load(*arguments, **environ)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "flags"),
    [
        (("--http-port", "8001"), ("--http-port", "--grpc-port")),
        (("--admin-port", "8000"), ("--http-port", "--admin-port")),
        (("--tls-cert", "c"), ("--tls-cert", "--tls-key")),
        (("--tls-key", "k"), ("--tls-cert", "--tls-key")),
        (("--tls-client-ca", "a"), ("--tls-client-ca", "--tls-cert", "--tls-key")),
        (("--tls-client-ca", "a", "--tls-key", "k"), ("--tls-cert", "--tls-key")),
    ],
)
def test_settings_that_do_not_fit_are_refused(arguments, flags):
    with pytest.raises(SettingsError) as refused:
        load(*arguments)
    assert all(flag in str(refused.value) for flag in flags)


def test_a_call_may_be_larger_than_the_queue_as_an_empty_one_takes_it():
    limits = load("--max-request-cells", "10", "--max-queue-cells", "9", "--max-queue-bytes", "1M").limits
    assert (limits.max_request_cells, limits.max_queue_cells) == (10, 9)
    assert limits.max_request_bytes > limits.max_queue_bytes == 1 << 20


def test_free_ports_may_be_asked_for_together():
    assert load("--http-port", "0", "--grpc-port", "0", "--admin-port", "0").listen.admin_port == 0


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().listen.http_port = 1  # type: ignore[misc]


def test_one_setting_can_be_read_alone():
    assert settings.read_variable("admin_port", {}) == 8002
    assert settings.read_variable("admin_port", {"TOTALVI_ADMIN_PORT": "9"}) == 9
    with pytest.raises(SettingsError, match="TOTALVI_ADMIN_PORT"):
        settings.read_variable("admin_port", {"TOTALVI_ADMIN_PORT": "x"})


def test_nothing_is_read_from_the_environment_at_import():
    code = "import service.settings"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "TOTALVI_NONSENSE": "1"})


def test_the_admin_token_is_one_word_of_its_file(tmp_path):
    file = tmp_path / "token"
    chosen = load("--admin-token-file", str(file)).catalog
    file.write_text("sixteen-letters!\n")
    assert chosen.read_admin_token() == "sixteen-letters!"
    assert "sixteen" not in repr(chosen)
    assert load().catalog.read_admin_token() is None


@pytest.mark.parametrize("content", [b"", b"too-short", b"two words that are long", b"sixteen-letters\xff!"])
def test_a_token_that_is_none_is_refused_without_being_told(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"--admin-token-file: .* must hold one word of 16 or more") as refused:
        load("--admin-token-file", str(file)).catalog.read_admin_token()
    assert not content or content.decode(errors="replace") not in str(refused.value)


def test_a_token_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(SettingsError, match=r"--admin-token-file: .* cannot be read \(No such file"):
        load("--admin-token-file", str(tmp_path / "token")).catalog.read_admin_token()
