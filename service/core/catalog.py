"""The models that are served: found on disk, loaded, and looked up by name and version."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from model.contract import ARTIFACT_FILE, MODEL_NAME, MODEL_VERSION, Encoder, EncoderSpec
from service.core.alignment import ColumnIndex, sample
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import ModelCard

log = logging.getLogger(__name__)


class CatalogError(Exception):
    """The configured models cannot be served. The message is one line for the operator."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One version of one model, ready to encode. Its identity is the batcher's key: no batch mixes two.

    Attributes:
        name: the model.
        version: positive integer as text.
        encoder: loaded and warm.
        genes: its gene columns.
        proteins: its protein columns.
    """

    name: str
    version: str
    encoder: Encoder
    genes: ColumnIndex
    proteins: ColumnIndex

    @property
    def spec(self) -> EncoderSpec:
        """What its encoder is."""
        return self.encoder.spec


class Catalog:
    """All served models under one directory, MODELS/<name>/<version>/encoder.pt.

    Args:
        root: the directory.
        load: reads, loads and warms one artifact; raises anything to refuse it.
    """

    def __init__(self, root: Path, load: Callable[[Path], Encoder]) -> None:
        self._root = root
        self._load = load
        self._models: dict[str, dict[str, LoadedModel]] = {}

    def load_all(self) -> None:
        """Load every version of every model. Blocks for as long as that takes.

        Raises:
            CatalogError: there is none, or one cannot be loaded: a server that lacks a configured model is not ready.
        """
        found = list(self._find())
        if not found:
            raise CatalogError(
                f"{self._root} holds no model; totalvi-serve export makes NAME/VERSION/{ARTIFACT_FILE} in it"
            )
        models: dict[str, dict[str, LoadedModel]] = {}
        for name, version, path in found:
            start = time.perf_counter()
            try:
                encoder = self._load(path)
            except Exception as error:
                raise CatalogError(f"model {name} version {version} cannot be loaded: {error}") from error
            spec = encoder.spec
            genes, proteins = ColumnIndex("gene", spec.genes), ColumnIndex("protein", spec.proteins)
            models.setdefault(name, {})[version] = LoadedModel(name, version, encoder, genes, proteins)
            log.info("loaded model %s version %s in %.2f s", name, version, time.perf_counter() - start)
        self._models = models

    def _find(self) -> Iterator[tuple[str, str, Path]]:
        """Name, version and artifact, versions ascending; hidden folders are exports in the making."""
        if not self._root.is_dir():
            raise CatalogError(f"{self._root} is not a directory; --models takes the one that export wrote --into")
        for folder in sorted(self._root.iterdir()):
            if not folder.is_dir() or folder.name.startswith("."):
                continue
            if not MODEL_NAME.fullmatch(folder.name):
                log.warning("folder %r is no model name and is not served", folder.name)
                continue
            versions = [entry for entry in folder.iterdir() if entry.is_dir() and MODEL_VERSION.fullmatch(entry.name)]
            for version in sorted(versions, key=lambda entry: int(entry.name)):
                yield folder.name, version.name, version / ARTIFACT_FILE

    def resolve(self, model: str | None = None, version: str | None = None) -> LoadedModel:
        """The version that serves a request.

        Args:
            model: name; None: the only model there is.
            version: None: the highest.

        Raises:
            ServiceError: NOT_FOUND, listing what there is.
        """
        if model is None:
            if len(self._models) != 1:
                _not_found(f"several models are served and the request names none; name one of {sample(self._models)}")
            (model,) = self._models
        versions = self._models.get(model)
        if versions is None:
            _not_found(f"there is no such model; served: {sample(self._models)}")
        loaded = versions.get(version) if version is not None else list(versions.values())[-1]
        if loaded is None:
            _not_found(f"model {model} has no such version; served: {sample(versions)}")
        return loaded

    def card(self, model: str, version: str | None = None) -> ModelCard:
        """The card of one version. Raises as `resolve` does."""
        loaded = self.resolve(model, version)
        return ModelCard(
            name=loaded.name,
            version=loaded.version,
            versions=tuple(self._models[loaded.name]),
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
        return [self.card(name) for name in self._models]


def _not_found(detail: str) -> NoReturn:
    raise ServiceError(ErrorKind.NOT_FOUND, detail)
