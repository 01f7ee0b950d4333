"""What every test may lean on."""

from __future__ import annotations

import importlib.util

import pytest

from tests.saves import SHARED_SAVES


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run, saying why."""
    have_saves = SHARED_SAVES.is_dir()
    have_scvi = importlib.util.find_spec("scvi") is not None
    for item in items:
        if not have_saves and item.get_closest_marker("shared_data"):
            item.add_marker(pytest.mark.skip(reason="the real saves of ../shared/data are not here"))
        if not have_scvi and item.get_closest_marker("parity"):
            item.add_marker(pytest.mark.skip(reason="scvi-tools is not installed (pip install -e .[parity])"))
        if item.get_closest_marker("gpu"):
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="there is no CUDA device"))
