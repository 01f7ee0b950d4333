"""One mistake of a caller: how each transport sends it, and what must come back."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import grpc

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.end_to_end.asking import Ask, Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller, RestProtobufCaller, json_body, message, rest_path

SECRET = 7654321
"""A count of most bad requests; no answer and no log line may hold it."""

STATUSES = {
    "malformed": (400, grpc.StatusCode.INVALID_ARGUMENT),
    "not_found": (404, grpc.StatusCode.NOT_FOUND),
    "too_large": (413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "unsupported": (415, grpc.StatusCode.UNIMPLEMENTED),
    "invalid": (422, grpc.StatusCode.INVALID_ARGUMENT),
    "overloaded": (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
    "unavailable": (503, grpc.StatusCode.UNAVAILABLE),
    "deadline": (504, grpc.StatusCode.DEADLINE_EXCEEDED),
}
"""API 6: the machine code, and its status on each transport."""


@dataclasses.dataclass(frozen=True)
class Says:
    """The refusal that must come back.

    Attributes:
        code: machine code.
        fragment: of the detail.
        field: at fault; None: none is named.
        index: of the first offender; None: it is not looked at.
        status: where it is not the one of the code.
        by: whose words they are: ours bear the code, gRPC's own do not, and when a deadline passes it is a race.
    """

    code: str
    fragment: str
    field: str | None = None
    index: int | None = None
    status: int | None = None
    by: Literal["us", "grpc", "either"] = "us"


@dataclasses.dataclass(frozen=True)
class Warns:
    """The warning that must come back with the answer, the only one."""

    code: str
    count: int


Send = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        name: of the mistake.
        outcome: what must come back.
        ask: the mistake in no transport's words; None: only the transports that have a way of their own can make it.
        rest: REST's own way to make it.
        rpc: gRPC's own way to make it.
        rpc_outcome: what must come back from gRPC, where that differs.
        rest_protobuf: REST's own way to make it with a message; None: as gRPC makes it, unless gRPC's own words answer.
    """

    name: str
    outcome: Says | Warns
    ask: Ask | None = None
    rest: Callable[[RestCaller], Any] | None = None
    rpc: Callable[[GrpcCaller], Any] | None = None
    rpc_outcome: Says | None = None
    rest_protobuf: Callable[[RestProtobufCaller], Any] | None = None

    def ways(self) -> Iterator[tuple[str, Send, Says | Warns]]:
        """Each transport that can make the mistake, how it does, and what must come back."""
        plain = None if self.ask is None else self._send_ask
        rpc_outcome = self.rpc_outcome or self.outcome
        for transport, send, outcome in (
            ("rest", self.rest or plain, self.outcome),
            ("grpc", self.rpc or plain, rpc_outcome),
            ("rest-protobuf", self.rest_protobuf, self.outcome)
            if self.rest_protobuf
            else ("rest-protobuf", (self.rpc or plain) if _by_us(rpc_outcome) else None, rpc_outcome),
        ):
            if send:
                yield transport, send, outcome

    def _send_ask(self, caller: RestCaller | GrpcCaller) -> Any:
        assert self.ask is not None
        return caller.encode(self.ask)


def _by_us(outcome: Says | Warns) -> bool:
    return isinstance(outcome, Warns) or outcome.by == "us"


def posts(ask: Ask, body: Any, **headers: str) -> Callable[[RestCaller], Any]:
    """Post a body as it is."""
    return lambda caller: caller.send("POST", rest_path(ask), body, _dashed(headers))


def posts_json(
    ask: Ask, change: Callable[[dict[str, Any]], Any] | None = None, **fields: Any
) -> Callable[[RestCaller], Any]:
    """Post an ask whose JSON was changed."""

    def send(caller: RestCaller) -> Any:
        body = json_body(ask) | fields
        if change is not None:
            change(body)
        return caller.send("POST", rest_path(ask), json.dumps(body).encode())

    return send


def posts_with(ask: Ask, **headers: str) -> Callable[[RestCaller], Any]:
    """Post an ask with other headers."""
    return lambda caller: caller.encode(ask, _dashed(headers))


def calls(ask: Ask, change: Callable[[pb.EncodeRequest], Any]) -> Callable[[GrpcCaller], Any]:
    """Send an ask whose message was changed."""

    def send(caller: GrpcCaller) -> Any:
        request = message(ask)
        change(request)
        return caller.call(caller.stub.Encode, request)

    return send


def calls_bytes(body: bytes, method: str = "Encode") -> Callable[[GrpcCaller], Any]:
    """Send bytes as they are."""
    return lambda caller: caller.send_bytes(method, body)


def _dashed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def assert_says(refused: Refused, says: Says) -> None:
    """It is the refusal that was to come, and tells nothing else."""
    http_status, grpc_status = STATUSES[says.code]
    by_rest = isinstance(refused.status, int)
    assert refused.status == (says.status or (http_status if by_rest else grpc_status)), refused
    assert refused.code in {"us": [says.code], "grpc": [None], "either": [says.code, None]}[says.by], refused
    assert says.fragment in refused.detail
    assert refused.field == says.field
    assert says.index is None or refused.index == says.index
    assert "\n" not in refused.detail
    assert len(refused.detail) <= 1024
    assert_tells_nothing(refused.told)
    if says.code in ("overloaded", "unavailable"):
        assert int(refused.headers["retry-after" if by_rest else "grpc-retry-pushback-ms"]) >= 1


def assert_tells_nothing(text: str, *, folders: bool = True) -> None:
    """No traces of the inside: a caller's counts, Python's and C++'s own words, and for callers no folders."""
    assert not re.search(rf"{SECRET}|Traceback|\.(py|cpp|cc)\b|0x[0-9a-f]{{6}}|[a-z]Error\(", text)
    assert not (folders and re.search(r"/(work|tmp|home|root|usr|etc)/", text))
