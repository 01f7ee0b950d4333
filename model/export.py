"""A scvi-tools save → a served artifact, checked against the eager encoder before it is put in its place."""

from __future__ import annotations

import copy
import dataclasses
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from model import torchscript
from model.artifact import Artifact, read_artifact, write_artifact
from model.compiled_encoder import compile_encoder
from model.contract import (
    ARTIFACT_FILE,
    MODEL_NAME,
    MODEL_VERSION,
    CellBatch,
    EncoderSpec,
    InputTransform,
    LatentParams,
)
from model.device_encoder import COMPARED_CELLS, DeviceEncoder, example_cells, largest_deviation
from model.encoder_totalvi import EncoderTOTALVI
from model.errors import ModelFileError
from model.scvi_save import SavedModel, read_save

TOLERANCE = 1e-5
"""Largest deviation from the eager float64 encoder, relative to max(1, |value|), that an artifact may have."""


@dataclasses.dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        path: the artifact.
        saved: the save it came from.
        artifact: as read back.
    """

    path: Path
    saved: SavedModel
    artifact: Artifact

    def lines(self) -> list[str]:
        """The report for a person."""
        spec = self.artifact.spec
        deviation = ", ".join(f"{name} {value:.1e}" for name, value in spec.deviation_from_eager.items())
        lines = [
            f"wrote {self.path}",
            f"{spec.model_class}: {len(spec.genes)} genes, {len(spec.proteins)} proteins, "
            f"{spec.n_latent} latent dimensions",
            f"input transform: {spec.input_transform_decision}",
            f"largest deviation from the eager encoder: {deviation}",
        ]
        if self.saved.foreign:
            lines.append(f"left inert while reading: {', '.join(self.saved.foreign)}")
        return lines + [f"note: {note}" for note in self.saved.notes]


def export_save(save: Path, *, name: str, version: int, into: Path, input_transform: str = "auto") -> ExportReport:
    """Read a save, compile its encoder, check it, and put it at `into/name/version/encoder.pt` in one step.

    Args:
        save: directory that scvi-tools wrote, or its `model.pt`.
        name: of the served model: letters, digits, `.`, `_`, `-`.
        version: positive; a version that exists is never written over.
        into: the models directory.
        input_transform: `auto`, `log1p` or `scaled`.

    Raises:
        ModelFileError: the save cannot be served, the version exists, or the check failed; nothing is left behind.
    """
    if not MODEL_NAME.fullmatch(name):
        raise ModelFileError(f"{name!r} is no model name: use letters, digits, '.', '_' and '-', not '.' first")
    if not MODEL_VERSION.fullmatch(str(version)):
        raise ModelFileError(f"version {version} is not a positive integer of at most 18 digits")
    target = into / name / str(version)
    if target.exists():
        raise ModelFileError(f"{target} exists; a version is never written over, export under the next one")
    transform: InputTransform | None = None
    if input_transform in ("log1p", "scaled"):
        transform = "log1p" if input_transform == "log1p" else "scaled"
    elif input_transform != "auto":
        raise ModelFileError(f"input transform {input_transform!r} is none of auto, log1p, scaled")
    saved = read_save(save, transform)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{version}.", dir=target.parent))
    except OSError as error:
        raise ModelFileError(f"{target.parent} cannot be written ({error.strerror})") from error
    try:
        artifact = _write_checked(folder / ARTIFACT_FILE, saved)
        folder.chmod(0o755)
        folder.rename(target)
    except OSError as error:
        raise ModelFileError(f"{target} cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return ExportReport(target / ARTIFACT_FILE, saved, artifact)


def _write_checked(path: Path, saved: SavedModel) -> Artifact:
    scripted = torchscript.script(compile_encoder(saved.encoder, saved.spec))
    write_artifact(path, scripted, saved.spec)
    deviation = deviation_from_eager(DeviceEncoder(read_artifact(path), torch.device("cpu")), saved.encoder)
    for output, value in deviation.items():
        if not value <= TOLERANCE:
            raise ModelFileError(
                f"the compiled encoder is {value:.1e} off the eager one in {output} (at most {TOLERANCE:.0e} is served)"
            )
    write_artifact(path, scripted, dataclasses.replace(saved.spec, deviation_from_eager=deviation))
    return read_artifact(path)


def deviation_from_eager(compiled: DeviceEncoder, encoder: EncoderTOTALVI) -> dict[str, float]:
    """Largest |compiled - eager| / max(1, |eager|) by output, over made-up cells; the eager encoder runs in float64."""
    cells = example_cells(compiled.spec, COMPARED_CELLS)
    return largest_deviation(compiled.encode(cells), encode_eagerly(encoder, compiled.spec, cells))


def encode_eagerly(
    encoder: EncoderTOTALVI, spec: EncoderSpec, cells: CellBatch, dtype: torch.dtype = torch.float64
) -> LatentParams:
    """The posterior by the eager encoder on dense rows; in float64 it is what the compiled encoder must equal."""
    genes = torch.zeros(cells.n_cells, len(spec.genes), dtype=dtype)
    rows = np.repeat(np.arange(cells.n_cells), np.diff(cells.indptr))
    genes[rows, cells.indices] = torch.from_numpy(cells.counts).to(dtype)
    proteins = torch.from_numpy(cells.proteins).to(dtype)
    if spec.input_transform == "scaled":
        genes, proteins = (x / (1.0 + x.mean(1, keepdim=True)) for x in (genes, proteins))
    if spec.log_variational:
        genes, proteins = torch.log1p(genes), torch.log1p(proteins)
    data = torch.cat([genes, proteins, torch.from_numpy(cells.continuous).to(dtype)], dim=1)
    # Fields with one category are not in the batch; the eager encoder wants a column for each and ignores it.
    codes = iter(torch.from_numpy(cells.codes).long().T[:, :, None])
    nothing = torch.zeros(cells.n_cells, 1, dtype=torch.long)
    columns = [next(codes) if n_cat else nothing for n_cat in encoder.encoder.n_cat_list]
    with torch.inference_mode():
        outputs = copy.deepcopy(encoder).to(dtype).posterior(data, *columns)
    qz_mean, qz_variance, ql_mean, ql_variance = (output.numpy() for output in outputs)
    return LatentParams(qz_mean, qz_variance, ql_mean[:, 0], ql_variance[:, 0])
