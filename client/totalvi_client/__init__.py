"""A client of totalvi-serve: counts in, the latent space of a trained totalVI model out.

from totalvi_client import Client
with Client("http://127.0.0.1:8000") as client:
    z = client.encode(counts, genes=names).z
"""

from __future__ import annotations

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

__version__ = installed_version()

__all__ = [
    "PATIENT",
    "AsyncClient",
    "Cancelled",
    "Card",
    "CategoricalField",
    "Cells",
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
    "joined",
]
