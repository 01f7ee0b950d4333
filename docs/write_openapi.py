"""Writes docs/openapi.json, the schema the server answers at /openapi.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from service.rest.app import build_app


class _NoEngine:
    """The schema needs no engine; nothing is called."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"the schema asked the engine for {name}")


def main() -> None:
    """Write the file next to this script."""
    schema = build_app(cast(Any, _NoEngine())).openapi()
    (Path(__file__).parent / "openapi.json").write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
