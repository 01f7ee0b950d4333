"""A client of totalvi-serve: counts in, the latent space of a trained totalVI model out.

from totalvi_client import Client
with Client("http://127.0.0.1:8000") as client:
    z = client.encode(counts, genes=names).z
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from totalvi_client.async_client import AsyncClient
from totalvi_client.cells import Cells
from totalvi_client.client import Client
from totalvi_client.errors import (
    Cancelled,
    DeadlineExceeded,
    Forbidden,
    InputError,
    Internal,
    Invalid,
    Malformed,
    ModelChanged,
    NoAnswer,
    NotFound,
    Overloaded,
    ServiceError,
    TooLarge,
    TotalviError,
    Unauthenticated,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    Unsupported,
    Untrusted,
)
from totalvi_client.joining import joined
from totalvi_client.results import (
    Card,
    CategoricalField,
    Coverage,
    Encoding,
    Library,
    Limits,
    Normal,
    Notice,
    Samples,
    Validation,
)
from totalvi_client.retry import PATIENT, Retry
from totalvi_client.version import installed_version

if TYPE_CHECKING:
    from totalvi_client.choices import Choices
    from totalvi_client.embedding import check, embed
    from totalvi_client.report import Report
    from totalvi_client.run import check_file, encode_file

__version__ = installed_version()

# They are of the extra `anndata`: who only sends arrays does without it.
_LATER = {
    "Choices": "choices",
    "Report": "report",
    "check": "embedding",
    "check_file": "run",
    "embed": "embedding",
    "encode_file": "run",
}

__all__ = [
    "PATIENT",
    "AsyncClient",
    "Cancelled",
    "Card",
    "CategoricalField",
    "Cells",
    "Choices",
    "Client",
    "Coverage",
    "DeadlineExceeded",
    "Encoding",
    "Forbidden",
    "InputError",
    "Internal",
    "Invalid",
    "Library",
    "Limits",
    "Malformed",
    "ModelChanged",
    "NoAnswer",
    "Normal",
    "NotFound",
    "Notice",
    "Overloaded",
    "Report",
    "Retry",
    "Samples",
    "ServiceError",
    "TooLarge",
    "TotalviError",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Unsupported",
    "Untrusted",
    "Validation",
    "__version__",
    "check",
    "check_file",
    "embed",
    "encode_file",
    "joined",
]


def __getattr__(name: str) -> Any:
    """What needs more than numpy is imported when it is asked for."""
    if name in _LATER:
        return getattr(importlib.import_module(f"totalvi_client.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
