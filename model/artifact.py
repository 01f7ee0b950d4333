"""`encoder.pt`: one TorchScript archive whose extra file `manifest.json` says what the encoder is (API 2).

The manifest is read without torch and before any weight, so that a wrong file is told apart cheaply.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch

from model import torchscript
from model.contract import CategoricalField, EncoderSpec
from model.errors import ModelFileError

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Artifact:
    """An artifact read into memory, so that a file replaced half-way cannot mix two models.

    Attributes:
        spec: what the encoder is.
        sha256: of the file, lower-case hex.
        content: the file.
    """

    spec: EncoderSpec
    sha256: str
    content: bytes

    def module(self, device: torch.device) -> torch.jit.ScriptModule:
        """The compiled encoder on a device.

        Raises:
            ModelFileError: this torch cannot read it.
        """
        try:
            return torchscript.load(io.BytesIO(self.content), device)
        except RuntimeError as error:
            raise ModelFileError(
                f"the artifact is damaged, or torch {torch.__version__} cannot read it; export the save again"
            ) from error


def write_artifact(path: Path, scripted: torch.jit.ScriptModule, spec: EncoderSpec) -> None:
    """Write an artifact; the same module and spec give the same bytes.

    The caller moves it to its place, so that no reader sees half of one.
    """
    manifest = {"format_version": FORMAT_VERSION, **spec.public()}
    records = torchscript.serialise(scripted)
    records[f"extra/{MANIFEST}"] = json.dumps(manifest, allow_nan=False, indent=1).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(records):
            # A fixed date and the plain ZipInfo keep clock and umask of the exporting machine out of the digest.
            file.writestr(zipfile.ZipInfo(f"encoder/{name}", date_time=(1980, 1, 1, 0, 0, 0)), records[name])


def read_artifact(path: Path) -> Artifact:
    """Read and check an artifact.

    Raises:
        ModelFileError: missing, not an artifact, or of another format version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read ({error.strerror})") from error
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            names = [name for name in file.namelist() if name.endswith(f"/extra/{MANIFEST}")]
            if len(names) != 1 or file.getinfo(names[0]).file_size > MAX_MANIFEST_BYTES:
                raise ModelFileError(f"{path.name} has no manifest; make it with totalvi-serve export")
            damaged = file.testzip()
            if damaged is not None:
                raise ModelFileError(f"{path.name} is damaged; export the save again")
            manifest = json.loads(file.read(names[0]))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        raise ModelFileError(f"{path.name} is not an artifact of totalvi-serve export, or is truncated") from error
    return Artifact(_spec(manifest), hashlib.sha256(content).hexdigest(), content)


def _spec(manifest: Any) -> EncoderSpec:
    if not isinstance(manifest, dict) or manifest.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(f"the artifact is not of format version {FORMAT_VERSION}; export the save again")
    facts = {key: _frozen(value) for key, value in manifest.items() if key != "format_version"}
    try:
        batch = manifest["batch"]
        facts["batch"] = None if batch is None else _field(batch)
        facts["categorical_covariates"] = tuple(_field(field) for field in manifest["categorical_covariates"])
        return EncoderSpec(**facts)
    except (KeyError, TypeError) as error:
        raise ModelFileError("the artifact's manifest is incomplete; export the save again") from error


def _field(field: dict[str, Any]) -> CategoricalField:
    return CategoricalField(field["key"], tuple(field["categories"]))


def _frozen(value: Any) -> Any:
    """JSON lists as the tuples that `EncoderSpec` holds."""
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value
