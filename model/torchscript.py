"""The one place that touches torch.jit, which PyTorch deprecates in favour of torch.export.

Nothing else in the project knows which of the two an artifact was written with: to change, change these functions.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import torch
from torch import nn


@contextlib.contextmanager
def _deprecation_silenced() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit", category=FutureWarning)
        yield


def script(module: nn.Module) -> torch.jit.ScriptModule:
    """Compile a module to TorchScript."""
    with _deprecation_silenced():
        scripted: torch.jit.ScriptModule = torch.jit.script(module)
    return scripted


def serialise(scripted: torch.jit.ScriptModule) -> dict[str, bytes]:
    """The records of a TorchScript archive by name, folder left out.

    The source maps for debuggers are dropped, for they hold paths of the machine that compiled the module, and with
    them the archive's own digest of all records.
    """
    buffer = io.BytesIO()
    with _deprecation_silenced():
        torch.jit.save(scripted, buffer)
    with zipfile.ZipFile(buffer) as file:
        return {
            name.partition("/")[2]: file.read(name)
            for name in file.namelist()
            if not name.endswith((".debug_pkl", "/.data/serialization_id"))
        }


def load(file: BinaryIO, device: torch.device) -> torch.jit.ScriptModule:
    """Read a scripted module onto a device.

    Raises:
        RuntimeError: the archive is not a TorchScript module that this torch can read.
    """
    # On a GPU the steps of a module would be fused into kernels of their own, for the sizes seen first and no others.
    # They round differently, so a cell's bits would depend on its batch. One switch for the process.
    torch._C._jit_set_texpr_fuser_enabled(False)
    with _deprecation_silenced():
        loaded: torch.jit.ScriptModule = torch.jit.load(file, map_location=device)  # type: ignore[no-untyped-call]
    return loaded
