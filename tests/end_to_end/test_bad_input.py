"""Whatever a caller sends: the right refusal, nothing told that is not its business, and the next caller is served."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer, Refused
from tests.end_to_end.bad_input import BAD, CASES, GOOD
from tests.end_to_end.clients import GrpcCaller, RestCaller, RestProtobufCaller, message
from tests.end_to_end.mistake import STATUSES, Says, Send, Warns, assert_says, assert_tells_nothing
from tests.end_to_end.operators import assert_idle
from tests.end_to_end.server import RunningServer
from tests.end_to_end.synthetic import assert_right, assert_same_bits

WAYS = [
    pytest.param(transport, send, outcome, id=f"{transport}-{case.name}".replace(" ", "-"))
    for case in CASES
    for transport, send, outcome in case.ways()
]


@pytest.fixture(scope="module")
def callers(rest: RestCaller, rpc: GrpcCaller, rest_protobuf: RestProtobufCaller) -> dict[str, Any]:
    return {"rest": rest, "grpc": rpc, "rest-protobuf": rest_protobuf}


@pytest.fixture(scope="module")
def right(callers: dict[str, Any]) -> Answer:
    """What the good request is answered."""
    answer, *others = [caller.encode(GOOD) for caller in callers.values()]
    assert_right(answer, synthetic.expected(GOOD))
    for other in others:
        assert_same_bits(other, answer)
    return answer


@pytest.fixture(scope="module", autouse=True)
def _unharmed(server: RunningServer) -> Iterator[None]:
    """After all of it the server lives, has nothing under way, nothing to complain of, and kept the callers' secret."""
    yield
    assert_idle(server)
    assert [record for record in server.records if record["level"] not in ("debug", "info")] == []
    assert_tells_nothing("\n".join(line for line in server.lines if line.startswith("{")), folders=False)


@pytest.mark.parametrize(("transport", "send", "outcome"), WAYS)
def test_a_mistake(callers: dict[str, Any], right: Answer, transport: str, send: Send, outcome: Says | Warns) -> None:
    caller = callers[transport]
    if isinstance(outcome, Warns):
        answer = send(caller)
        assert [(warning["code"], warning["count"]) for warning in answer.warnings] == [(outcome.code, outcome.count)]
        assert_tells_nothing(str(answer.warnings))
    else:
        with pytest.raises(Refused) as caught:
            send(caller)
        assert_says(caught.value, outcome)

    assert_same_bits(caller.encode(GOOD), right)


@pytest.mark.parametrize("transport", ["rest", "grpc", "rest-protobuf"])
def test_the_table_covers_what_a_request_can_earn(transport: str) -> None:
    outcomes = [outcome for case in CASES for way, _, outcome in case.ways() if way == transport]
    earned = {outcome.code for outcome in outcomes if isinstance(outcome, Says)}
    assert earned == STATUSES.keys() - {"overloaded", "unavailable"}


def test_a_whole_float_is_the_same_label_as_the_integer(callers: dict[str, Any], right: Answer) -> None:
    lanes = [float(lane) for lane in GOOD.categorical["lane"]]
    ask = GOOD.but(categorical={**GOOD.categorical, "lane": lanes})
    for caller in callers.values():
        assert_same_bits(caller.encode(ask), right)


def test_no_caller_makes_the_server_write_what_is_no_log_line(server: RunningServer, rpc: GrpcCaller) -> None:
    with pytest.raises(Refused):
        rpc.call(rpc.stub.Encode, message(BAD), compression=grpc.Compression.Gzip)
    rpc.encode(GOOD)

    assert [line for line in server.lines if not line.startswith("{")] == []
