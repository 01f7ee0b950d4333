"""A rolling restart under a mixed load: each replica in turn goes down and comes back while the crowd calls."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.crowd import BAD, GOOD, MOST_CELLS, Crowd, Tally
from tests.end_to_end.proxy import Haproxy, Nginx, Proxy
from tests.end_to_end.replicas import proxied_replicas

FLAGS = ("--drain-delay-s", 0.5, "--max-request-cells", MOST_CELLS, "--threads", 1)

NOTICED_S = {Nginx: 0.5, Haproxy: 3.0}
"""How long a stopping replica serves on: HAProxy has to ask twice, within 1.25 s, on a machine that is busy."""


def rolling_restart(
    models: Path, folder: Path, *, rounds: int, least_calls: int, proxy: type[Proxy] = Nginx
) -> tuple[Tally, list[str], list[int]]:
    """Restart each replica in each round, and go on until that many calls were answered.

    Returns:
        The calls' outcomes, what the servers complained of, and their exit codes.
    """
    codes = []
    flags = (*FLAGS, "--drain-delay-s", NOTICED_S[proxy])
    with proxied_replicas(models, folder, *flags, proxy=proxy) as (replicas, before):
        with Crowd(before.rest_port, before.grpc_port, [*GOOD, *BAD]) as crowd:
            crowd.wait_for(20)
            for index in list(range(len(replicas.servers))) * rounds:
                codes.append(replicas.end(index))
                crowd.wait_for(20)
                replicas.begin(index)
                crowd.wait_for(20)
            for _ in range(least_calls):
                if crowd.n_answered >= least_calls:
                    break
                crowd.wait_for(20)
            tally = crowd.stop()
        return tally, replicas.complaints() + before.complaints(), codes
