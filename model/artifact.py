"""`encoder.pt`: one TorchScript archive whose extra file `manifest.json` says what the encoder is (API 2).

The manifest is read and checked before any weight is given to torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import stat
import zipfile
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch

from model import torchscript
from model.contract import CategoricalField, EncoderSpec
from model.device_faults import raise_if_of_device
from model.errors import ModelFileError

FORMAT_VERSION = 2
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
            OutOfDeviceMemory: a GPU has no room for it.
            DeviceLost: the GPU failed for good.
        """
        try:
            return torchscript.load(io.BytesIO(self.content), device)
        except Exception as error:  # torch's C++ raises IndexError, UnicodeDecodeError and MemoryError for some damage
            # On a CPU, damage that claims a huge tensor reads as a lack of memory.
            if isinstance(error, RuntimeError) and device.type != "cpu":
                raise_if_of_device(error, device)
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


def read_artifact(path: Path, allowed_sha256: Container[str] | None = None) -> Artifact:
    """Read and check an artifact.

    Args:
        path: the file.
        allowed_sha256: digests, lower-case hex, of which the file must have one; None: it may have any.

    Raises:
        ModelFileError: missing, no plain file, of another digest, not an artifact, or of another format version.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as plain:
            # Asked of what was opened, so that nothing can be put in its place.
            if not stat.S_ISREG(os.fstat(plain.fileno()).st_mode):
                raise ModelFileError(f"{path.name} is not a regular file")
            content = plain.read()
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read ({error.strerror})") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if allowed_sha256 is not None and sha256 not in allowed_sha256:
        raise ModelFileError(f"{path.name} has sha256 {sha256}, which is not among the allowed ones")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            names = [name for name in file.namelist() if name.endswith(f"/extra/{MANIFEST}")]
            if len(names) != 1 or file.getinfo(names[0]).file_size > MAX_MANIFEST_BYTES:
                raise ModelFileError(f"{path.name} has no manifest; make it with totalvi-serve export")
            if any(record.compress_type != zipfile.ZIP_STORED or record.flag_bits & 1 for record in file.infolist()):
                raise ModelFileError(f"{path.name} has compressed or encrypted records; export does not write such")
            if file.testzip() is not None:
                raise ModelFileError(f"{path.name} is damaged; export the save again")
            manifest = json.loads(file.read(names[0]))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RecursionError) as error:
        raise ModelFileError(f"{path.name} is not an artifact of totalvi-serve export, or is truncated") from error
    return Artifact(_spec(manifest), sha256, content)


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe would wait for its writer, for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _spec(manifest: Any) -> EncoderSpec:
    """The manifest's facts, each of the type it must have: what is served is described by nothing else."""
    if not isinstance(manifest, dict) or manifest.get("format_version") != FORMAT_VERSION:
        raise ModelFileError(f"the artifact is not of format version {FORMAT_VERSION}; export the save again")
    facts = dict(manifest)
    del facts["format_version"]
    try:
        batch = facts["batch"]
        spec = EncoderSpec(
            **facts
            | {
                "genes": _texts(facts["genes"]),
                "proteins": _texts(facts["proteins"]),
                "batch": None if batch is None else _field(batch),
                "categorical_covariates": tuple(_field(field) for field in facts["categorical_covariates"]),
                "continuous_covariates": _texts(facts["continuous_covariates"]),
                "proteins_missing_per_batch": {
                    label: _texts(names) for label, names in facts["proteins_missing_per_batch"].items()
                },
            }
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ModelFileError("the artifact's manifest is incomplete; export the save again") from error
    sizes = (spec.n_latent, spec.n_hidden, spec.n_layers)
    flags = (spec.encode_covariates, spec.log_variational, spec.library_encoder_trained)
    if (
        not all(type(size) is int and size > 0 for size in sizes)
        or not all(isinstance(flag, bool) for flag in flags)
        or spec.latent_distribution not in ("normal", "ln")
        or spec.input_transform not in ("log1p", "scaled")
    ):
        raise ModelFileError("the artifact's manifest holds values that no export writes; export the save again")
    return spec


def _field(field: dict[str, Any]) -> CategoricalField:
    (key,), categories = _texts([field["key"]]), tuple(field["categories"])
    if not all(isinstance(category, str | int | float) for category in categories):
        raise TypeError("a category is neither text, a number nor a boolean")
    return CategoricalField(key, categories)


def _texts(values: Any) -> tuple[str, ...]:
    # Encoding refuses lone surrogates, which no answer could carry.
    if not isinstance(values, list) or not all(isinstance(value, str) and _is_sound(value) for value in values):
        raise TypeError("not a list of texts")
    return tuple(values)


def _is_sound(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
