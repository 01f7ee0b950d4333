from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool

from service.protobuf.stubs import totalvi_v1_pb2

ROOT = Path(__file__).parents[2]
STUBS = ROOT / "service" / "protobuf" / "stubs"


def test_the_stubs_are_what_the_proto_generates(tmp_path):
    # From elsewhere and twice: the script depends on no working directory and leaves nothing that disturbs it.
    for _ in range(2):
        subprocess.run(
            ["sh", str(ROOT / "proto" / "generate.sh"), str(tmp_path / "stubs")],
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHON": sys.executable},
        )

    generated = {path.name for path in (tmp_path / "stubs").iterdir()}
    committed = {path.name for path in STUBS.iterdir() if path.is_file()}
    assert generated == committed
    _, different, unreadable = filecmp.cmpfiles(STUBS, tmp_path / "stubs", committed, shallow=False)
    assert (different, unreadable) == ([], [])


def test_a_client_may_register_the_same_file_in_the_same_process():
    serialized = totalvi_v1_pb2.DESCRIPTOR.serialized_pb

    assert descriptor_pb2.FileDescriptorProto.FromString(serialized).name == "totalvi_v1.proto"
    assert descriptor_pool.Default().AddSerializedFile(serialized) is not None
