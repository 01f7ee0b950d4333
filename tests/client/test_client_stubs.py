from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path

from service.protobuf.stubs import totalvi_v1_pb2 as ours
from tests.saves import ROOT
from totalvi_client.stubs import totalvi_v1_pb2 as theirs

STUBS = ROOT / "client" / "totalvi_client" / "stubs"


def test_the_stubs_are_what_the_proto_generates(tmp_path: Path) -> None:
    subprocess.run(
        ["sh", str(ROOT / "proto" / "generate.sh"), str(tmp_path / "stubs"), "totalvi_v1.proto"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHON": sys.executable},
    )
    generated = {path.name for path in (tmp_path / "stubs").iterdir()}
    committed = {path.name for path in STUBS.iterdir() if path.is_file()}
    assert generated == committed
    _, different, unreadable = filecmp.cmpfiles(STUBS, tmp_path / "stubs", committed, shallow=False)
    assert (different, unreadable) == ([], [])


def test_client_and_service_live_in_one_process() -> None:
    assert theirs.DESCRIPTOR.serialized_pb == ours.DESCRIPTOR.serialized_pb
    assert theirs.EncodeRequest.FromString(ours.EncodeRequest(model="m").SerializeToString()).model == "m"
