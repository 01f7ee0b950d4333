"""Every kind of caller for ten minutes, and what is left of them: `python -m benchmarks.soak`; docs/reliability.md.

Two servers under the same load: ours, and as a control the same with a leak of four kibibytes a call. Memory must be
flat after the first two minutes, and the same check must find the leak of the control.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import machine
from benchmarks.report import markdown
from benchmarks.server_process import ServerProcess, our_server, rss_bytes
from tests.end_to_end import synthetic
from tests.end_to_end.crowd import BAD, GOOD, Crowd, Tally
from tests.end_to_end.server import export

MIB = 1 << 20
SIZES = (1, 2, 3, 7, 16, 33, 100, 333)
MAX_REQUEST_CELLS = 333
EVERY_S = 1.0
SETTLED_MINUTES = 2.0
HALF_MINUTE = 0.5
MOST_MIB_A_MINUTE = 2.0
PATIENCE_S = 120.0
"""Of a caller: a machine that stands still for a while is no fault of the service."""
IDLE_S = 20.0
"""What the last calls' traces get to vanish."""


@dataclasses.dataclass
class Watched:
    """A server under load and what was seen of it.

    Attributes:
        name: for people.
        server: the process.
        crowd: its callers.
        before: open files and threads, when it was ready and had answered nothing.
        minutes: of each look at it.
        rss_mib: resident memory at each look.
        longest_s: call that the server has logged.
    """

    name: str
    server: ServerProcess
    crowd: Crowd
    before: dict[str, int]
    minutes: list[float] = dataclasses.field(default_factory=list)
    rss_mib: list[float] = dataclasses.field(default_factory=list)
    longest_s: float = 0.0

    def look(self, minutes: float) -> None:
        """See how much memory it has."""
        self.minutes.append(minutes)
        self.rss_mib.append(rss_bytes(self.server.pid) / MIB)

    def slope(self) -> float:
        """MiB a minute once settled: what is kept is in the least of each half minute, and a leak in its rise.

        The median over all pairs (Theil and Sen), deaf to a single one.
        """
        since = min(SETTLED_MINUTES, self.minutes[-1] / 5)
        least: dict[int, float] = {}
        for minutes, rss in zip(self.minutes, self.rss_mib, strict=True):
            if minutes >= since:
                half = int(minutes / HALF_MINUTE)
                least[half] = min(rss, least.get(half, rss))
        return statistics.median(
            (rss - other) / (half - before) / HALF_MINUTE
            for half, rss in least.items()
            for before, other in least.items()
            if before < half
        )


def held(pid: int) -> dict[str, int]:
    """Open files and threads of a process."""
    process = Path(f"/proc/{pid}")
    return {"files": len(list((process / "fd").iterdir())), "threads": len(list((process / "task").iterdir()))}


def under_way(server: ServerProcess) -> dict[str, float]:
    """Calls in flight, and cells and bytes in the queue."""
    text = httpx.get(f"http://127.0.0.1:{server.facts['admin_port']}/metrics", trust_env=False).text
    names = ("totalvi_requests_in_flight", "totalvi_queue_cells", "totalvi_queue_bytes")
    found = dict.fromkeys(names, 0.0)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found:
                found[sample.name] += sample.value
    return found


def longest_call_s(log: Path) -> float:
    """The longest call by the server's own clock; a caller's own process may be slow, too."""
    with log.open() as lines:
        return max((json.loads(line)["duration_ms"] / 1e3 for line in lines if '"duration_ms"' in line), default=0.0)


def left_behind(watched: Watched) -> tuple[dict[str, float], dict[str, int]]:
    """What is under way and held once its callers have gone, as soon as it is as little as before."""
    end = time.monotonic() + IDLE_S
    while True:
        calls, holds = under_way(watched.server), held(watched.server.pid)
        if (not any(calls.values()) and holds["files"] <= watched.before["files"]) or time.monotonic() > end:
            return calls, holds
        time.sleep(0.2)


def main() -> int:
    """Run for some minutes, print, and tell by the exit code whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    print(f"{machine.described()}\n", flush=True)
    asks = [synthetic.cells(size, seed=size) for size in SIZES]
    too_many = synthetic.cells(MAX_REQUEST_CELLS + 1, seed=1)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export({synthetic.NAME: synthetic.RECIPE.write(folder / "save")}, folder / "models")
        flags = ("--max-request-cells", MAX_REQUEST_CELLS)
        servers = {
            "totalvi-serve": our_server(folder / "models", *flags),
            "with a leak": our_server(folder / "models", *flags, module="benchmarks.peers.leaking"),
        }
        all_watched = []
        for name, server in servers.items():
            stack.enter_context(server)
            ports = (server.facts["http_port"], server.facts["grpc_port"])
            all_watched.append(
                Watched(name, server, Crowd(*ports, [*GOOD, *BAD], asks, too_many, PATIENCE_S), held(server.pid))
            )
        for watched in all_watched:
            stack.enter_context(watched.crowd)
        soak(all_watched, options.minutes)
        tallies = [watched.crowd.stop() for watched in all_watched]
        for watched in all_watched:
            watched.longest_s = longest_call_s(watched.server.log)
        outcomes = [
            (watched, tally, *left_behind(watched), *watched.server.stop())
            for watched, tally in zip(all_watched, tallies, strict=True)
        ]
    return report(outcomes)


def soak(all_watched: Sequence[Watched], minutes: float) -> None:
    """Look at the servers now and then."""
    began = time.monotonic()
    while (now := (time.monotonic() - began) / 60) < minutes:
        for watched in all_watched:
            watched.look(now)
        time.sleep(EVERY_S)


def report(outcomes: Sequence[tuple[Watched, Tally, dict[str, float], dict[str, int], int, list[str]]]) -> int:
    """Print the tables; 0: ours held and the control was caught."""
    lines, memory, holds = [], [], True
    for watched, tally, calls, now, code, complaints in outcomes:
        slope = watched.slope()
        control = watched is not outcomes[0][0]
        flat = slope <= MOST_MIB_A_MINUTE
        left = f"{sum(calls.values()):g}"
        holds &= flat != control and not tally.failures and not any(calls.values()) and code == 0 and not complaints
        holds &= now["files"] <= watched.before["files"]
        lines.append(
            (
                watched.name,
                f"{tally.right.total():,}",
                str(len(tally.failures)),
                f"{watched.longest_s:.1f}",
                left,
                f"{watched.before['files']} → {now['files']}",
                f"{watched.before['threads']} → {now['threads']}",
                str(code),
                str(len(complaints)),
                f"{slope:+.2f}",
                "flat" if flat else "LEAKS",
            )
        )
        looks = list(zip(map(int, watched.minutes), watched.rss_mib, strict=True))
        at_minutes = range(looks[-1][0] + 1)
        least = [min(rss for at, rss in looks if at == minute) for minute in at_minutes]
        memory.append((watched.name, *(f"{rss:.0f}" for rss in least)))
        for line in (*tally.failures[:10], *complaints[:10]):
            print(f"{watched.name}: {line}", file=sys.stderr)
    head = (
        "",
        "calls",
        "failed",
        "longest, s",
        "left in flight or queued",
        "files",
        "threads",
        "exit code",
        "complaints",
    )
    print(markdown((*head, f"MiB a minute after {SETTLED_MINUTES:g}", "memory"), lines, left={0, 10}))
    print(f"\nResident MiB, the least of each minute; flat is at most {MOST_MIB_A_MINUTE:g} MiB a minute:\n")
    print(markdown(("", *map(str, at_minutes)), memory, left={0}))
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
