"""What is carried arrives, whatever its shape, batch after batch."""

import numpy as np
import pytest
import torch

from model.courier import Courier

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_arrays_arrive_with_type_and_shape(device: str) -> None:
    courier, rng = Courier(torch.device(device)), np.random.default_rng(0)
    for n_cells in (1, 300, 7, 0, 301):
        arrays = [
            rng.integers(0, 2**31 - 1, size=n_cells + 1).astype(np.int32),
            rng.normal(size=(n_cells, 5)).astype(np.float32),
            np.zeros((n_cells, 0), dtype=np.float32),
            rng.normal(size=(n_cells, 3)).astype(np.float32).T.copy().T,
        ]
        arrays[0].flags.writeable = False
        carried = courier.carry(arrays)
        assert [tensor.device.type for tensor in carried] == [device] * len(arrays)
        for array, tensor in zip(arrays, carried, strict=True):
            there = tensor.cpu().numpy()
            assert there.dtype == array.dtype
            assert np.array_equal(there, array)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_is_not_overwritten_by_the_next(device: str) -> None:
    courier = Courier(torch.device(device))
    (first,) = courier.carry([np.arange(10, dtype=np.int32)])
    first = first.clone()
    (again,) = courier.carry([np.arange(10, 20, dtype=np.int32)])
    assert first.tolist() == list(range(10))
    assert again.tolist() == list(range(10, 20))
