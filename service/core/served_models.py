"""What is served, as one table that is never changed, only replaced: lookups need no lock and see one moment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NoReturn, TypeAlias

from model.contract import Encoder, EncoderSpec
from service.core.alignment import ColumnIndex, sample
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import ModelCard, ModelState
from service.core.model_folder import FileMark


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One version of one model, ready to encode. Its identity is the batcher's key: no batch mixes two.

    Attributes:
        name: the model.
        version: positive integer as text.
        encoder: loaded and warm.
        genes: its gene columns.
        proteins: its protein columns.
        mark: of the file it was read from.
        load_s: seconds that reading, loading and warming it took.
    """

    name: str
    version: str
    encoder: Encoder
    genes: ColumnIndex
    proteins: ColumnIndex
    mark: FileMark | None = None
    load_s: float = 0.0

    @property
    def spec(self) -> EncoderSpec:
        """What its encoder is."""
        return self.encoder.spec


Versions: TypeAlias = Mapping[str, LoadedModel]
"""The served versions of a model, ascending."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServedModels:
    """The served models, and what became of versions that are not served or could not be loaded again.

    Attributes:
        models: by name, ascending; each has a version at least.
        told: states by name and version; of a served version only `failed` counts, as the reason its reload failed.
    """

    models: Mapping[str, Versions] = dataclasses.field(default_factory=dict)
    told: Mapping[tuple[str, str], ModelState] = dataclasses.field(default_factory=dict)

    def serving(self, name: str, versions: Versions) -> ServedModels:
        """The same with these versions of a model and no others; none: without the model."""
        models = {**self.models, name: versions}
        return dataclasses.replace(self, models={key: models[key] for key in sorted(models) if models[key]})

    def telling(self, name: str, *states: ModelState) -> ServedModels:
        """The same with these states of a model's versions, of which the last counts; nothing else is told of it."""
        told = {key: state for key, state in self.told.items() if key[0] != name}
        return dataclasses.replace(self, told=told | {(name, state.version): state for state in states})

    def resolve(self, model: str | None = None, version: str | None = None) -> LoadedModel:
        """The version that serves a request.

        Args:
            model: name; None: the only model there is.
            version: None: the highest.

        Raises:
            ServiceError: NOT_FOUND, listing what there is.
        """
        if not self.models:
            not_found("no model is served at the moment")
        if model is None:
            if len(self.models) != 1:
                not_found(f"several models are served and the request names none; name one of {sample(self.models)}")
            (model,) = self.models
        versions = self.versions(model)
        loaded = versions.get(version) if version is not None else list(versions.values())[-1]
        if loaded is None:
            not_found(f"model {model} has no such version; served: {sample(versions)}")
        return loaded

    def versions(self, name: str) -> Versions:
        """The served versions of a model.

        Raises:
            ServiceError: NOT_FOUND, listing the models.
        """
        versions = self.models.get(name)
        if versions is None:
            not_found(f"there is no such model; served: {sample(self.models)}")
        return versions

    def card(self, model: str, version: str | None = None) -> ModelCard:
        """The card of one version. Raises as `resolve` does."""
        loaded = self.resolve(model, version)
        return ModelCard(
            name=loaded.name,
            version=loaded.version,
            versions=tuple(self.models[loaded.name]),
            state="ready",
            sha256=loaded.encoder.sha256,
            manifest=loaded.spec.public()
            | {
                "precision": loaded.encoder.precision,
                "deviation_from_float32": dict(loaded.encoder.deviation_from_float32),
            },
        )

    def cards(self) -> list[ModelCard]:
        """The card of each model's default version, by name."""
        return [self.card(name) for name in self.models]

    def index(self, ready: bool = False) -> list[ModelState]:
        """Every version that is served or was tried, by name and version; `ready`: only those that are served."""
        states = {} if ready else dict(self.told)
        for name, versions in self.models.items():
            for version in versions:
                told = self.told.get((name, version))
                reason = told.reason if told is not None and told.state == "failed" else ""
                states[name, version] = ModelState(name, version, "ready", reason)
        return sorted(states.values(), key=lambda state: (state.name, int(state.version)))


def last_load_failed(state: ModelState) -> bool:
    """Whether the version could not be loaded when it was last tried, though it may be served as it was before."""
    return state.state == "failed" or (state.state == "ready" and bool(state.reason))


def not_found(detail: str) -> NoReturn:
    """Raise the error of a model or version that is not there."""
    raise ServiceError(ErrorKind.NOT_FOUND, detail)
