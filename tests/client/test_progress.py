"""The bar and the lines, on a clock of the test's own."""

from __future__ import annotations

import io
import re

import pytest

from totalvi_client.progress import NARROWEST_BAR, Progress, is_terminal

ESCAPES = re.compile(r"\x1b\[[0-9;]*[mK]")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Stream(io.StringIO):
    """A stream that says it is a terminal, or that it is none, of this encoding."""

    def __init__(self, terminal: bool = True, encoding: str = "utf-8") -> None:
        super().__init__()
        self._terminal, self._encoding = terminal, encoding

    def isatty(self) -> bool:
        return self._terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding


def bar(stream: Stream, clock: Clock, columns: int = 120, what: str = "", **environ: str) -> Progress:
    return Progress(stream, what, clock=clock, width=lambda: columns, environ=environ)


def drawings(stream: Stream) -> list[str]:
    """What stood on the line, one after the other, without colours."""
    return [ESCAPES.sub("", text) for text in stream.getvalue().split("\r")[1:]]


def run(progress: Progress, clock: Clock, steps: int, cells: int, total: int, each_s: float, start: int = 0) -> None:
    progress(start, total)
    for step in range(1, steps + 1):
        clock.now += each_s
        progress(start + step * cells, total)


def test_a_bar_tells_share_cells_speed_and_time_left() -> None:
    stream, clock = Stream(), Clock()
    progress = bar(stream, clock, what="cells.h5ad")
    run(progress, clock, 1, 25_000, 100_000, 10.0)
    first, second = drawings(stream)
    assert first == f"cells.h5ad  {'━' * 40}    0 %  0 of 100,000 cells"
    assert second == f"cells.h5ad  {'━' * 40}   25 %  25,000 of 100,000 cells  30 s left  2,500 cells/s"
    done = stream.getvalue().split("\r")[-1]
    assert f"\x1b[32m{'━' * 10}\x1b[0m" in done, "a quarter of the bar is green"


def test_the_bar_is_drawn_ten_times_a_second_and_at_the_end() -> None:
    stream, clock = Stream(), Clock()
    run(bar(stream, clock), clock, 100, 10, 1000, 0.015)
    drawn = drawings(stream)
    assert len(drawn) == 1 + 1.5 // 0.105 + 1
    assert "100 %  1,000 of 1,000 cells" in drawn[-1]


def test_no_color_and_other_encodings_are_respected() -> None:
    for stream, filled, rest in ((Stream(), "━" * 20, " " * 20), (Stream(encoding="ascii"), "#" * 20, "." * 20)):
        clock = Clock()
        run(bar(stream, clock, NO_COLOR="1"), clock, 1, 50, 100, 1.0)
        assert "\x1b[3" not in stream.getvalue()
        assert f"{filled}{rest}   50 %" in stream.getvalue()


@pytest.mark.parametrize("columns", [1, 10, 20, 30, 45, 60, 79, 80, 200])
def test_a_bar_never_fills_the_last_column(columns: int) -> None:
    stream, clock = Stream(), Clock()
    run(bar(stream, clock, columns, what="a-file-with-a-long-name.h5ad"), clock, 3, 250_000, 1_000_000, 7.0)
    assert max(map(len, drawings(stream))) < max(columns, 2)
    if columns >= 60:
        assert "━" * NARROWEST_BAR in stream.getvalue()
    if columns >= 10:
        assert "75 %" in drawings(stream)[-1]


def test_cells_that_a_former_run_did_do_not_count_into_the_speed() -> None:
    stream, clock = Stream(), Clock()
    progress = bar(stream, clock)
    run(progress, clock, 1, 1000, 1_000_000, 1.0, start=900_000)
    assert progress.speed == 1000
    assert "1:39 min left" in drawings(stream)[-1]
    assert progress.finished() == "901,000 cells in 1.0 s, 1,000 cells/s"


def test_the_speed_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    progress = bar(Stream(), clock)
    run(progress, clock, 100, 1000, 10_000_000, 1.0)
    run(progress, clock, 40, 10, 10_000_000, 1.0, start=100_000)
    assert progress.speed == 10


def test_elsewhere_a_line_at_each_tenth_but_not_too_often() -> None:
    stream, clock = Stream(terminal=False), Clock()
    run(bar(stream, clock, what="big.h5ad"), clock, 1000, 1000, 1_000_000, 0.1)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "big.h5ad: 10 %, 100,000 of 1,000,000 cells, 1:30 min left, 10,000 cells/s"
    assert [line.split()[1] for line in lines] == [f"{tens}0" for tens in range(1, 11)]
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_elsewhere_a_slow_run_says_once_a_minute_that_it_lives() -> None:
    stream, clock = Stream(terminal=False), Clock()
    run(bar(stream, clock), clock, 300, 10, 1_000_000, 1.0)
    assert len(stream.getvalue().splitlines()) == 5


def test_elsewhere_a_short_run_says_nothing_and_a_resumed_one_where_it_goes_on() -> None:
    short, resumed, clock = Stream(terminal=False), Stream(terminal=False), Clock()
    run(bar(short, clock), clock, 6, 100, 600, 0.5)
    run(bar(resumed, clock), clock, 1, 100, 600, 0.5, start=200)
    assert short.getvalue() == ""
    assert resumed.getvalue() == " 33 %, 200 of 600 cells\n".lstrip()


def test_what_else_is_written_finds_the_line_free() -> None:
    stream, clock = Stream(), Clock()
    progress = bar(stream, clock)
    progress(10, 100)
    progress.clear()
    stream.write("a note\n")
    progress(11, 100)
    assert progress.finished() == "11 cells in 0.0 s"
    assert stream.getvalue().endswith("\r\x1b[K")
    assert "\r\x1b[Ka note\n\r" in stream.getvalue()


def test_a_run_outlives_its_stream() -> None:
    class Gone(Stream):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    clock = Clock()
    progress = bar(Gone(), clock)
    run(progress, clock, 3, 10, 30, 1.0)
    assert progress.finished() == "30 cells in 3.0 s, 10 cells/s"


def test_a_run_whose_end_is_not_known() -> None:
    stream, clock = Stream(), Clock()
    progress = bar(stream, clock)
    progress(0, None)
    clock.now += 2
    progress(500, None)
    assert drawings(stream)[-1] == "500 cells  250 cells/s"
    assert bar(Stream(), clock).finished() == "0 cells"


def test_times_are_told_as_a_person_would() -> None:
    told = []
    for seconds in (0.04, 9.9, 10.2, 59.4, 59.9, 61, 3600, 7505):
        clock = Clock()
        progress = bar(Stream(), clock)
        progress(0, None)
        clock.now += seconds
        told.append(progress.finished())
    times = ["0.0 s", "9.9 s", "10 s", "59 s", "1:00 min", "1:01 min", "1:00:00 h", "2:05:05 h"]
    assert told == [f"0 cells in {time}" for time in times]


def test_a_dumb_terminal_gets_lines() -> None:
    assert is_terminal(Stream(), {"TERM": "xterm"})
    assert not is_terminal(Stream(), {"TERM": "dumb"})
    assert not is_terminal(Stream(terminal=False), {"TERM": "xterm"})
