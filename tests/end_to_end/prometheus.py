"""A real Prometheus (Debian's) in a process of its own, on loopback, that scrapes replicas every second."""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from tests.end_to_end.operators import until
from tests.end_to_end.server import PATIENCE_S

PROMETHEUS = shutil.which("prometheus")
INTERVAL = "1s"


class Prometheus:
    """Prometheus as a context manager: whatever happens, the process ends with it.

    Args:
        folder: of its files.
        replicas: operators' ports by the name of the pod.
        rules: groups of rules, as in a file of them; None: none.
        interval: from one scrape to the next.
    """

    def __init__(
        self,
        folder: Path,
        replicas: Mapping[str, int],
        rules: Mapping[str, Any] | None = None,
        interval: str = INTERVAL,
    ) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        # JSON is YAML.
        (folder / "rules.yaml").write_text(json.dumps(rules or {"groups": []}))
        configuration = {
            "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": ["rules.yaml"],
            "scrape_configs": [
                {
                    "job_name": "totalvi-serve",
                    "static_configs": [
                        {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": "test", "pod": pod}}
                        for pod, port in replicas.items()
                    ],
                }
            ],
        }
        (folder / "prometheus.yaml").write_text(json.dumps(configuration))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S, trust_env=False)
        assert PROMETHEUS is not None
        self._command = [
            PROMETHEUS,
            f"--config.file={folder / 'prometheus.yaml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]

    def __enter__(self) -> Self:
        """Start it and wait until it answers."""
        self._log = (self._folder / "log").open("w+")
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, env={}
        )
        if not until(lambda: self._process.poll() is not None or self._is_ready()) or self._process.poll() is not None:
            self.__exit__()
            raise AssertionError(f"Prometheus did not start: {(self._folder / 'log').read_text()}")
        return self

    def __exit__(self, *_: object) -> None:
        """End it by its id."""
        self._client.close()
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def ask(self, what: str, **parameters: Any) -> Any:
        """The data of an answer of its API, which must be one without a warning."""
        answer = self._client.get(f"/api/v1/{what}", params=parameters).json()
        assert answer["status"] == "success", answer
        assert not answer.get("warnings"), answer
        return answer["data"]

    def values(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """The numbers that an expression has now, by labels, without those that are none."""
        result = self.ask("query", query=expression)["result"]
        numbers = {tuple(sorted(series["metric"].items())): float(series["value"][1]) for series in result}
        return {labels: number for labels, number in numbers.items() if not math.isnan(number)}

    def scrapes(self, pod: str) -> float:
        """How many scrapes of a replica it has stored, of the last hour."""
        return sum(self.values(f'count_over_time(up{{pod="{pod}"}}[1h])').values())

    def scrape_again(self, *pods: str) -> None:
        """Wait for two more scrapes of each: the first may have begun before."""
        wanted = {pod: self.scrapes(pod) + 2 for pod in pods}
        assert until(lambda: all(self.scrapes(pod) >= n for pod, n in wanted.items()))
