"""Replicas that die while a matrix is encoded: behind a proxy, and alone."""

from __future__ import annotations

import concurrent.futures
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.asked import answered, of_all, slices
from tests.client.ways import WAYS, open_way
from tests.end_to_end import synthetic
from tests.end_to_end.asking import Answer
from tests.end_to_end.clients import RestCaller
from tests.end_to_end.proxy import Nginx, missing
from tests.end_to_end.replicas import free_ports, proxied_replicas
from tests.end_to_end.server import START_S, RunningServer
from tests.end_to_end.synthetic import assert_same_bits
from totalvi_client import PATIENT, Cells, joined

N_CELLS, SLICE = 600, 5
CELLS = synthetic.cells(N_CELLS, seed=8).but(
    cells=[str(number) for number in range(N_CELLS)], options={"n_samples": 2, "seed": 4}
)
ENDS = range(SLICE, N_CELLS, SLICE)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def assert_complete(found: Answer, right: Answer) -> None:
    assert found.facts == right.facts
    assert found.warnings == right.warnings
    assert_same_bits(found, right)


@pytest.mark.skipif(bool(missing(Nginx)), reason=missing(Nginx))
def test_one_of_three_is_killed_behind_a_proxy(synthetic_models: Path, tmp_path: Path) -> None:
    """All ways at once, each a good way through its matrix."""
    on_the_way = threading.Barrier(len(WAYS) + 1)
    with proxied_replicas(synthetic_models, tmp_path, "--threads", 1) as (replicas, nginx):
        with RestCaller(nginx.rest_port) as by_hand:
            right = by_hand.encode(CELLS)

        def cells() -> Iterator[Cells]:
            for number, one in enumerate(slices(CELLS, ENDS)):
                if number == 20:
                    on_the_way.wait(START_S)
                yield one

        def run(way: str) -> Answer:
            with open_way(way, nginx.rest_port, nginx.grpc_port) as client:
                return answered(joined(list(client.encode_stream(cells(), **of_all(CELLS)))))

        with concurrent.futures.ThreadPoolExecutor(len(WAYS)) as threads:
            runs = [threads.submit(run, way) for way in WAYS]
            on_the_way.wait(START_S)
            assert replicas.end(0, signal.SIGKILL) == -signal.SIGKILL
            for one in runs:
                assert_complete(one.result(START_S), right)


def test_the_only_one_is_killed_and_comes_back(way: str, synthetic_models: Path) -> None:
    ports = free_ports(3)
    flags = [text for pair in zip(("--http-port", "--grpc-port", "--admin-port"), ports, strict=True) for text in pair]
    with RunningServer(synthetic_models, *flags) as first:
        first.wait_until_ready()
        with RestCaller(first.http_port) as by_hand:
            right = by_hand.encode(CELLS)
        second = RunningServer(synthetic_models, *flags)

        def cells() -> Iterator[Cells]:
            for number, one in enumerate(slices(CELLS, ENDS)):
                if number == 20:
                    assert first.stop(signal.SIGKILL) == -signal.SIGKILL
                    second.__enter__().wait_until_ready()
                yield one

        with open_way(way, first.http_port, first.grpc_port, retry=PATIENT) as client:
            try:
                found = joined(list(client.encode_stream(cells(), **of_all(CELLS))))
            finally:
                second.__exit__()
        assert_complete(answered(found), right)
