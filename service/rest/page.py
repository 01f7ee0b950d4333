"""The files of the page for people, read once: nothing else of the disk can be reached by a path of theirs."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gzip
import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).with_name("page_files")
"""What `npm run build` in page/ writes; part of the package."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".map": "application/json",
    ".md": "text/plain; charset=utf-8",  # browsers show it, and would store text/markdown
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
_HASHED = re.compile(r".+-[\w-]{8}\.\w+", re.ASCII)
"""Names that the build gives by content: what is behind them never changes."""

_FOR_EVER = "public, max-age=31536000, immutable"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class PageFile:
    """A file of the page.

    Attributes:
        content: its bytes.
        digest: SHA-256 of them.
        media_type: by its suffix.
        cache_control: for how long a browser need not ask again.
    """

    content: bytes
    digest: str
    media_type: str
    cache_control: str

    async def packed(self) -> bytes | None:
        """Its content compressed with gzip; None where that is no smaller, or failed. Worked out once, in a thread."""
        try:
            # Shielded: whoever asked first may leave, and others wait for it.
            return await asyncio.shield(self._packing)
        except Exception:  # logged once for all who wait
            return None

    @functools.cached_property
    def _packing(self) -> asyncio.Task[bytes | None]:
        packing = asyncio.create_task(asyncio.to_thread(_pack, self.content))
        packing.add_done_callback(self._forget_failure)
        return packing

    def _forget_failure(self, packing: asyncio.Task[bytes | None]) -> None:
        if packing.cancelled() or (error := packing.exception()) is None:
            return
        # Memory or threads may have been short: who asks next has it tried again.
        del self.__dict__["_packing"]
        log.warning("a file of the page could not be compressed and is sent as it is: %r", error)


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """The page.

    Attributes:
        files: by path, `/` first; empty where the page was not built.
    """

    files: Mapping[str, PageFile]


def read_page(folder: Path = FOLDER) -> Page:
    """Read the built page: `index.html`, and the files of `page` beside it; the log tells if it is missing."""
    index = folder / "index.html"
    if not index.is_file():
        log.warning("there is no page for people at /: it was not built (npm run build in page/)")
        return Page({})
    below = folder / "page"
    parts = sorted(file for file in below.iterdir() if file.is_file()) if below.is_dir() else []
    return Page({"/": _read(index)} | {f"/page/{file.name}": _read(file) for file in parts})


def _read(file: Path) -> PageFile:
    content = file.read_bytes()
    return PageFile(
        content=content,
        digest=hashlib.sha256(content).hexdigest(),
        media_type=_TYPES.get(file.suffix, "application/octet-stream"),
        cache_control=_FOR_EVER if _HASHED.fullmatch(file.name) else "no-cache",
    )


def _pack(content: bytes) -> bytes | None:
    # Without a time in it, so that replicas answer the same bytes.
    packed = gzip.compress(content, mtime=0)
    return packed if len(packed) < len(content) else None
