"""Writes the table of docs/metrics.md from what a server tells; tests/service/test_exposition.py compares the two."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from service.assembly import build_service
from service.settings import Settings
from service.tallies import Tally

PAGE = Path(__file__).parent / "metrics.md"
BEGIN, END = "<!-- written by docs/write_metrics.py -->\n", "<!-- to here -->\n"


def table(tallies: tuple[Tally, ...]) -> str:
    """Name, kind, labels and text of each metric."""
    lines = ["| metric | kind | labels | what |", "|---|---|---|---|"]
    for tally in sorted(tallies, key=lambda tally: tally.name):
        labels = ", ".join(f"`{label}`" for label in tally.labels)
        lines.append(f"| `{tally.name}` | {tally.kind} | {labels} | {tally.text} |")
    return "\n".join([*lines, ""])


def between(page: str) -> tuple[str, str, str]:
    """The page before its table, the table, and the page behind it."""
    before, _, rest = page.partition(BEGIN)
    written, _, behind = rest.partition(END)
    return before, written, behind


async def _told() -> tuple[Tally, ...]:
    with tempfile.TemporaryDirectory() as models:
        service = build_service(Settings(models=Path(models)), post=asyncio.get_running_loop().call_soon_threadsafe)
        await service.grpc_server.stop(None)
        return service.recorder.told


def main() -> None:
    """Write it anew."""
    before, _, behind = between(PAGE.read_text())
    PAGE.write_text(before + BEGIN + table(asyncio.run(_told())) + END + behind)


if __name__ == "__main__":
    main()
