"""The settings are the C library's own; what they save is a matter for benchmarks."""

import ctypes

import pytest

from service import allocator


def test_each_setting_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    class Library:
        def __init__(self, name: None) -> None:
            self.mallopt = lambda *setting: asked.append(setting)

    monkeypatch.setattr(ctypes, "CDLL", Library)
    allocator.keep_freed_memory()
    assert [name for name, _ in asked] == [-3, -1, -8]
    assert all(value > 0 for _, value in asked)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    allocator.keep_freed_memory()
