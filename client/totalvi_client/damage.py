"""What the system says of a broken file or a full disk, in words that help."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from totalvi_client.errors import InputError, TotalviError


@contextlib.contextmanager
def damaged(source: Path) -> Iterator[None]:
    """While a file is read: what goes wrong is the file's fault.

    Args:
        source: the file.

    Raises:
        InputError: instead of what h5py raises.
    """
    try:
        yield
    except TotalviError:
        raise
    except (OSError, KeyError, RuntimeError, UnicodeDecodeError) as error:
        raise InputError(damage(source, error)) from error


def damage(source: Path, error: BaseException) -> str:
    """The sentence for it."""
    return f"{source} is damaged or cut short, or cannot be read ({error}); get a new copy and compare the sizes"


@contextlib.contextmanager
def writing(out: Path) -> Iterator[None]:
    """While a file is written: what goes wrong is the disk's fault.

    Args:
        out: the file.

    Raises:
        InputError: instead of what the system or h5py raises.
    """
    try:
        yield
    except TotalviError:
        raise
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{out} cannot be written ({error}); make room, or see who may write there, and run again: what is "
            f"finished was kept in {out.name}.part"
        ) from error
