from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator

import pytest

from service import log_setup

TOUCHED = ("", "uvicorn", "uvicorn.error", "uvicorn.asgi", "grpc", "grpc._cython", "asyncio")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in TOUCHED]
    before = [(logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    logging.captureWarnings(False)
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


def lines(form: str, *, level: str = "info", stream: io.StringIO | None = None) -> io.StringIO:
    stream = stream or io.StringIO()
    log_setup.configure(level, form, stream)
    return stream


def test_json_is_one_object_a_line_with_the_extra_fields():
    stream = lines("json")
    logging.getLogger("totalvi.access").info(
        "encode %s", "ok", extra={"request_id": "r1", "n_cells": 3, "phases_ms": {"queue": 0.5}}
    )
    line = json.loads(stream.getvalue())
    assert line.pop("ts").endswith("+00:00")
    assert line == {
        "level": "info",
        "logger": "totalvi.access",
        "message": "encode ok",
        "request_id": "r1",
        "n_cells": 3,
        "phases_ms": {"queue": 0.5},
    }


def test_an_extra_field_cannot_replace_what_the_line_is():
    stream = lines("json")
    logging.getLogger("a").warning("b", extra={"level": "none", "logger": "none", "ts": "none"})
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"]) == ("warning", "a")
    assert line["ts"] != "none"


FORGED = 'x\n{"level": "error"}\r\u2028\u0085\x1b[31m y="z"'


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_value_cannot_forge_a_line(form):
    stream = lines(form)
    logging.getLogger("a").info("said %s", FORGED, extra={"request_id": FORGED})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()
    if form == "json":
        assert json.loads(stream.getvalue())["request_id"] == FORGED


def test_a_value_cannot_forge_a_field():
    stream = lines("text")
    logging.getLogger("a").info("b", extra={"request_id": "x outcome=ok", "n_cells": 3})
    assert stream.getvalue().endswith(' a b request_id="x outcome=ok" n_cells=3\n')


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_exception_stays_in_its_record(form):
    stream = lines(form)
    try:
        raise ValueError("bad\n2026-01-01 INFO forged")
    except ValueError:
        logging.getLogger("a").exception("failed", stack_info=True)
    first, *rest = stream.getvalue().splitlines()
    if form == "json":
        assert not rest
        assert "ValueError: bad\n2026" in json.loads(first)["exception"]
    else:
        assert rest
        assert all(line.startswith("  | ") for line in rest)


def test_auto_is_text_on_a_terminal_and_json_elsewhere():
    terminal, elsewhere = lines("auto", stream=Terminal()), io.StringIO()
    logging.getLogger("a").info("b")
    lines("auto", stream=elsewhere)
    logging.getLogger("a").info("b")
    assert " INFO    a b\n" in terminal.getvalue()
    assert json.loads(elsewhere.getvalue())["message"] == "b"


def test_standard_error_is_the_default(capsys):
    log_setup.configure("info", "auto")
    logging.getLogger("a").info("b")
    assert json.loads(capsys.readouterr().err)["message"] == "b"
    assert logging.getLogger().handlers[0].stream is sys.stderr  # type: ignore[attr-defined]


def test_the_servers_libraries_are_routed_and_quiet():
    logging.getLogger("uvicorn").addHandler(logging.StreamHandler())
    stream = lines("json")
    for name in ("uvicorn.error", "grpc._cython.cygrpc"):
        logging.getLogger(name).info("started", extra={"color_message": "colours"})
        logging.getLogger(name).error("failed", extra={"color_message": "colours"})
    said = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["logger"], line["message"]) for line in said] == [
        ("uvicorn.error", "failed"),
        ("grpc._cython.cygrpc", "failed"),
    ]
    assert not any("color_message" in line for line in said)


def test_the_level_holds():
    stream = lines("json", level="warning")
    logging.getLogger("a").info("quiet")
    logging.getLogger("a").warning("loud")
    assert stream.getvalue().count("\n") == 1


def test_at_debug_the_libraries_speak():
    stream = lines("json", level="debug")
    logging.getLogger("uvicorn.error").debug("b")
    assert "uvicorn" in stream.getvalue()


def test_warnings_are_logged():
    stream = lines("json")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", stacklevel=1)
    assert json.loads(stream.getvalue())["logger"] == "py.warnings"
