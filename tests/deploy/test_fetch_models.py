"""deploy/components/models-from-s3/fetch.sh, with a bucket that is a folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from service.allowed_digests import read_digests
from tests.deploy.rendering import ROOT

COMPONENT = ROOT / "deploy" / "components" / "models-from-s3"

AWS = """#!/bin/sh
[ "$1 $2 $3" = "s3 cp --only-show-errors" ] || exit 9
cp "$BUCKET/${4#s3://bucket/models/}" "$5"
"""


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """A bucket with two models, each by its digest, and an `aws` that copies from it."""
    (tmp_path / "bin").mkdir()
    aws = tmp_path / "bin" / "aws"
    aws.write_text(AWS)
    aws.chmod(0o755)
    folder = tmp_path / "bucket"
    folder.mkdir()
    for content in (b"first", b"second"):
        (folder / hashlib.sha256(content).hexdigest()).write_bytes(content)
    return folder


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(bucket: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run the script on a list; the models are beside the bucket."""
    wanted, models = bucket.parent / "models.sha256", bucket.parent / "models"
    wanted.write_text(text)
    models.mkdir(exist_ok=True)
    variables = {"PATH": f"{bucket.parent / 'bin'}:{os.environ['PATH']}", "BUCKET": str(bucket)}
    return subprocess.run(
        ["sh", str(COMPONENT / "fetch.sh"), str(wanted), str(models)],
        env=variables | {"MODELS_URI": "s3://bucket/models"},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def placed(bucket: Path) -> dict[str, bytes]:
    models = bucket.parent / "models"
    return {str(file.relative_to(models)): file.read_bytes() for file in models.rglob("encoder.pt")}


def test_each_model_comes_to_its_place(bucket: Path) -> None:
    text = f"# remark\n\n{digest(b'first')}  a/1/encoder.pt\n{digest(b'second')}  b/2/encoder.pt\n"
    done = fetch(bucket, text)
    assert done.returncode == 0, done.stderr
    assert placed(bucket) == {"a/1/encoder.pt": b"first", "b/2/encoder.pt": b"second"}
    assert fetch(bucket, text).returncode == 0  # a container that is started again
    assert sorted(file.name for file in (bucket.parent / "models").iterdir()) == ["a", "b"]


def test_what_is_not_what_was_asked_for_is_not_put_in_place(bucket: Path) -> None:
    (bucket / digest(b"first")).write_bytes(b"somebody else's")
    done = fetch(bucket, f"{digest(b'first')}  a/1/encoder.pt\n{digest(b'second')}  b/2/encoder.pt\n")
    assert done.returncode == 1
    assert "not the file that was asked for: a/1/encoder.pt" in done.stderr
    assert placed(bucket) == {}


@pytest.mark.parametrize("path", ["../outside/1/encoder.pt", "/a/1/encoder.pt", "a/../../b", ""])
def test_no_path_leads_out(bucket: Path, path: str) -> None:
    done = fetch(bucket, f"{digest(b'first')}  {path}\n")
    assert done.returncode == 1
    assert "leads out" in done.stderr
    assert placed(bucket) == {}


@pytest.mark.parametrize("line", ["a/1/encoder.pt", "abc  a/1/encoder.pt"])
def test_a_line_without_a_digest_is_refused(bucket: Path, line: str) -> None:
    assert fetch(bucket, f"{line}\n").returncode == 1


def test_a_model_that_is_not_in_the_bucket_fails(bucket: Path) -> None:
    done = fetch(bucket, f"{digest(b'third')}  a/1/encoder.pt\n")
    assert done.returncode != 0
    assert placed(bucket) == {}


def test_a_last_line_without_an_end_counts(bucket: Path) -> None:
    assert fetch(bucket, f"{digest(b'first')}  a/1/encoder.pt").returncode == 0
    assert placed(bucket) == {"a/1/encoder.pt": b"first"}


def test_the_list_is_the_servers_list_of_allowed_digests() -> None:
    """The example's model, whose digest the server takes once more of the bytes that it loads."""
    example = ROOT / "examples" / "models" / "pbmc" / "1" / "encoder.pt"
    assert read_digests(COMPONENT / "models.sha256") == {hashlib.sha256(example.read_bytes()).hexdigest()}
