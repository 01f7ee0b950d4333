from __future__ import annotations

import asyncio
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


class Counted(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.n_writes = 0

    def write(self, text: str) -> int:
        self.n_writes += 1
        return super().write(text)


async def test_the_lines_of_a_turn_are_written_in_one_go():
    stream = Counted()
    lines("json", stream=stream)
    log = logging.getLogger("a")
    for number in range(3):
        log.info("line %d", number)
    assert stream.n_writes == 0
    await asyncio.sleep(0)
    assert stream.n_writes == 1
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["line 0", "line 1", "line 2"]
    log.info("the next turn's")
    await asyncio.sleep(0)
    assert stream.n_writes == 2


async def test_a_warning_is_written_at_once_and_in_order():
    stream = Counted()
    lines("text", stream=stream)
    log = logging.getLogger("a")
    log.info("before")
    log.warning("now")
    assert stream.n_writes == 1
    assert stream.getvalue().index("before") < stream.getvalue().index("now")
    await asyncio.sleep(0)
    assert stream.n_writes == 1


async def test_what_is_kept_is_written_when_logging_ends():
    stream = lines("json")
    logging.getLogger("a").info("kept")
    assert stream.getvalue() == ""
    logging.getLogger().handlers[0].flush()
    assert "kept" in stream.getvalue()


async def test_other_threads_write_at_once():
    stream = lines("json")
    await asyncio.to_thread(logging.getLogger("a").info, "from a thread")
    assert "from a thread" in stream.getvalue()


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
async def test_a_stream_that_is_gone_costs_nobody_who_logs(level, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    faults = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
    lines("json", stream=Gone())
    logging.getLogger("a").log(level, "in a loop")
    await asyncio.to_thread(logging.getLogger("a").log, level, "from a thread")
    await asyncio.sleep(0)
    assert faults == []


def test_the_level_changes_while_it_runs():
    stream = lines("json", level="warning")
    ours, theirs = logging.getLogger("totalvi.access"), logging.getLogger("uvicorn.error")
    assert log_setup.level() == "warning"
    seen = []
    for level in ("warning", "info", "debug", "error", "info"):
        log_setup.set_level(level)
        assert log_setup.level() == level
        for severity in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            for logger in (ours, theirs):
                logger.log(severity, "%s %s", level, logger.name)
        seen.append(level)
    told = [(line["message"], line["level"]) for line in map(json.loads, stream.getvalue().splitlines())]
    levels = ("debug", "info", "warning", "error")
    assert told == [
        (f"{level} {name}", severity)
        for level in seen
        for severity in levels
        for name in ("totalvi.access", "uvicorn.error")
        if levels.index(severity)
        >= levels.index(
            level if level == "debug" or name == "totalvi.access" else max(level, "warning", key=levels.index)
        )
    ]
