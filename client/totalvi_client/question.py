"""One call, in no transport's words: what is asked, and what comes back."""

from __future__ import annotations

import dataclasses
import enum
import re
import uuid
from collections.abc import Mapping

_PHASE = re.compile(r"(?:^|,)\s*([\w-]+);dur=([0-9.]+)")


class Method(enum.Enum):
    """What a server can be asked; the value is its name in gRPC."""

    ENCODE = "Encode"
    VALIDATE = "Validate"
    MODELS = "ListModels"
    MODEL = "GetModel"
    LIMITS = "limits"


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One call.

    Attributes:
        method: what is asked.
        body: serialised `EncodeRequest` of `ENCODE` and `VALIDATE`; else empty.
        model: of `MODEL`, whose card is asked for.
        version: of that model; None: the default one.
        priority: whose turn the cells take; None: the server's choice.
        request_id: under which the server logs it; the same however often it is asked.
    """

    method: Method
    body: bytes = b""
    model: str = ""
    version: str | None = None
    priority: str | None = None
    request_id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        body: as it came: a message where cells or gRPC were asked, else JSON.
        is_json: which of them.
        request_id: that the server named, or the question's.
        timing: milliseconds in the server by phase.
    """

    body: bytes
    is_json: bool
    request_id: str
    timing: Mapping[str, float]


def read_timing(header: str) -> dict[str, float]:
    """The phases of a `Server-Timing` header (`decode;dur=0.2, queue;dur=0.03`), in milliseconds."""
    found = {}
    for name, number in _PHASE.findall(header):
        try:
            found[name] = float(number)
        except ValueError:
            continue
    return found
