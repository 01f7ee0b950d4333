"""What is no artifact is refused before torch sees any of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.artifact import MANIFEST, read_artifact
from model.device_encoder import DeviceEncoder
from model.errors import ModelFileError
from model.export import export_save
from tests.saves import SaveRecipe


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("artifact")
    return export_save(SaveRecipe().write(folder / "save"), name="m", version=1, into=folder).path.read_bytes()


def with_record(content: bytes, ending: str, change: Callable[[bytes], bytes]) -> bytes:
    """An artifact of which one record is another, with the right checksums."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            record = old.read(name)
            new.writestr(name, change(record) if name.endswith(ending) else record)
    return buffer.getvalue()


def rewritten(content: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    """An artifact with a changed manifest, sound in itself."""

    def changed(record: bytes) -> bytes:
        manifest = json.loads(record)
        change(manifest)
        return json.dumps(manifest).encode()

    return with_record(content, MANIFEST, changed)


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda content: b"", "is not an artifact"),
    "half of it": (lambda content: content[: len(content) // 2], "is not an artifact|truncated"),
    "all but its end": (lambda content: content[:-1], "is not an artifact|truncated"),
    "a flipped bit": (
        lambda content: (
            content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
        ),
        "damaged",
    ),
    "text": (lambda content: b"hello", "is not an artifact"),
    "another format version": (
        lambda content: rewritten(content, lambda manifest: manifest.update(format_version=1)),
        "not of format version 2",
    ),
    "no sizes": (lambda content: rewritten(content, lambda manifest: manifest.pop("n_latent")), "incomplete"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_artifact(tmp_path: Path, good: bytes, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    damage, told = BAD[bad]
    path = tmp_path / "encoder.pt"
    path.write_bytes(damage(good))
    monkeypatch.setattr(torch.jit, "load", None)
    with pytest.raises(ModelFileError, match=told) as refused:
        read_artifact(path)
    assert str(tmp_path) not in str(refused.value)


def test_only_allowed_digests_are_read(tmp_path: Path, good: bytes) -> None:
    path = tmp_path / "encoder.pt"
    path.write_bytes(good)
    digest = hashlib.sha256(good).hexdigest()
    assert read_artifact(path).sha256 == read_artifact(path, {digest}).sha256 == digest
    for allowed in (frozenset(), {"0" * 64}):
        with pytest.raises(ModelFileError, match=f"has sha256 {digest}, which is not among the allowed"):
            read_artifact(path, allowed)
    path.write_bytes(b"not even an artifact")
    with pytest.raises(ModelFileError, match="not among the allowed"):
        read_artifact(path, {digest})


@pytest.mark.parametrize("kind", ["pipe", "directory", "nothing"])
def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "encoder.pt"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    with pytest.raises(ModelFileError, match=r"encoder.pt (is not a regular file|cannot be read)"):
        read_artifact(path)


DAMAGED_RECORDS: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "code that is no text": ("compiled_encoder.py", lambda code: b"\xff" + code, "cannot read it"),
    "a pickle that is cut": ("data.pkl", lambda pickle: pickle[:40], "cannot read it"),
    "code that fails": (
        "compiled_encoder.py",
        lambda code: code.replace(b"torch.index_select(category_table, 0,", b"torch.index_select(category_table, 9,"),
        "fails on made-up cells",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED_RECORDS)
def test_what_torch_cannot_read_or_run(tmp_path: Path, good: bytes, damage: str) -> None:
    """Whatever class of error torch has for it."""
    ending, change, told = DAMAGED_RECORDS[damage]
    path = tmp_path / "encoder.pt"
    path.write_bytes(with_record(good, ending, change))
    with pytest.raises(ModelFileError, match=told):
        DeviceEncoder.load(path, device="cpu", threads=1, max_batch_cells=1)
