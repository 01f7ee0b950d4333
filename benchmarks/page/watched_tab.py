"""A tab whose frames are timed and whose memory is read while it is used."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from benchmarks.page.devtools import Chromium

# Reading it holds the tab's memory for some milliseconds.
LOOK_EVERY_S = 0.5

TIME_FRAMES = """
(() => {
  const frames = (window.frames_ms = []);
  const tasks = (window.tasks_ms = []);
  let last = performance.now();
  const tick = (now) => {
    frames.push(now - last);
    last = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)))
    .observe({ type: "longtask" });
})()
"""

TAKE = "[window.frames_ms.splice(0), window.tasks_ms.splice(0)]"


@dataclasses.dataclass(frozen=True)
class Phase:
    """What a step on the page took.

    Attributes:
        name: of the step.
        seconds: from its beginning to what ended it.
        frames: drawn meanwhile.
        longest_frame_ms: between two of them.
        longest_task_ms: that held the page's thread; 0: none was as long as 50 ms.
        tab_mib: most memory of the tab's process, with its workers, and of an empty one; shared pages by their share.
        browser_mib: most memory of all of the browser's processes.
    """

    name: str
    seconds: float
    frames: int
    longest_frame_ms: float
    longest_task_ms: float
    tab_mib: float
    browser_mib: float


class WatchedTab:
    """A context manager around a tab that is open.

    Args:
        chromium: whose tab it is.
    """

    def __init__(self, chromium: Chromium) -> None:
        self.phases: list[Phase] = []
        self._chromium = chromium
        kinds = chromium.processes()
        [self._root] = [pid for pid, kind in kinds.items() if kind == "browser"]
        # Beside the tab's, one that the browser keeps for the next tab.
        self._tabs = [pid for pid, kind in kinds.items() if kind == "renderer"]
        self._most = (0.0, 0.0)
        self._ended = threading.Event()
        self._looking = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        """Begin to look."""
        self._chromium.js(TIME_FRAMES)
        self._looking.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Look no more."""
        self._ended.set()
        self._looking.join()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Measure a step."""
        self._chromium.js(TAKE)
        self._most = (0.0, 0.0)
        began = time.monotonic()
        yield
        seconds = time.monotonic() - began
        frames, tasks = self._chromium.js(TAKE)
        self._look_once()
        self.phases.append(
            Phase(name, seconds, len(frames), max(frames, default=1e3 * seconds), max(tasks, default=0), *self._most)
        )

    def _look(self) -> None:
        while not self._ended.wait(LOOK_EVERY_S):
            self._look_once()

    def _look_once(self) -> None:
        tab, browser = (sum(map(pss_mib, pids)) for pids in (self._tabs, family(self._root)))
        self._most = (max(self._most[0], tab), max(self._most[1], browser))


def pss_mib(pid: int) -> float:
    """Memory of a process that is resident now, shared pages by their share; 0: it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def family(root: int) -> list[int]:
    """A process and all that it started, and those theirs."""
    found = [root]
    for pid in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found
