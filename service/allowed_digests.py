"""The list of artifacts that may be served, by their sha256, from a file in the form of sha256sum(1)."""

from __future__ import annotations

import re
from pathlib import Path

from model.errors import ModelFileError

MAX_BYTES = 1 << 20

_LINE = re.compile(r"([0-9a-fA-F]{64})(\s.*)?", re.ASCII)


def read_digests(path: Path) -> frozenset[str]:
    """Digests of a file: one a line, whatever follows it is a remark; empty lines and those with a # first are skipped.

    Raises:
        ModelFileError: it cannot be read; the message holds nothing of its content.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ModelFileError(f"the list of allowed digests cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise ModelFileError(f"the list of allowed digests is over {MAX_BYTES} bytes")
    digests = set()
    for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ModelFileError(f"the list of allowed digests has no sha256 in line {number}; make it with sha256sum")
        digests.add(match[1].lower())
    return frozenset(digests)
