"""What the routes' table leaves: long lists, which are read in pieces, and what stands between them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from service.core.errors import ErrorKind, ServiceError
from service.core.messages import DenseCounts, Limits
from service.core.open_inference import InferReply
from service.rest import tensor_codec
from service.rest.number_text import PIECE_BYTES, cut_every_list
from service.rest.tensor_codec import BinaryOutputs, decode_request, encode_reply

LIMITS = Limits()
N = PIECE_BYTES  # a digit and a comma each: two pieces at least


def body(data: Any, datatype: str = "UINT8", shape: tuple[int, int] = (8, N // 8)) -> bytes:
    counts = {"name": "gene_counts", "datatype": datatype, "shape": shape, "data": data}
    names = {"name": "batch", "datatype": "BYTES", "shape": [3], "data": ["data", ']"data":[1]', "}"]}
    return json.dumps({"id": '"data":[1,2]', "inputs": [names, counts]}).encode()


def counts_of(content: bytes) -> np.ndarray:
    counts = decode_request(content, None, LIMITS).request.cells.gene_counts
    assert isinstance(counts, DenseCounts)
    return counts.values


@pytest.mark.parametrize("datatype", ["UINT8", "INT64", "FP32", "FP64", "FP16"])
def test_long_lists_flat_and_in_rows(datatype: str) -> None:
    values = np.random.default_rng(0).integers(0, 10, (8, N // 8))
    flat = counts_of(body(values.reshape(-1).tolist(), datatype))
    rows = counts_of(body(values.tolist(), datatype))
    assert np.array_equal(flat, values) and np.array_equal(rows, values)
    assert flat.dtype == rows.dtype


@pytest.mark.parametrize("place", [0, N - 1])
@pytest.mark.parametrize("as_rows", [False, True])
def test_what_does_not_fit_is_found_anywhere(place: int, as_rows: bool) -> None:
    values = np.zeros(N, np.int64)
    values[place] = 256
    data = values.reshape(8, -1).tolist() if as_rows else values.tolist()
    with pytest.raises(ServiceError) as refused:
        decode_request(body(data), None, LIMITS)
    assert (refused.value.kind, refused.value.index) == (ErrorKind.MALFORMED, place)


def test_texts_and_ids_that_look_like_lists() -> None:
    asked = decode_request(body([1] * N), None, LIMITS).request
    assert asked.id == '"data":[1,2]'
    assert asked.cells.batch is not None
    assert asked.cells.batch.categories == ("data", ']"data":[1]', "}")


def test_members_beyond_those_looked_at_stay() -> None:
    text = b'{"data":[1],"x":{"data": [[2],[3]]},"data":"[4]","data":[5]}'
    skeleton, texts = cut_every_list(text, "data", 3)
    assert [bytes(found.body[found.start : found.stop]) for found in texts.values()] == [b"[1]", b"[[2],[3]]"]
    assert bytes(skeleton).endswith(b',"data":"[4]","data":[5]}')


def test_long_answers_in_json_and_in_binary() -> None:
    values = np.random.default_rng(0).normal(size=(3, 50_000)).astype(np.float32)
    reply = InferReply("m", "1", None, {"z": values, "qz_mean": values[:, ::2]}, {})
    whole, length = encode_reply(reply, BinaryOutputs(False, {}))
    assert length is None
    for output, expected in zip(json.loads(whole)["outputs"], reply.outputs.values(), strict=True):
        found = np.array(output["data"], np.float32).reshape(output["shape"])
        assert np.array_equal(found, expected)
    content, length = encode_reply(reply, BinaryOutputs(True, {"z": False}))
    assert length is not None
    assert np.array_equal(np.frombuffer(content[length:], "<f4").reshape(3, -1), values[:, ::2])


def test_the_members_that_a_body_may_have_are_those_of_its_schema() -> None:
    from service.rest.open_inference_schemas import InferBody, InputTensor, RequestedOutput

    assert set(tensor_codec._BODY) == {*InferBody.model_fields, "model_name", "model_version"}
    assert set(tensor_codec._INPUT) == set(InputTensor.model_fields)
    assert set(tensor_codec._OUTPUT) == set(RequestedOutput.model_fields)
