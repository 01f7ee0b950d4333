"""Streams of cells as a caller would send them, and what came back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
import numpy as np
import pytest

from service.protobuf.stubs import totalvi_v1_pb2 as pb
from tests.fakes import PATIENCE_S

N_GENES = 5


def tensor(values: Any, dtype: Any) -> pb.Tensor:
    kinds = {"uint8": pb.Tensor.U8, "float32": pb.Tensor.F32, "float64": pb.Tensor.F64}
    array = np.asarray(values, dtype)
    return pb.Tensor(dtype=kinds[array.dtype.name], shape=array.shape, data=array.tobytes())


def counts(n_cells: int = 1, n_columns: int = N_GENES, start: int = 0) -> pb.Counts:
    cells = np.arange(start, start + n_cells)[:, None] % 7
    return pb.Counts(dense=tensor(cells + np.arange(1, n_columns + 1), "uint8"))


def one(label: str) -> pb.Labels:
    return pb.Labels(categories=[pb.Label(string_value=label)])


def per_cell(labels: Sequence[str]) -> pb.Labels:
    distinct = sorted(set(labels))
    codes = tensor([distinct.index(label) for label in labels], "uint8")
    return pb.Labels(categories=[pb.Label(string_value=label) for label in distinct], codes=codes)


def slices(n: int) -> list[pb.EncodeRequest]:
    """A stream of `n` slices of a cell each, named by their place; the batch is in the first."""
    messages = [pb.EncodeRequest(gene_counts=counts(), cells=[str(number)]) for number in range(n)]
    messages[0].batch.CopyFrom(one("a"))
    return messages


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something on it has happened."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0)


async def names(call: Any) -> list[str]:
    """The names of the cells of all answers of a call."""
    return [name async for answer in call for name in answer.cells]


async def write(call: Any, messages: Iterable[Any]) -> Any:
    """Write messages, and return the call.

    The one that ends the stream should be the last: to a caller of `grpc.aio` that still writes, the end of a call may
    look like an internal error (https://github.com/grpc/grpc/issues/36066).
    """
    for message in messages:
        await call.write(message)
    return call


async def refused(call: Any, messages: Iterable[Any] = ()) -> tuple[list[pb.EncodeResponse], grpc.aio.AioRpcError]:
    """Write messages; the answers before the error that ends the call, and the error."""
    answers = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for answer in await write(call, messages):
            answers.append(answer)
    return answers, caught.value
