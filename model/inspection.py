"""The card of a save or of an artifact, for people and scripts."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

from model.artifact import MANIFEST, read_artifact
from model.contract import ARTIFACT_FILE
from model.scvi_save import read_save


def inspect_path(path: Path) -> dict[str, Any]:
    """Describe a save or an artifact, without running anything in it.

    Args:
        path: a directory that scvi-tools wrote, its `model.pt`, an `encoder.pt`, or a directory that holds one.

    Returns:
        JSON-ready facts: `kind` (`save` or `artifact`) and the fields of `EncoderSpec`; for a save also `foreign`
        (classes the pickle names that were left inert) and `notes`; for an artifact its `sha256`.

    Raises:
        ModelFileError: it is neither.
    """
    file = path / ARTIFACT_FILE if (path / ARTIFACT_FILE).is_file() else path
    if file.is_file() and _is_artifact(file):
        artifact = read_artifact(file)
        return {"kind": "artifact", "sha256": artifact.sha256, **dataclasses.asdict(artifact.spec)}
    saved = read_save(path)
    facts = dataclasses.asdict(saved.spec)
    del facts["deviation_from_eager"]
    return {"kind": "save", **facts, "foreign": saved.foreign, "notes": saved.notes}


def _is_artifact(file: Path) -> bool:
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith(f"/extra/{MANIFEST}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
