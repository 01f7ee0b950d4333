"""The models of a directory: loaded and warmed, switched, unloaded, and looked up by name and version.

A request keeps the `LoadedModel` it was given to its end; an unloaded one goes when its last request lets go of it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

from model.contract import ARTIFACT_FILE, Encoder, OutOfDeviceMemory
from model.errors import ModelFileError
from service.core.alignment import ColumnIndex, shown
from service.core.errors import ErrorKind, ServiceError
from service.core.messages import ModelCard, ModelState
from service.core.model_folder import CatalogError, FileMark, ModelFolder
from service.core.served_models import LoadedModel, ServedModels, Versions, not_found
from service.core.served_versions import ALL_VERSIONS, ServedVersions

__all__ = ["Catalog", "CatalogError", "LoadedModel"]

log = logging.getLogger(__name__)

Loaded: TypeAlias = Literal["ok", "failed"]


class Catalog:
    """The served models of one directory, MODELS/<name>/<version>/encoder.pt.

    `load_all`, `load`, `unload` and `refresh` block, one at a time, on any thread; the rest answers at once.

    Args:
        root: the directory.
        load: reads, loads and warms one artifact; raises anything to refuse it. The text of a `ModelFileError` is told.
        versions: which versions are served.
        allow_empty: whether a server may start without any model.
    """

    def __init__(
        self,
        root: Path,
        load: Callable[[Path], Encoder],
        *,
        versions: ServedVersions = ALL_VERSIONS,
        allow_empty: bool = False,
    ) -> None:
        self._folder = ModelFolder(root)
        self._load = load
        self._versions = versions
        self._allow_empty = allow_empty
        self._served = ServedModels()
        self._changing = threading.Lock()
        self._refused: dict[tuple[str, str], FileMark | None] = {}
        self._withdrawn: dict[str, Mapping[str, FileMark]] = {}
        self._trouble = ""
        self._loads: Mapping[tuple[str, Loaded], int] = {}

    @property
    def loads(self) -> Mapping[tuple[str, Loaded], int]:
        """How many loads of a version of a model went well and how many failed, so far; by name and outcome."""
        return self._loads

    @property
    def load_s(self) -> dict[tuple[str, str], float]:
        """Seconds that each served version took to load, by name and version."""
        models = self._served.models
        return {(name, version): model.load_s for name in models for version, model in models[name].items()}

    def load_all(self) -> None:
        """Load what is to be served at the start.

        Raises:
            CatalogError: there is nothing, or one cannot be loaded: a server without a configured model is not ready.
        """
        with self._changing:
            names = self._folder.names()
            wanted = {name: self._wanted(name) for name in sorted({*names, *self._versions.named})}
            for name in self._versions.named:
                if not wanted[name]:
                    raise CatalogError(f"model {name} is to be served (--versions) and is not in {self._folder.root}")
            if not any(wanted.values()) and not self._allow_empty:
                root, rest = self._folder.root, f"totalvi-serve export makes NAME/VERSION/{ARTIFACT_FILE} in it"
                if names:
                    raise CatalogError(f"no version in {root} is to be served: {rest}, and --versions chooses")
                raise CatalogError(f"{root} holds no model; {rest}")
            for name, versions in wanted.items():
                loaded: dict[str, LoadedModel] = {}
                for version in versions:
                    self._tell(name, ModelState(name, version, "loading"))
                    try:
                        loaded[version] = self._read(name, version, self._folder.mark(name, version))
                    except Exception as error:
                        raise CatalogError(f"model {name} version {version} cannot be loaded: {error}") from error
                self._serve(name, loaded)

    def load(self, name: str) -> None:
        """Load all versions of a model that are to be served, afresh, and serve them in place of those before.

        Raises:
            ServiceError: NOT_FOUND where none is there; INVALID, UNAVAILABLE where the device has too little memory,
                or INTERNAL after a bug, where one cannot be loaded.
                Then nothing has changed, and the index tells why.
        """
        with self._changing, _directory_readable():
            versions = self._wanted(name)
            if not versions:
                if name not in self._served.models:
                    self._tell(name)
                not_found(f"no version of model {shown(name)} is there to be served")
            self._tell(name, *(ModelState(name, version, "loading") for version in versions))
            loaded: dict[str, LoadedModel] = {}
            for version in versions:
                try:
                    loaded[version] = self._read(name, version, self._folder.mark(name, version))
                except Exception as error:
                    failed = _failed(name, version, error)
                    told = f"version {version} cannot be loaded: {failed.reason}"
                    others = (ModelState(name, other, "unloaded", f"left as it was, for {told}") for other in versions)
                    self._tell(name, *others, failed)
                    raise _refusal(error, f"model {name} {told}") from error
            self._withdrawn.pop(name, None)
            self._serve(name, loaded)

    def unload(self, name: str) -> None:
        """Serve a model no more; requests that were given it end on it.

        Raises:
            ServiceError: NOT_FOUND, listing what there is.
        """
        with self._changing, _directory_readable():
            served = self._served.versions(name)
            self._withdrawn[name] = self._marks(name)
            self._serve(name, {}, (ModelState(name, version, "unloaded", "by request") for version in served))

    def refresh(self) -> None:
        """Serve what is on disk now: load what is new or changed, unload what is gone.

        A version that fails is told once and left out until its file changes; the others are served without it. A model
        that was unloaded by request stays so until something in its folder changes.
        """
        with self._changing:
            try:
                names = self._folder.names()
                if not names and self._served.models:
                    # A lost mount looks like this, too.
                    raise CatalogError(f"{self._folder.root} is empty now; what is served is kept")
                for name in sorted({*names, *self._served.models, *(name for name, _ in self._served.told)}):
                    self._refresh(name)
            except CatalogError as error:
                if str(error) != self._trouble:
                    log.warning("%s", error)
                self._trouble = str(error)
            else:
                self._trouble = ""

    def _refresh(self, name: str) -> None:
        marks, now = self._marks(name), dict(self._served.models.get(name, {}))
        if self._withdrawn.get(name) == marks:
            return
        self._withdrawn.pop(name, None)
        failed = {
            state.version: state
            for state in self._served.told.values()
            if state.name == name and state.state == "failed" and self._is_refused(name, state.version, marks)
        }
        while True:
            # What is refused now may be served still, from what its file held before.
            usable = [version for version in marks if version in now or not self._is_refused(name, version, marks)]
            wanted = [version for version in self._versions.of(name, usable) if version in usable]
            due = [version for version in wanted if version not in now or now[version].mark != marks[version]]
            due = [version for version in due if not self._is_refused(name, version, marks)]
            if not due:
                break
            version = due[0]
            self._tell(name, *failed.values(), ModelState(name, version, "loading"))
            try:
                now[version] = self._read(name, version, marks[version])
            except Exception as error:
                failed[version] = _failed(name, version, error)
        self._serve(name, {version: now[version] for version in wanted}, failed.values())

    def _is_refused(self, name: str, version: str, marks: Mapping[str, FileMark]) -> bool:
        return version in marks and self._refused.get((name, version)) == marks[version]

    def _wanted(self, name: str) -> list[str]:
        return self._versions.of(name, self._folder.versions(name))

    def _marks(self, name: str) -> dict[str, FileMark]:
        """The versions of a model whose artifact is there, with its mark."""
        marks = {version: self._folder.mark(name, version) for version in self._folder.versions(name)}
        return {version: mark for version, mark in marks.items() if mark is not None}

    def _read(self, name: str, version: str, mark: FileMark | None) -> LoadedModel:
        """Load one version, or remember that its file was refused."""
        start = time.perf_counter()
        try:
            encoder = self._load(self._folder.artifact(name, version))
        except Exception:
            self._count(name, "failed")
            self._refused[name, version] = mark
            raise
        load_s = time.perf_counter() - start
        self._count(name, "ok")
        self._refused.pop((name, version), None)
        log.info("loaded model %s version %s in %.2f s", name, version, load_s)
        spec = encoder.spec
        genes, proteins = ColumnIndex("gene", spec.genes), ColumnIndex("protein", spec.proteins)
        return LoadedModel(name, version, encoder, genes, proteins, mark, load_s)

    def _count(self, name: str, outcome: Loaded) -> None:
        """Count a load; of a model that is loaded for the first time both outcomes are told, the other one as 0."""
        before: dict[tuple[str, Loaded], int] = {(name, "ok"): 0, (name, "failed"): 0, **self._loads}
        self._loads = before | {(name, outcome): before[name, outcome] + 1}

    def _tell(self, name: str, *states: ModelState) -> None:
        self._served = self._served.telling(name, *states)

    def _serve(self, name: str, versions: Versions, states: Iterable[ModelState] = ()) -> None:
        """The switch: one assignment."""
        before = self._served.models.get(name, {})
        self._served = self._served.serving(name, versions).telling(name, *states)
        for version in before.keys() - versions.keys():
            log.info("model %s version %s is served no more", name, version)

    def resolve(self, model: str | None = None, version: str | None = None) -> LoadedModel:
        """The version that serves a request; see `ServedModels.resolve`."""
        return self._served.resolve(model, version)

    def card(self, model: str, version: str | None = None) -> ModelCard:
        """The card of one version. Raises as `resolve` does."""
        return self._served.card(model, version)

    def cards(self) -> list[ModelCard]:
        """The card of each model's default version, by name."""
        return self._served.cards()

    def index(self, ready: bool = False) -> list[ModelState]:
        """Every version that is served or was tried, by name and version; `ready`: only those that are served."""
        return self._served.index(ready)


@contextlib.contextmanager
def _directory_readable() -> Iterator[None]:
    """Tell a caller of a directory that cannot be read, without its path."""
    try:
        yield
    except CatalogError as error:
        log.warning("%s", error)
        raise ServiceError(ErrorKind.UNAVAILABLE, "the models directory cannot be read", retry_after_s=1.0) from error


def _refusal(error: Exception, told: str) -> ServiceError:
    """What a caller is told whose load failed; memory that is short now may be there later."""
    if isinstance(error, OutOfDeviceMemory):
        return ServiceError(ErrorKind.UNAVAILABLE, told, retry_after_s=1.0)
    return ServiceError(ErrorKind.INVALID if isinstance(error, ModelFileError) else ErrorKind.INTERNAL, told)


def _failed(name: str, version: str, error: Exception) -> ModelState:
    """Log why a load failed; the index tells anybody: of a bug its class, and no path."""
    expected = isinstance(error, ModelFileError | OutOfDeviceMemory)
    log.warning("model %s version %s cannot be loaded: %s", name, version, error, exc_info=None if expected else error)
    reason = str(error) if expected else f"{type(error).__name__}; the server's log tells more"
    return ModelState(name, version, "failed", reason)
