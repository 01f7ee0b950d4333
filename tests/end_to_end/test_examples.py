"""What the README and docs/open-inference.md say works when it is copied and pasted."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.end_to_end.server import RunningServer
from tests.saves import EXAMPLE_MODELS, ROOT

README = (ROOT / "README.md").read_text()
OPEN_INFERENCE = (ROOT / "docs" / "open-inference.md").read_text()


@pytest.fixture(scope="module")
def example() -> Iterator[RunningServer]:
    with RunningServer(EXAMPLE_MODELS) as server:
        server.wait_until_ready()
        yield server


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def curl_lines(text: str) -> list[list[str]]:
    return [words for words in (shlex.split(block) for block in text) if words[:1] == ["curl"]]


def run_curl(words: list[str], server: RunningServer) -> httpx.Response:
    """Do what a curl line of the README says, at this server's ports."""
    headers = dict(value.split(": ") for flag, value in itertools.pairwise(words) if flag == "-H")
    body = words[words.index("-d") + 1]
    content = (ROOT / body[1:]).read_bytes() if body.startswith("@") else body.encode()
    (url,) = (word for word in words if word.startswith("http://127.0.0.1:8000/"))
    return httpx.post(url.replace(":8000", f":{server.http_port}"), content=content, headers=headers)


def test_the_curl_lines_of_the_readme(example: RunningServer) -> None:
    lines = curl_lines(blocks("sh"))
    assert len(lines) == 2
    for words in lines:
        answer = run_curl(words, example)
        assert answer.status_code == 200, answer.text
        assert answer.json()["n_cells"] in (5, 2)


def test_the_curl_line_that_make_serve_prints_is_the_readmes() -> None:
    (printed,) = re.findall(r"^  (curl .*)$", (ROOT / "examples" / "serve.sh").read_text(), re.MULTILINE)
    assert shlex.split(printed.replace("$callers", "http://127.0.0.1:8000")) in curl_lines(blocks("sh"))


def test_the_python_lines_of_the_readme(example: RunningServer) -> None:
    (code,) = blocks("python")
    assert len(run_python(code, example)) == 20


def run_python(code: str, server: RunningServer) -> Any:
    """What a block prints, in a process of its own, at this server's port."""
    done = subprocess.run(
        [sys.executable, "-c", code.replace(":8000", f":{server.http_port}")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_the_curl_lines_of_the_open_inference_protocol(example: RunningServer) -> None:
    dense, sparse = (run_curl(words, example).json() for words in curl_lines(blocks("sh", OPEN_INFERENCE)))
    z, latent_z = dense["outputs"]
    assert (z["name"], z["shape"], latent_z["name"], latent_z["shape"]) == ("z", [2, 20], "latent_z", [2, 2, 20])
    assert dense["parameters"]["seed"] == 7
    assert [output["name"] for output in sparse["outputs"]] == ["qz_mean", "qz_variance", "z", "library_observed"]
    assert sparse["outputs"][-1]["data"] == [4, 7]


def test_the_python_lines_of_the_open_inference_protocol(example: RunningServer) -> None:
    body = json.loads((ROOT / "examples" / "request.json").read_bytes())
    right = httpx.post(
        f"http://127.0.0.1:{example.http_port}/v1/models/pbmc/encode",
        json={name: body[name] for name in ("genes", "gene_counts", "batch")},
    ).json()["z"]
    binary, by_triton = (run_python(code, example) for code in blocks("python", OPEN_INFERENCE))
    assert np.array_equal(np.array(binary, np.float32), np.array(right, np.float32))
    assert np.array_equal(np.array(by_triton, np.float32), np.array(right, np.float32))


def test_the_grpc_example_gives_what_rest_gives(example: RunningServer) -> None:
    done = subprocess.run(
        [sys.executable, "examples/encode_grpc.py", f"127.0.0.1:{example.grpc_port}"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    body = (ROOT / "examples" / "request.json").read_bytes()
    url = f"http://127.0.0.1:{example.http_port}/v1/models/pbmc/encode"
    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}).json()
    printed = [line.split("[") for line in done.stdout.splitlines()]
    assert [name.strip() for name, _ in printed] == answer["cells"]
    for (_, numbers), mean in zip(printed, answer["qz"]["mean"], strict=True):
        assert [float(number) for number in numbers.rstrip("]").split()] == pytest.approx(mean, abs=6e-4)


def test_every_make_target_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) <= targets
