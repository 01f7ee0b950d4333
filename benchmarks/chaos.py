"""Rolling restarts of three replicas behind a proxy under a mixed load: `python -m benchmarks.chaos`.

The suite makes one round of it (tests/end_to_end/test_rolling_restart.py); this is the whole, with the numbers.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine
from benchmarks.report import markdown
from tests.end_to_end import synthetic
from tests.end_to_end.crowd import GOOD
from tests.end_to_end.proxy import Haproxy, Nginx
from tests.end_to_end.rolling_restart import rolling_restart
from tests.end_to_end.server import export

PROXIES = {"nginx": Nginx, "haproxy": Haproxy}


def main() -> int:
    """Run, print and tell by the exit code whether no call failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--proxy", choices=PROXIES, default="nginx")
    parser.add_argument("--least-calls", type=int, default=20_000, help="of the good callers, all answered right")
    options = parser.parse_args()
    print(f"{machine.described()}\nbehind {options.proxy}\n", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        models, proxy = folder / "models", folder / "proxy"
        proxy.mkdir()
        export({synthetic.NAME: synthetic.RECIPE.write(folder / "save")}, models)
        tally, complaints, codes = rolling_restart(
            models, proxy, rounds=options.rounds, least_calls=options.least_calls, proxy=PROXIES[options.proxy]
        )
    failed = collections.Counter(failure.partition(":")[0] for failure in tally.failures)
    lines = [(kind, f"{n:,}", str(failed[kind])) for kind, n in sorted(tally.right.items())]
    lines.append(("all", f"{tally.right.total():,}", str(failed.total())))
    print(markdown(("callers", "calls with the right outcome", "failed"), lines, left={0}))
    n_good = sum(tally.right[kind] for kind in GOOD)
    print(
        f"\n{len(codes)} restarts, exit codes {sorted(set(codes))}; {n_good:,} answers to good callers; "
        f"{tally.repeated} gRPC calls cut by the library before the service saw them, and repeated by their callers; "
        f"{len(complaints)} complaints in the logs; {time.monotonic() - began:.0f} s"
    )
    for line in (*tally.failures[:20], *complaints[:20]):
        print(line, file=sys.stderr)
    return int(bool(tally.failures or complaints or any(codes)))


if __name__ == "__main__":
    sys.exit(main())
