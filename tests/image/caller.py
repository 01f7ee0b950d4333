"""Calls a server on the image's own ports, REST and gRPC: `python -m tests.image.caller [until-draining]`.

Runs in the container's network. Prints one line of JSON of what it saw.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys

from tests.saves import ROOT

TIMEOUT_S = 20
LAST_CALLS = 10
"""Of each kind, once the server has said that it is going down."""
MOST_CALLS = 5000


def get(port: int, path: str) -> int:
    """The status of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def encode_rest() -> list[list[float]]:
    """Means of the example's cells."""
    connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=TIMEOUT_S)
    try:
        body = (ROOT / "examples" / "request.json").read_bytes()
        connection.request("POST", "/v1/models/pbmc/encode", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        means: list[list[float]] = json.load(answer)["qz"]["mean"]
        return means
    finally:
        connection.close()


def encode_grpc() -> str:
    """What the example of gRPC prints."""
    done = subprocess.run(
        [sys.executable, "examples/encode_grpc.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> None:
    """Call once of each kind, or again and again until the server drains and a little further."""
    probes = {path: get(8002, f"/{path}") for path in ("livez", "readyz", "startupz", "metrics")}
    means, printed = encode_rest(), encode_grpc()
    seen = {"probes": probes, "page": get(8000, "/"), "means": means, "grpc": printed, "calls": 0, "while_draining": 0}
    if sys.argv[1:] == ["until-draining"]:
        print("calling", flush=True)
        for _ in range(MOST_CALLS):
            draining = get(8002, "/readyz") == 503
            assert encode_rest() == means
            seen["calls"] += 1
            seen["while_draining"] += draining
            if seen["while_draining"] >= LAST_CALLS:
                break
        assert encode_grpc() == printed
        seen["livez_while_draining"] = get(8002, "/livez")
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
