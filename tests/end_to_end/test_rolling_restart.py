"""Three replicas behind nginx or HAProxy: restarted one after another, or killed, while all kinds of callers call."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Refused
from tests.end_to_end.clients import GrpcCaller, RestCaller
from tests.end_to_end.crowd import BAD, CELLS, GOOD, Crowd
from tests.end_to_end.operators import assert_idle
from tests.end_to_end.proxy import Haproxy, Nginx, Proxy, missing
from tests.end_to_end.replicas import proxied_replicas
from tests.end_to_end.rolling_restart import FLAGS, rolling_restart
from tests.end_to_end.server import PATIENCE_S
from tests.end_to_end.synthetic import assert_right

MOST_CALLS = 20_000
"""Of one caller; it is told to stop long before."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PROXIES = [
    pytest.param(proxy, marks=pytest.mark.skipif(bool(missing(proxy)), reason=missing(proxy)), id=proxy.__name__)
    for proxy in (Nginx, Haproxy)
]


@pytest.mark.parametrize("proxy", PROXIES)
def test_no_call_fails_in_a_rolling_restart(proxy: type[Proxy], synthetic_models: Path, tmp_path: Path) -> None:
    """One round; `make chaos` makes three, with 20,000 calls."""
    tally, complaints, codes = rolling_restart(synthetic_models, tmp_path, rounds=1, least_calls=1000, proxy=proxy)

    assert tally.failures == []
    # Of each gRPC caller the one call that was on its way when a replica stopped, at most.
    assert tally.repeated <= 3 * sum(kind.startswith("grpc") for kind in (*GOOD, *BAD))
    assert tally.right.keys() == {*GOOD, *BAD}
    assert codes == [0, 0, 0]
    assert complaints == []


class MovesOn(threading.Thread):
    """A caller that asks the next replica where one has failed it.

    Attributes:
        n_answers: right ones.
        failed: what each failed attempt raised.
        lost: calls that no replica answered.
    """

    def __init__(self, callers: Sequence[RestCaller | GrpcCaller], first: int) -> None:
        super().__init__(daemon=True)
        self._callers, self._at = callers, first
        self.over = False
        self.news = threading.Semaphore(0)
        self.n_answers = self.lost = 0
        self.failed: list[Exception] = []

    def run(self) -> None:
        right = synthetic.expected(CELLS)
        for _ in itertools.repeat(None, MOST_CALLS):
            if self.over:
                return
            self._call(right)
            self.news.release()

    def _call(self, right: dict[str, Any]) -> None:
        for _ in self._callers:
            try:
                answer = self._callers[self._at].encode(CELLS)
            except (httpx.TransportError, Refused) as error:
                self.failed.append(error)
                self._at = (self._at + 1) % len(self._callers)
            else:
                assert_right(answer, right)
                self.n_answers += 1
                return
        self.lost += 1

    def answered(self, n_calls: int) -> bool:
        """Whether so many more calls come to an end."""
        return all(self.news.acquire(timeout=PATIENCE_S) for _ in range(n_calls))


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_killed_replica(proxy: type[Proxy], synthetic_models: Path, tmp_path: Path) -> None:
    """Behind a proxy nobody notices; straight at the replicas no call fails but those that it had in flight."""
    with proxied_replicas(synthetic_models, tmp_path, *FLAGS, proxy=proxy) as (replicas, before):
        rests = [RestCaller(server.http_port) for server in replicas.servers]
        rpcs = [GrpcCaller(server.grpc_port) for server in replicas.servers]
        moving = [MovesOn(callers, first) for callers in (rests, rpcs) for first in range(3)]
        with Crowd(before.rest_port, before.grpc_port, GOOD) as crowd:
            for caller in moving:
                caller.start()
            crowd.wait_for(20)
            assert all(caller.answered(20) for caller in moving)

            assert replicas.end(0, signal.SIGKILL) == -signal.SIGKILL

            crowd.wait_for(20)
            assert all(caller.answered(20) for caller in moving)
            replicas.begin(0)
            crowd.wait_for(20)
            tally = crowd.stop()
        for caller in moving:
            caller.over = True
        for caller in moving:
            caller.join(PATIENCE_S)
        for rest_or_rpc in (*rests, *rpcs):
            rest_or_rpc.__exit__()

        assert tally.failures == []
        assert [caller.lost for caller in moving] == [0] * 6
        # The killed one had one call of each transport at a time.
        assert [len(caller.failed) for caller in moving] == [1, 0, 0, 1, 0, 0], [caller.failed for caller in moving]
        assert replicas.complaints() + before.complaints() == []
        for server in replicas.servers:
            assert_idle(server)
