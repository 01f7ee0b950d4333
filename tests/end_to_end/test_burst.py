"""More callers than the queue takes, for a while: each call is answered right or refused, and then all is as before."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections import Counter
from pathlib import Path

from tests.end_to_end import synthetic
from tests.end_to_end.asking import Refused
from tests.end_to_end.clients import GrpcCaller, RestProtobufCaller
from tests.end_to_end.mistake import Says, assert_says
from tests.end_to_end.operators import assert_idle, metrics
from tests.end_to_end.server import RunningServer
from tests.end_to_end.synthetic import assert_same_bits

N_CALLERS, N_CALLS = 16, 30
CELLS = synthetic.cells(64, seed=31)
FLAGS = ("--max-queue-cells", 128, "--max-batch-cells", 64, "--drain-delay-s", 0)
"""Two calls wait and one is computed."""


def test_a_burst(synthetic_models: Path) -> None:
    """`make overload` measures it: three times the load for a minute."""
    with RunningServer(synthetic_models, *FLAGS) as server:
        server.wait_until_ready()
        with RestProtobufCaller(server.http_port) as rest, GrpcCaller(server.grpc_port) as rpc:
            right = rest.encode(CELLS)

            def keep_calling(caller: RestProtobufCaller | GrpcCaller) -> Counter[str]:
                outcomes: Counter[str] = Counter()
                for _ in range(N_CALLS):
                    try:
                        assert_same_bits(caller.encode(CELLS), right)
                        outcomes["ok"] += 1
                    except Refused as refused:
                        assert_says(refused, Says("overloaded", "the queue is full"))
                        outcomes["overloaded"] += 1
                return outcomes

            with concurrent.futures.ThreadPoolExecutor(N_CALLERS) as threads:
                callers = itertools.islice(itertools.cycle((rest, rpc)), N_CALLERS)
                outcomes = sum(threads.map(keep_calling, callers), Counter())

            assert outcomes.total() == N_CALLERS * N_CALLS
            assert outcomes["ok"] >= N_CALLS
            assert_idle(server)
            counted = metrics(server)
            told = {
                outcome: sum(n for key, n in counted.items() if key[0] == "totalvi_requests_total" and outcome in key)
                for outcome in ("ok", "overloaded")
            }
            assert told == {"ok": outcomes["ok"] + 1, "overloaded": outcomes["overloaded"]}
            for caller in (rest, rpc, rest, rpc):
                assert_same_bits(caller.encode(CELLS), right)
        assert server.stop() == 0
