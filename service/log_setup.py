"""Log lines: text for people at a terminal, one JSON object a line for machines.

No value can forge a line: what a caller sent stays inside its own line, with control characters escaped.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import itertools
import json
import logging
import re
import sys
import threading
from typing import Any, Final, TextIO, cast

import orjson

# What any record carries; the rest of its attributes came as `extra`. uvicorn adds a coloured copy of its message.
_FIXED = tuple(vars(logging.makeLogRecord({})))
_N_FIXED = len(_FIXED)
_OWN = frozenset(_FIXED) | {"message", "asctime", "taskName", "color_message"}
_FOREIGN: Final = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "grpc", "grpc._cython", "asyncio")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_PLAIN = re.compile(r"[\w.:/+-]+", re.ASCII)


def configure(level: str, form: str, stream: TextIO | None = None) -> None:
    """Send every logger of the process to `stream` (standard error) from `level` on.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        form: `text`, `json`, or `auto`: text on a terminal, JSON elsewhere.
        stream: where lines go.
    """
    stream = stream or sys.stderr
    if form == "auto":
        form = "text" if stream.isatty() else "json"
    # Nothing of this is written, and each call would pay for finding it out.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    sink = LinesOfATurn(stream)
    sink.setFormatter(TextLines() if form == "text" else JsonLines())
    logging.getLogger().handlers[:] = [sink]
    for name in _FOREIGN:
        foreign = logging.getLogger(name)
        foreign.handlers.clear()
        foreign.propagate = True
    set_level(level)
    logging.captureWarnings(True)


def set_level(level: str) -> None:
    """Log from `level` on, from now on: `debug`, `info`, `warning` or `error`."""
    root = logging.getLogger()
    root.setLevel(level.upper())
    for name in _FOREIGN:
        # Their news of every start and stop would drown ours.
        logging.getLogger(name).setLevel(logging.NOTSET if level == "debug" else max(root.level, logging.WARNING))


def level() -> str:
    """The least severity that is logged now."""
    return logging.getLevelName(logging.getLogger().level).lower()


class LinesOfATurn(logging.StreamHandler[TextIO]):
    """Writes the lines that one turn of an event loop logs in one go, since each write gives the interpreter away.

    Warnings and errors are written at once, and so is what is logged outside a loop; lines stay in their order.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it for the end of the turn."""
        try:
            self._waiting.append(self.format(record))
            if record.levelno > logging.INFO or (len(self._waiting) == 1 and not self._flushes_soon(record)):
                self.flush()
        except Exception:  # a stream that is gone must not cost whoever logs
            self.handleError(record)

    def _flushes_soon(self, record: logging.LogRecord) -> bool:
        """Whether a loop runs on this thread, which then writes at the end of its turn."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        loop.call_soon(self._flush_for, record)
        return True

    def _flush_for(self, record: logging.LogRecord) -> None:
        try:
            self.flush()
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Write what is kept."""
        with cast(threading.RLock, self.lock):
            waiting, self._waiting = self._waiting, []
            if waiting:
                self.stream.write("".join([f"{line}{self.terminator}" for line in waiting]))
        super().flush()


class JsonLines(logging.Formatter):
    """One JSON object a line: `ts`, `level`, `logger`, `message`, the extra fields, `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line of ASCII."""
        line: dict[str, Any] = {
            "ts": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if trace := _trace(self, record):
            line["exception"] = trace
        for name, value in _extra(record).items():
            line.setdefault(name, value)
        with contextlib.suppress(TypeError):
            # Six times as quick, but it leaves letters beyond ASCII as they are.
            text = orjson.dumps(line, default=str)
            if text.isascii():
                return text.decode()
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    """Time, level, logger, message and `name=value` for the extra fields; a traceback follows, indented."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and a bar before each line of its traceback."""
        words = [_timestamp(record), f"{record.levelname:<7}", record.name, _escaped(record.getMessage())]
        words += [f"{name}={_text(value)}" for name, value in _extra(record).items()]
        trace = _trace(self, record)
        return "\n".join([" ".join(words), *(f"  | {_escaped(line)}" for line in trace.split("\n") if trace)])


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(timespec="milliseconds")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    # What came as `extra` stands behind what every record has.
    return {name: value for name, value in itertools.islice(vars(record).items(), _N_FIXED, None) if name not in _OWN}


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append(formatter.formatException(record.exc_info))
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    # A space or a quote inside a value would let it pass for two fields.
    return text if _PLAIN.fullmatch(text) else json.dumps(value, default=str)
