"""The models directory, MODELS/<name>/<version>/encoder.pt: what is there, without a way out of it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TypeAlias

from model.contract import ARTIFACT_FILE, MODEL_NAME, MODEL_VERSION
from model.errors import ModelFileError

log = logging.getLogger(__name__)

FileMark: TypeAlias = tuple[int, ...]
"""Device, inode, size and times of a file: the same mark, the same content."""


class CatalogError(Exception):
    """The configured models cannot be served. The message is one line for the operator."""


class ModelFolder:
    """Finds artifacts under one directory. Everything here blocks.

    Args:
        root: the directory; it may be a link itself, and is followed anew each time.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._told: set[str] = set()

    def names(self) -> list[str]:
        """Names of the models' folders; hidden ones are left out.

        Raises:
            CatalogError: the directory cannot be read.
        """
        if not self.root.is_dir():
            raise CatalogError(f"{self.root} is not a directory; --models takes the one that export wrote --into")
        try:
            folders = sorted(entry.name for entry in self.root.iterdir() if entry.is_dir() and entry.name[0] != ".")
        except OSError as error:
            raise CatalogError(f"{self.root} cannot be read ({error.strerror})") from error
        for name in folders:
            if not MODEL_NAME.fullmatch(name) and name not in self._told:
                self._told.add(name)
                log.warning("folder %r is no model name and is not served", name)
        return [name for name in folders if MODEL_NAME.fullmatch(name)]

    def versions(self, name: str) -> list[str]:
        """A model's versions, ascending; none where there is no such model. Hidden folders are exports in the making.

        Raises:
            CatalogError: the model's folder cannot be read.
        """
        # The one place where a caller's name could become a path.
        if not MODEL_NAME.fullmatch(name):
            return []
        try:
            entries = [entry for entry in (self.root / name).iterdir() if MODEL_VERSION.fullmatch(entry.name)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise CatalogError(f"the folder of model {name} cannot be read ({error.strerror})") from error
        return sorted((entry.name for entry in entries if entry.is_dir()), key=int)

    def artifact(self, name: str, version: str) -> Path:
        """Where a version's artifact really is.

        Raises:
            ModelFileError: it is not there, or a symbolic link leads out of the directory.
        """
        try:
            path = (self.root / name / version / ARTIFACT_FILE).resolve(strict=True)
            inside = path.is_relative_to(self.root.resolve(strict=True))
        except (OSError, RuntimeError) as error:  # a RuntimeError is a loop of links
            raise ModelFileError(f"there is no {ARTIFACT_FILE} in its folder; export makes it in one step") from error
        if not inside:
            raise ModelFileError(f"{ARTIFACT_FILE} leads out of the models directory by a symbolic link; copy it in")
        return path

    def mark(self, name: str, version: str) -> FileMark | None:
        """What tells one content of a version's artifact from the next; None where there is none."""
        try:
            stat = (self.root / name / version / ARTIFACT_FILE).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            # A mark like any other: what cannot be read is tried, and told, once.
            return (error.errno or 0,)
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
