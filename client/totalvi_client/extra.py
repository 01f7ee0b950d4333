"""What is installed beside numpy."""

from __future__ import annotations

import importlib.util

from totalvi_client.errors import InputError

_OF_FILES = ("anndata", "h5py", "pandas", "scipy")


def require_anndata() -> None:
    """See to it that what reads AnnData and its files is here.

    Raises:
        InputError: something is not installed.
    """
    missing = [name for name in _OF_FILES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"AnnData and files need {', '.join(missing)}: pip install 'totalvi-client[anndata]'")
