"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TextIO

REDRAW_S = 0.1
"""Time between two drawings of the bar."""

LINE_S, QUIET_S, LINE_SHARE = 5.0, 60.0, 0.1
"""Elsewhere a line comes not sooner than after `LINE_S`: with each `LINE_SHARE` more, after `QUIET_S` at the latest."""

WINDOW_S = 20.0
"""The speed is that of so many seconds past."""

WIDEST_BAR, NARROWEST_BAR = 40, 8

Clock = Callable[[], float]


def is_terminal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a line on this stream can be drawn over."""
    return stream.isatty() and environ.get("TERM", "") != "dumb"


class Progress:
    """Tells of a run's progress: give it to what calls `progress(done, total)`.

    Args:
        stream: where to, usually standard error; if it is gone the run goes on without.
        what: in a word, before the bar.
        terminal: draw a bar; None: where the stream is a terminal that can.
        clock: seconds.
        width: columns of the terminal, asked for at each drawing.
        environ: `NO_COLOR`, if set to anything, takes the colour away.
    """

    def __init__(
        self,
        stream: TextIO,
        what: str = "",
        *,
        terminal: bool | None = None,
        clock: Clock = time.monotonic,
        width: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._stream = stream
        self._what = what
        self._terminal = is_terminal(stream, environ) if terminal is None else terminal
        self._clock = clock
        self._width = width
        self._colour = not environ.get("NO_COLOR")
        self._round = _takes("━", stream)
        self._past: deque[tuple[float, int]] = deque()
        self._drawn = self._gone = False
        self._longest = 0
        self._told: tuple[float, int] | None = None
        self._started: tuple[float, int] | None = None
        self.done = 0
        self.total: int | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """So many cells of so many are done; the first call's are not counted into the speed (a resumed run's)."""
        now = self._clock()
        self.done, self.total = done, total
        if self._started is None:
            self._started = now, done
        self._past.append((now, done))
        while len(self._past) > 2 and now - self._past[1][0] >= WINDOW_S:
            self._past.popleft()
        if self._is_due(now):
            self._told = now, done
            if self._terminal:
                self._write(f"\r{self._bar()}\x1b[K")
                self._drawn = True
            else:
                self._write(f"{self._line()}\n")

    def _is_due(self, now: float) -> bool:
        if self._told is None:
            return self._terminal or self._start_line()
        since, more = now - self._told[0], self.done - self._told[1]
        if self._terminal:
            return since >= REDRAW_S or self.done == self.total
        if since < LINE_S:
            return False
        return since >= QUIET_S or (self.total is not None and more >= LINE_SHARE * self.total)

    def _start_line(self) -> bool:
        """Elsewhere the first call makes a line only where cells are done: a resumed run says where it goes on."""
        self._told = self._clock(), self.done
        return self.done > 0 and self.done != self.total

    def clear(self) -> None:
        """Take the bar away, so that something else can be written; the next call draws it again."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn, self._told = False, None

    def finished(self) -> str:
        """Take the bar away, and return what there is to say of the whole run: cells, time, speed."""
        self.clear()
        if self._started is None:
            return "0 cells"
        seconds, cells = self._clock() - self._started[0], self.done - self._started[1]
        speed = f", {cells / seconds:,.0f} cells/s" if seconds > 0 and cells else ""
        return f"{self.done:,} cells in {_time(seconds)}{speed}"

    @property
    def speed(self) -> float | None:
        """Cells a second, of late; None before anything can be said."""
        (then, before), (now, after) = self._past[0], self._past[-1]
        return (after - before) / (now - then) if now > then and after > before else None

    def _parts(self) -> list[str]:
        """What is said beside the bar, the most important first."""
        parts = []
        if self.total:
            parts.append(f"{int(100 * self.done / self.total):3d} %")
        of = f" of {self.total:,}" if self.total is not None else ""
        parts.append(f"{self.done:,}{of} cells")
        speed = self.speed
        if speed:
            if self.total is not None and self.done < self.total:
                parts.append(f"{_time((self.total - self.done) / speed)} left")
            parts.append(f"{speed:,.0f} cells/s")
        return parts

    def _line(self) -> str:
        start = f"{self._what}: " if self._what else ""
        return start + ", ".join(part.strip() for part in self._parts())

    def _bar(self) -> str:
        # The last column stays free: some terminals begin a new line once it is written.
        room = self._width() - 1
        parts = self._parts()
        texts = "  ".join(parts)
        while len(texts) > room and len(parts) > 1:
            parts.pop()
            texts = "  ".join(parts)
        start = f"{self._what}  " if self._what and len(texts) + len(self._what) + 2 <= room else ""
        # As much room as the texts ever took, so that the bar's length does not flicker with theirs.
        self._longest = max(self._longest, len(texts))
        size = min(room - len(start) - min(self._longest, room) - 2, WIDEST_BAR)
        if not self.total or size < NARROWEST_BAR:
            return (start + texts)[:room]
        full = size * self.done // self.total
        done, rest = ("━" * full, "━" * (size - full)) if self._round else ("#" * full, "." * (size - full))
        if self._colour:
            done, rest = f"\x1b[32m{done}\x1b[0m", f"\x1b[90m{rest}\x1b[0m"
        elif self._round:
            rest = " " * (size - full)
        return f"{start}{done}{rest}  {texts}"

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):  # the reader is gone: the run is worth more than its bar
            self._gone = True


def _takes(text: str, stream: TextIO) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _time(seconds: float) -> str:
    """`0.4 s`, `45 s`, `3:07 min`, `2:05:00 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d} h" if hours else f"{minutes}:{rest:02d} min"
