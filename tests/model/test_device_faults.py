"""What a failure of torch says of the device."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model import device_encoder, torchscript
from model.contract import DeviceLost, OutOfDeviceMemory
from model.device_encoder import DeviceEncoder, example_cells
from model.device_faults import raise_if_of_device
from model.errors import ModelFileError
from model.export import export_save
from model.torchscript import load, script
from tests.saves import ROOT, SaveRecipe

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


class Greedy(torch.nn.Module):
    """More memory than there is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.expand(1 << 44, 4).contiguous()


@pytest.mark.parametrize("module", [Greedy(), script(Greedy())], ids=["eager", "TorchScript"])
def test_a_cpu_without_memory(module: torch.nn.Module) -> None:
    with pytest.raises(RuntimeError) as failed:
        module(torch.ones(4))
    with pytest.raises(OutOfDeviceMemory) as told:
        raise_if_of_device(failed.value, CPU)
    assert told.value.__cause__ is failed.value


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError(
            "The following operation failed in the TorchScript interpreter.\nRuntimeError: CUDA out of memory."
        ),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=str,
)
def test_a_gpu_without_memory_is_not_asked_whether_it_is_lost(
    error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: pytest.fail("it was asked"))
    with pytest.raises(OutOfDeviceMemory, match="cuda:0 has too little memory"):
        raise_if_of_device(error, CUDA)


@pytest.mark.parametrize("words", ["CUDA error: device-side assert triggered", "CUBLAS_STATUS_EXECUTION_FAILED", "?"])
def test_a_gpu_that_fails_the_next_call_too_is_lost(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def still_failing(device: torch.device) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(torch.cuda, "synchronize", still_failing)
    with pytest.raises(DeviceLost, match="cuda:0 failed"):
        raise_if_of_device(RuntimeError(words), CUDA)


@pytest.mark.parametrize("words", ["CUDA error: invalid configuration argument", "mat1 and mat2 cannot be multiplied"])
def test_a_gpu_that_goes_on_is_not_lost(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    raise_if_of_device(RuntimeError(words), CUDA)


def test_a_cpu_is_never_lost() -> None:
    raise_if_of_device(RuntimeError("CUDA error: made up"), CPU)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return export_save(SaveRecipe().write(folder / "save"), name="m", version=1, into=folder / "models").path


def test_an_encoder_tells_what_became_of_its_device(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = DeviceEncoder.load(artifact, device="cpu", threads=1, max_batch_cells=16)
    cells = example_cells(encoder.spec, 8)
    for error, told in (
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), OutOfDeviceMemory),
        (RuntimeError("a bug"), RuntimeError),
    ):

        def fail(*_: object, error: RuntimeError = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(encoder, "_module", fail)
            with pytest.raises(told) as caught:
                encoder.encode(cells)
        assert type(caught.value) is told
    assert encoder.encode(cells).n_cells == 8


FAULTS = """
import sys, torch
from model.contract import DeviceLost, OutOfDeviceMemory
from model.device_faults import raise_if_of_device
from model.torchscript import script
from tests.model.test_device_faults import CUDA, Greedy

def asserting():
    torch.zeros(4, device=CUDA)[torch.tensor([9], device=CUDA)].cpu()

faults = {
    "memory": lambda: torch.empty(1 << 45, device=CUDA),
    "memory in TorchScript": lambda: script(Greedy())(torch.ones(4, device=CUDA)),
    "pinned memory": lambda: torch.empty(1 << 44, pin_memory=True),
    "shapes": lambda: torch.ones(3, 2, device=CUDA) @ torch.ones(3, 2, device=CUDA),
    "assert": asserting,
}
torch.ones(4, device=CUDA).sum().item()
for name, fault in faults.items():
    try:
        fault()
    except RuntimeError as error:
        try:
            raise_if_of_device(error, CUDA)
            print(name, "own", sep=": ")
        except (DeviceLost, OutOfDeviceMemory) as told:
            print(name, type(told).__name__, sep=": ")
"""


@pytest.mark.gpu
def test_faults_of_a_real_gpu() -> None:
    """In a process of its own: the last of them is the end of it."""
    done = subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "memory: OutOfDeviceMemory",
        "memory in TorchScript: OutOfDeviceMemory",
        "pinned memory: OutOfDeviceMemory",
        "shapes: own",
        "assert: DeviceLost",
    ]


@pytest.mark.parametrize("step", ["the module", "what is fitted to the device"])
def test_a_gpu_without_room_for_a_model_is_no_damage_to_the_model(
    artifact: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """It may be loaded later, and on another replica; a damaged file may not."""

    def without_room(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(device_encoder, "resolve_device", lambda name: CUDA)
    if step == "the module":
        monkeypatch.setattr(torchscript, "load", without_room)
    else:
        monkeypatch.setattr(torchscript, "load", lambda file, device: load(file, CPU))
        monkeypatch.setattr(device_encoder, "Courier", lambda device: None)
        monkeypatch.setattr(DeviceEncoder, "_fit_to_device", without_room)
    with pytest.raises(OutOfDeviceMemory, match="cuda:0 has too little memory"):
        DeviceEncoder.load(artifact, device="cuda:0")


def test_damage_that_asks_a_cpu_for_much_memory_is_damage(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 17 TB")

    monkeypatch.setattr(torchscript, "load", greedy)
    with pytest.raises(ModelFileError, match="damaged"):
        DeviceEncoder.load(artifact, device="cpu")
