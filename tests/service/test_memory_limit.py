from __future__ import annotations

from pathlib import Path

import pytest

from service.memory_limit import memory_limit_bytes


@pytest.mark.parametrize(
    ("file", "content", "limit"),
    [
        ("memory.max", "2147483648\n", 2147483648),
        ("memory.max", "max\n", {}),
        ("memory/memory.limit_in_bytes", "1073741824\n", 1073741824),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", {}),
        ("memory.max", "", {}),
        ("nothing", "1", {}),
    ],
)
def test_the_limit_of_the_control_group(tmp_path: Path, file: str, content: str, limit: object) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert memory_limit_bytes(tmp_path) == limit
