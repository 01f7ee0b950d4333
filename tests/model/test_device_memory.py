from __future__ import annotations

import pytest
import torch

from model.device_memory import device_memory


def test_without_cuda_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert device_memory() == {}


def test_only_devices_that_are_used_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask a device for its memory would make a context on it."""
    asked = []

    def mem_get_info(index: int) -> tuple[int, int]:
        asked.append(index)
        return 600, 1000

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 200 if index == 1 else 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda index: 150)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    kinds = {"total": 1000.0, "used": 400.0, "reserved": 200.0, "allocated": 150.0}
    assert device_memory() == {("cuda:1", kind): n_bytes for kind, n_bytes in kinds.items()}
    assert asked == [1]


@pytest.mark.gpu
def test_on_a_device() -> None:
    kept = torch.ones(1 << 20, device="cuda")
    memory = device_memory()
    assert memory["cuda:0", "total"] > memory["cuda:0", "used"] >= memory["cuda:0", "reserved"] > 0
    assert memory["cuda:0", "reserved"] >= memory["cuda:0", "allocated"] >= kept.nbytes
