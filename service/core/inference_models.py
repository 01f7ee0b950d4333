"""What the Open Inference Protocol tells of the served models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from service.core.alignment import shown_key
from service.core.engine import Engine
from service.core.errors import invalid
from service.core.messages import ModelCard, Output, VersionState
from service.core.named_tensors import BYTES, COVARIATE
from service.core.open_inference import OUTPUTS

EXTENSIONS: Final = ("binary_tensor_data", "model_repository", "parameters")
PLATFORM: Final = "pytorch_torchscript"

_STATES: Mapping[VersionState, str] = {
    "ready": "READY",
    "loading": "LOADING",
    "failed": "UNAVAILABLE",
    "unloaded": "UNAVAILABLE",
}


@dataclasses.dataclass(frozen=True, slots=True)
class TensorMetadata:
    """One input or output: its name, its usual datatype and its shape, -1 for an axis of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the protocol tells of a model."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class IndexEntry:
    """A version of a model in the protocol's index: `READY`, `LOADING` or `UNAVAILABLE`, and why."""

    name: str
    version: str
    state: str
    reason: str


def model_ready(engine: Engine, model: str, version: str | None) -> bool:
    """Whether a model, or one version of it, answers.

    Raises:
        ServiceError: NOT_FOUND where it neither answers nor ever was to.
    """
    known = [state for state in engine.repository_index() if state.name == model and version in (None, state.version)]
    if not known and engine.health.started:
        engine.card(model, version)  # says what there is
    return engine.health.ready and any(state.state == "ready" for state in known)


def repository_index(engine: Engine, *, ready: bool) -> list[IndexEntry]:
    """The versions of all models; `ready`: those that answer."""
    return [
        IndexEntry(state.name, state.version, _STATES[state.state], state.reason)
        for state in engine.repository_index(ready)
    ]


def check_load_parameters(names: Iterable[str]) -> None:
    """Refuse all parameters of a load: a model is loaded as it lies in the repository.

    Raises:
        ServiceError: `INVALID`.
    """
    for name in names:
        invalid(f"a load has no parameter {shown_key(name)}", field="parameters")


def check_unload_parameters(names: Iterable[str]) -> None:
    """Refuse all parameters of an unload but `unload_dependents`, for no model depends on another.

    Raises:
        ServiceError: `INVALID`.
    """
    for name in names:
        if name != "unload_dependents":
            invalid(f"an unload has no parameter {shown_key(name)}; it has unload_dependents", field="parameters")


def model_metadata(card: ModelCard) -> ModelMetadata:
    """The tensors of a model: those that its encoder uses, counts in the form that fits every count."""
    facts = card.manifest
    n_genes, n_proteins, n_latent = len(facts["genes"]), len(facts["proteins"]), facts["n_latent"]
    inputs = [
        TensorMetadata("gene_counts", "FP32", (-1, n_genes)),
        TensorMetadata("gene_counts.data", "FP32", (-1,)),
        TensorMetadata("gene_counts.indices", "INT32", (-1,)),
        TensorMetadata("gene_counts.indptr", "INT32", (-1,)),
        TensorMetadata("genes", BYTES, (-1,)),
        TensorMetadata("protein_counts", "FP32", (-1, n_proteins)),
        TensorMetadata("proteins", BYTES, (-1,)),
    ]
    if facts["encode_covariates"]:
        fields = {COVARIATE + field["key"]: field for field in facts["categorical_covariates"]}
        if facts["batch"] is not None:
            fields = {"batch": facts["batch"]} | fields
        # A field with one category tells the encoder nothing and has no column in it.
        names = [name for name, field in fields.items() if len(field["categories"]) > 1]
        inputs += [TensorMetadata(name, BYTES, (-1,)) for name in names]
        inputs += [TensorMetadata(COVARIATE + key, "FP32", (-1,)) for key in facts["continuous_covariates"]]
    return ModelMetadata(
        name=card.name,
        versions=card.versions,
        platform=PLATFORM,
        inputs=tuple(inputs),
        outputs=tuple(TensorMetadata(name, "FP32", _output_shape(name, n_latent)) for name in OUTPUTS),
    )


def _output_shape(name: str, n_latent: int) -> tuple[int, ...]:
    samples = (-1,) if Output.SAMPLES in OUTPUTS[name] else ()
    latent = (n_latent,) if name.endswith("z") or name.startswith("qz") else ()
    return (*samples, -1, *latent)
