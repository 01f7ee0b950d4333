"""docs/from-the-shell.md: every line of it, run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.client.example_service import at, blocks, run_shell
from tests.end_to_end.server import RunningServer
from tests.saves import ROOT

DOCUMENT = ROOT / "docs" / "from-the-shell.md"
BLOCKS = blocks(DOCUMENT, "sh")
GRPC = [block for block in BLOCKS if block.startswith("grpcurl")]
OTHERS = [block for block in BLOCKS if block not in GRPC]

# What each block prints, the answers being those of the example model; `z.tsv` is looked at by itself.
PRINTED = [
    r"pbmc\t1\tready\n",
    r"\{\n  \"n_genes\": 2000,\n  \"proteins\": \[\n    \"CD3_TotalSeqB\",",
    r"$",
    r"\{\n  \"code\": \"missing_genes\",\n  \"count\": 1997,",
    r"\{\"n_cells\":5,\"genes\":\{\"given\":2000,\"known\":2000,\"missing\":0,",
    r"5\n$",
    r"AAAC-1\t-?\d\.\d+\nAAAG-1\t-?\d\.\d+\n$",
    r"invalid: gene_counts has a negative count;",
    r"5\n$",
    r"1\n$",
    r"model: \"pbmc\"\nmodel_version: \"1\"\nn_cells: 2\nlibrary \{\n  observed \{",
]

LOOKED_AT = [
    pytest.param(block, printed, id=str(place))
    for place, (block, printed) in enumerate(zip(OTHERS, PRINTED, strict=False))
]

needs_tools = pytest.mark.skipif(
    not (shutil.which("curl") and shutil.which("jq")), reason="curl and jq are not installed (apt-get install curl jq)"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the lines write; with a protoc, which grpcio-tools has inside."""
    folder = tmp_path_factory.mktemp("shell")
    if shutil.which("protoc") is None:
        protos = resources.files("grpc_tools") / "_proto"
        (folder / "bin").mkdir()
        (folder / "bin" / "protoc").write_text(
            f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc -I {protos} "$@"\n'
        )
        (folder / "bin" / "protoc").chmod(0o755)
    yield folder


def test_the_document_has_the_blocks_that_are_looked_at() -> None:
    assert len(OTHERS) == len(PRINTED)
    assert len(GRPC) == 3


@needs_tools
@pytest.mark.parametrize(("block", "printed"), LOOKED_AT)
def test_a_block_prints_what_it_should(block: str, printed: str, folder: Path, example: RunningServer) -> None:
    done = run_shell(f'PATH="$PATH:$PWD/bin"\n{at(example, block)}', folder)
    assert re.match(printed, done.stdout), f"{block}\nprints {done.stdout!r} {done.stderr!r}"
    assert done.returncode == (22 if "--fail-with-body" in block else 0), done.stderr
    if "z.tsv" in block:
        lines = [line.split("\t") for line in (folder / "z.tsv").read_text().splitlines()]
        assert [line[0] for line in lines] == json.loads((ROOT / "examples" / "request.json").read_text())["cells"]
        assert {len(line) for line in lines} == {21}


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not installed")
@needs_tools
@pytest.mark.parametrize("block", GRPC, ids=["list", "get model", "encode"])
def test_a_grpcurl_block_runs(block: str, tmp_path: Path, example: RunningServer) -> None:
    done = run_shell(at(example, block), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"totalvi\.v1\.EncoderService|PBMC10k|\[\"2\",\"20\"\]", done.stdout)


@pytest.mark.parametrize("block", GRPC, ids=["list", "get model", "encode"])
def test_what_the_grpcurl_blocks_ask_is_answered(block: str, example: RunningServer) -> None:
    """The same calls as grpcurl makes them, from what reflection tells: grpcurl itself is seldom installed."""
    words = shlex.split(block.split("|", maxsplit=1)[0])
    assert words[1] == "-plaintext"
    with grpc.insecure_channel(f"127.0.0.1:{example.grpc_port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        if words[-1] == "list":
            assert "totalvi.v1.EncoderService" in database.get_services()
            return
        body = words[words.index("-d") + 1]
        service, method = words[-1].split("/")
        described = descriptor_pool.DescriptorPool(database).FindServiceByName(service).methods_by_name[method]
        question = json_format.Parse(body, message_factory.GetMessageClass(described.input_type)())
        answer = channel.unary_unary(
            f"/{words[-1]}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=message_factory.GetMessageClass(described.output_type).FromString,
        )(question, timeout=20)
    told = json_format.MessageToDict(answer, preserving_proto_field_name=True)
    if method == "GetModel":
        assert told["batch"]["categories"][0] == {"string_value": "PBMC10k"}
    else:
        assert told["z"]["shape"] == ["2", "20"]
